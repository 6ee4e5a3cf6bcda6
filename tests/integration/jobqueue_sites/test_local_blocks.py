"""Clusters of blocks on this machine: the same agents, launchers and watch as on a batch system."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client

from jobqueue_sites import BlocksFailed, BlockState, LocalBlocks, SettingsError, SlurmBlocks
from jobqueue_sites.agent.report import Phase, Report, report_path
from tests.integration.jobqueue_sites.machine import until

# A scheduler in this process leaves sockets that were just connecting to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*socket.socket.*:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _loopback_only() -> Any:
    with dask.config.set({"jobqueue-sites.host": "127.0.0.1"}):
        yield


def settings(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "directory": str(tmp_path),
        "max_workers_per_node": 2,
        "cores_per_worker": 0.5,
        "walltime": "00:10:00",
        "dask_scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        **more,
    }


def report(cluster: Any, block: str = "blocks-0", node: int = 0) -> Report:
    return Report.read(report_path(cluster.folder, block, node))


def nodes_told(client: Client) -> set[int]:
    """The nodes whose agents have told the scheduler that they are up."""
    return {event["node"] for _, event in client.get_events("jobqueue-sites")}


def test_a_block_is_a_dask_cluster(tmp_path: Path) -> None:
    with LocalBlocks(**settings(tmp_path, max_blocks=2)) as cluster, Client(cluster) as client:
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        client.wait_for_workers(2, timeout=60)
        names = {worker["name"] for worker in client.scheduler_info()["workers"].values()}
        assert names == {"blocks-0-0-0", "blocks-0-0-1"}
        until(lambda: cluster.observed == names)
        until(lambda: cluster.plan == cluster.requested == names)  # its agent says how many
        until(lambda: "is up" in cluster.explain())
        assert "block 0" in cluster._repr_html_()
        assert client.scheduler.address.startswith("tls://127.0.0.1:")

        cluster.scale(blocks=2)
        cluster.wait_for_blocks(2, timeout=60)
        cluster.scale(1)  # workers: one block has two
        cluster.wait_for_blocks(1, timeout=60)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
        assert repr(cluster).startswith("LocalBlocks(blocks, 'tls://127.0.0.1:")
    assert cluster.explain() == "the cluster is closed"
    assert all(block.state is not BlockState.FAILED for block in cluster.blocks)


def test_several_nodes_of_a_block_run_on_one_machine(tmp_path: Path) -> None:
    def place() -> tuple[str, str]:
        return os.environ["JOBQUEUE_SITES_NODE"], os.environ["JOBQUEUE_SITES_SLOT"]

    with LocalBlocks(**settings(tmp_path, nodes_per_block=2)) as cluster, Client(cluster) as client:
        client.wait_for_workers(4, timeout=60)
        places = set(client.run(place).values())
        assert places == {("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")}
        until(lambda: nodes_told(client) == {0, 1})
        reports = [report(cluster, node=node) for node in range(2)]
        assert [report.phase for report in reports] == [Phase.UP, Phase.UP]
        events = client.get_events("jobqueue-sites")
        assert all(len(event["plan"]["workers"]) == 2 for _, event in events)


def test_it_works_in_an_event_loop(tmp_path: Path) -> None:
    async def use() -> int:
        async with (
            LocalBlocks(**settings(tmp_path), asynchronous=True) as cluster,
            Client(cluster, asynchronous=True) as client,
        ):
            value: int = await client.submit(sum, [1, 2])
            await cluster.scale(blocks=0)
            await cluster.wait_for_blocks(0, timeout=60)
            return value

    assert asyncio.run(use()) == 3


def test_a_worker_that_dies_comes_back_under_its_name(tmp_path: Path) -> None:
    with LocalBlocks(**settings(tmp_path)) as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        until(lambda: report(cluster).phase is Phase.UP)  # its nannies know that they have started
        before = client.run(os.getpid)
        victim = next(iter(before.values()))
        os.kill(victim, signal.SIGKILL)

        def pids() -> set[int]:
            return set(client.run(os.getpid, on_error="ignore").values())

        while victim in (found := pids()) or len(found) < 2:
            client.wait_for_workers(2, timeout=60)
        until(lambda: cluster.observed == {"blocks-0-0-0", "blocks-0-0-1"})
        assert len(cluster.blocks) == 1


def test_a_block_that_ends_is_replaced_while_there_is_work(tmp_path: Path) -> None:
    with LocalBlocks(**settings(tmp_path)) as cluster, Client(cluster) as client:
        cluster.wait_for_blocks(1, timeout=60)
        gate = tmp_path / "gate"

        def wait_for(path: str) -> int:
            import pathlib
            import time

            while not pathlib.Path(path).exists():
                time.sleep(0.05)
            return 1

        futures = client.map(lambda n, path: wait_for(path) + n, range(4), path=str(gate))
        victim = cluster.open_blocks[0]
        os.killpg(os.getpgid(report(cluster, victim.name).pid), signal.SIGKILL)
        cluster.wait_for_end(victim.name, timeout=60)
        cluster.wait_for_blocks(1, timeout=60)
        gate.touch()
        assert client.gather(futures) == [1, 2, 3, 4]
        assert len(cluster.blocks) == 2


def test_a_block_without_work_is_not_replaced(tmp_path: Path) -> None:
    with LocalBlocks(**settings(tmp_path)) as cluster:
        cluster.wait_for_blocks(1, timeout=60)
        subprocess.run(cluster.provider.cancel([cluster.blocks[0].job_id]).argv, check=True)
        cluster.wait_for_end("blocks-0", timeout=60)
        for _ in range(3):
            cluster.sync(cluster._step)
        assert [block.state for block in cluster.blocks] == [BlockState.CANCELLED]
        assert "block 0 was cancelled from outside" in cluster.explain()


def test_a_block_that_cannot_start_is_explained(tmp_path: Path) -> None:
    broken = settings(tmp_path, worker_init="echo modules are down >&2; false")
    with LocalBlocks(**broken) as cluster:
        with pytest.raises(BlocksFailed, match="worker_init failed with exit code 1"):
            cluster.wait_for_blocks(1, timeout=60)
        assert "failures in a row" in cluster.explain()
        assert "modules are down" in cluster.tail(cluster.blocks[0])


def test_a_walltime_is_a_normal_end(tmp_path: Path) -> None:
    short = settings(tmp_path, walltime="00:00:15", kill_after=2.0)
    with LocalBlocks(**short) as cluster:
        cluster.wait_for_end("blocks-0", timeout=60)
        assert cluster.blocks[0].state is BlockState.TIMEOUT


def test_a_block_that_is_about_to_end_is_none_of_those_that_are_wanted(tmp_path: Path) -> None:
    with LocalBlocks(**settings(tmp_path)) as cluster:
        cluster.wait_for_blocks(1, timeout=60)
        cluster.scale(blocks=0)
        cluster.scale(blocks=1)
        cluster.wait_for_end("blocks-0", timeout=60)
        cluster.wait_for_blocks(1, timeout=60)
        assert [block.number for block in cluster.open_blocks] == [1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "scale(): say either blocks, workers (n) or cores"),
        ({"n": 2, "blocks": 1}, "scale(n=2, blocks=1): say either"),
        ({"n": -1}, "scale(n=-1): must be an int >= 0"),
        ({"blocks": "2"}, "scale(blocks='2'): must be an int >= 0"),
        ({"memory": "4 GB"}, "scale(memory=...): ask for blocks"),
    ],
)
def test_a_number_that_cannot_be_scaled_to_is_refused(
    arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        LocalBlocks.scale(None, **arguments)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    directory = str(tmp_path / "file" / "blocks")
    with pytest.raises(SettingsError, match=f"directory='{directory}': no folder can be made"):
        LocalBlocks(**settings(tmp_path) | {"directory": directory})


def test_adapt_is_refused_and_says_what_to_use() -> None:
    with pytest.raises(SettingsError, match="max_blocks"):
        LocalBlocks.adapt(None)  # type: ignore[arg-type]


def test_a_setting_nobody_knows_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(TypeError, match=r"SlurmBlocks has no setting 'partitoin'.*'partition'"):
        SlurmBlocks(partitoin="main")
    with pytest.raises(TypeError, match=r"'queue' \(did you mean 'partition'\?\)"):
        SlurmBlocks(queue="main", cores=8)


def test_keys_are_for_the_user_only(tmp_path: Path) -> None:
    with LocalBlocks(**settings(tmp_path, init_blocks=0)) as cluster:
        assert cluster.folder.stat().st_mode & 0o077 == 0
        assert (cluster.folder / "cluster.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("thread", [False, True])
def test_importing_changes_nothing_in_the_process_or_the_users_files(
    tmp_path: Path, thread: bool
) -> None:
    script = (
        "import signal, threading\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "def use():\n"
        "    import jobqueue_sites\n"
        "    jobqueue_sites.SlurmBlocks\n"
        f"if {thread}:\n"
        "    t = threading.Thread(target=use); t.start(); t.join()\n"
        "else:\n"
        "    use()\n"
        "import sys\n"
        "assert 'dask_jobqueue' in sys.modules\n"
        "assert signal.getsignal(signal.SIGINT) is before\n"
    )
    env = {**os.environ, "HOME": str(tmp_path), "DASK_CONFIG": str(tmp_path / "dask")}
    subprocess.run([sys.executable, "-c", script], env=env, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []
