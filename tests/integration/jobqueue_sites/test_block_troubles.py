"""Batch systems that do not answer, nodes and workers that fail: nothing hangs, no job is forgotten."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, LocalCluster, WorkerPlugin

from jobqueue_sites import (
    BlockCluster,
    BlockState,
    ClusterSettings,
    LocalProvider,
    NodeLayout,
    SettingsError,
)
from jobqueue_sites.agent.report import Phase, Report, report_path
from tests.integration.jobqueue_sites.gated import GatedProvider
from tests.integration.jobqueue_sites.machine import run, until

# A scheduler in this process leaves sockets that were just connecting to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*socket.socket.*:pytest.PytestUnraisableExceptionWarning"
)
ONE_WORKER = NodeLayout(max_workers_per_node=1, cores_per_worker=0.5)


@pytest.fixture(autouse=True)
def _loopback_only() -> Iterator[None]:
    with dask.config.set({"jobqueue-sites.host": "127.0.0.1"}):
        yield


def provider(tmp_path: Path, **more: Any) -> GatedProvider:
    gates = tmp_path / "gates"
    gates.mkdir(exist_ok=True)
    return GatedProvider(gates=gates, walltime="00:10:00", **more)


def cluster_of(provider: LocalProvider, tmp_path: Path, **more: Any) -> BlockCluster:
    chosen = {"dask_scheduler_options": {"dashboard_address": "127.0.0.1:0"}, **more}
    return BlockCluster(
        provider, ONE_WORKER, ClusterSettings(directory=str(tmp_path / "blocks"), **chosen)
    )


def running_jobs(tmp_path: Path) -> list[str]:
    """The jobs of this machine that a test has submitted and that have not ended."""
    records = (tmp_path / "blocks").glob("*/*.sh.*.json")
    job_ids = [str(path).removesuffix(".json") for path in records]
    if not job_ids:
        return []
    listed = run(LocalProvider().query(job_ids))
    return [job_id for job_id, status in listed.items() if not status.state.is_final]


def no_job_is_left(tmp_path: Path) -> bool:
    until(lambda: not running_jobs(tmp_path))
    return True


# ---- closing --------------------------------------------------------------------------------


def test_a_cluster_that_is_closed_while_jobs_are_submitted_leaves_none(tmp_path: Path) -> None:
    batch = provider(tmp_path, init_blocks=8, max_blocks=8)
    gate = batch.let("submit", "tarries")
    cluster = cluster_of(batch, tmp_path)  # does not wait for the submissions
    until(lambda: len(running_jobs(tmp_path)) == 4)  # that many at a time
    closing = threading.Thread(target=cluster.close)
    closing.start()
    until(lambda: all(block.is_closing for block in cluster.blocks))
    gate.unlink()
    closing.join(60)
    assert not closing.is_alive()
    assert batch.calls("submit") == 4
    assert no_job_is_left(tmp_path)


def test_closing_takes_one_command_for_all_blocks(tmp_path: Path) -> None:
    batch = provider(tmp_path, init_blocks=3, max_blocks=3)
    with cluster_of(batch, tmp_path) as cluster:
        cluster.wait_for_blocks(3, timeout=60)
    assert batch.calls("cancel") == 1
    assert no_job_is_left(tmp_path)


def test_jobs_that_cannot_be_cancelled_when_closing_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    batch = provider(tmp_path)
    with caplog.at_level(logging.ERROR), cluster_of(batch, tmp_path) as cluster:
        cluster.wait_for_blocks(1, timeout=60)
        batch.let("cancel", "fails")
    job_id = cluster.blocks[0].job_id
    assert f"jobs {job_id} may still run" in caplog.text
    assert "no controller" in caplog.text
    assert no_job_is_left(tmp_path)  # since its scheduler is gone


def test_a_ctrl_c_while_a_kernel_is_loaded_leaves_no_job(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, threading\n"
        "from pathlib import Path\n"
        "from daskflow import BlockExecutor, Config, ExistingExecutor, load\n"
        "from daskflow.kernel import kernel\n"
        "from tests.integration.jobqueue_sites.gated import GatedProvider\n"
        "from tests.integration.jobqueue_sites.machine import until\n"
        f"gates = Path({str(tmp_path / 'gates')!r})\n"
        "batch = GatedProvider(gates=gates, walltime='00:10:00')\n"
        "gate = batch.let('submit', 'tarries')\n"
        "def interrupt(*_):\n"  # in the last moment: the job is on its way, and load() is not through
        "    until(lambda: batch.calls('submit'))\n"
        "    threading.Timer(1, gate.unlink).start()\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "kernel.teach = interrupt\n"
        f"directory = {str(tmp_path / 'blocks')!r}\n"
        "executor = BlockExecutor(provider=batch, directory=directory)\n"
        "try:\n"
        f"    load(Config(executors=[executor], dashboard=False, run_dir={str(tmp_path)!r}))\n"
        "except KeyboardInterrupt:\n"
        "    assert batch.calls('cancel') == 1\n"
        "    print('interrupted', flush=True)\n"
        "    os._exit(0)\n"  # nothing that runs when the interpreter ends is needed
    )
    (tmp_path / "gates").mkdir()
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "interrupted\n", done.stderr
    assert no_job_is_left(tmp_path)


def test_a_ctrl_c_while_a_cluster_starts_closes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: BlockCluster, function: Any, *args: Any, **options: Any) -> Any:
        if function.__name__ == "_correct_state":  # what the constructor waits for last
            until(lambda: running_jobs(tmp_path))
            raise KeyboardInterrupt
        return super(BlockCluster, self).sync(function, *args, **options)

    monkeypatch.setattr(BlockCluster, "sync", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        cluster_of(provider(tmp_path), tmp_path)
    assert no_job_is_left(tmp_path)


KILLED = """\
import os, signal, sys, time
from pathlib import Path
from jobqueue_sites import BlockCluster, ClusterSettings, LocalProvider
provider = LocalProvider(walltime='00:10:00')
settings = ClusterSettings(directory={directory!r}, host='127.0.0.1', death_timeout={death_timeout})
cluster = BlockCluster(provider, settings=settings)
cluster.wait_for_blocks(1, timeout=60)
if {guard_dies}:
    os.kill(cluster._watch._guard.pid, signal.SIGKILL)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("death_timeout", "guard_dies"), [(600, False), (3, True)])
def test_a_client_that_is_killed_leaves_no_job(
    tmp_path: Path, death_timeout: float, guard_dies: bool
) -> None:
    script = KILLED.format(
        directory=str(tmp_path / "blocks"), death_timeout=death_timeout, guard_dies=guard_dies
    )
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert running_jobs(tmp_path) or not guard_dies
    until(lambda: not running_jobs(tmp_path))


KILLED_AT_ONCE = """\
import os, signal, time
from jobqueue_sites import BlockCluster, ClusterSettings
from jobqueue_sites.blocks.guard import Guard
from tests.integration.jobqueue_sites.test_block_troubles import ONE_WORKER, Path, provider
from tests.integration.jobqueue_sites.machine import until
def slowly(self, command, hold=Guard.hold):
    time.sleep(1)  # a busy machine
    hold(self, command)
Guard.hold = slowly
folder = Path({folder!r})
settings = ClusterSettings(directory=str(folder / 'blocks'), host='127.0.0.1', death_timeout=600)
cluster = BlockCluster(provider(folder), ONE_WORKER, settings)
until(lambda: any(block.job_id for block in cluster.blocks))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_client_that_is_killed_as_soon_as_it_knows_its_job_leaves_none(tmp_path: Path) -> None:
    script = KILLED_AT_ONCE.format(folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    until(lambda: provider(tmp_path).calls("cancel"))
    until(lambda: not running_jobs(tmp_path))


def test_a_guard_has_nothing_to_do_once_all_jobs_are_cancelled(tmp_path: Path) -> None:
    batch = provider(tmp_path)
    with cluster_of(batch, tmp_path) as cluster:
        cluster.wait_for_blocks(1, timeout=60)
        guard = cluster._watch._guard.pid
        assert guard is not None
        assert psutil.pid_exists(guard)
    assert not psutil.pid_exists(guard)
    assert batch.calls("cancel") == 1


def test_a_cluster_that_cannot_start_leaves_no_scheduler(tmp_path: Path) -> None:
    (tmp_path / "blocks").write_text("no folder")
    before = threading.active_count()
    with pytest.raises(SettingsError, match="no folder can be made there"):
        cluster_of(provider(tmp_path), tmp_path)
    until(lambda: threading.active_count() <= before)


def test_a_job_that_starts_after_its_cluster_has_closed_ends_at_once(tmp_path: Path) -> None:
    with cluster_of(provider(tmp_path), tmp_path) as cluster:
        cluster.wait_for_blocks(1, timeout=60)
    assert not (cluster.folder / "cluster.json").exists()  # nor are keys left behind
    late = subprocess.run(
        ["bash", cluster.blocks[0].script_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert late.returncode == 0
    assert "the cluster of this job has been closed" in late.stderr


# ---- commands that fail or do not answer ----------------------------------------------------


def test_a_job_whose_submission_gave_no_answer_is_of_no_use(tmp_path: Path) -> None:
    batch = provider(tmp_path, cmd_timeout=3.0)
    batch.let("submit", "tarries")
    with cluster_of(batch, tmp_path) as cluster:
        cluster.wait_for_end("blocks-0", timeout=60)
        block = cluster.blocks[0]
        assert block.state is BlockState.REFUSED
        assert "gave no answer" in block.reason
        assert "it will end as soon as it starts" in block.reason
        late = subprocess.run(
            ["bash", block.script_path],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "the cluster has given this block up" in late.stderr


def test_a_job_that_could_not_be_cancelled_is_cancelled_later(tmp_path: Path) -> None:
    batch = provider(tmp_path)
    with cluster_of(batch, tmp_path) as cluster:
        cluster.wait_for_blocks(1, timeout=60)
        silent = batch.let("query", "fails")  # or it may hear that the job has ended by itself
        cluster._watch.look_soon()
        until(lambda: "does not answer" in cluster.explain())
        failing = batch.let("cancel", "fails")
        cluster.scale(blocks=0)
        until(lambda: batch.calls("cancel") >= 2)
        assert cluster.blocks[0].state is not BlockState.ENDING
        failing.unlink()
        until(lambda: cluster.blocks[0].state is BlockState.ENDING)
        silent.unlink()
        cluster.wait_for_end("blocks-0", timeout=60)
        assert cluster.blocks[0].state is BlockState.CLOSED


def test_a_query_that_hangs_keeps_nothing_from_going_on(tmp_path: Path) -> None:
    batch = provider(tmp_path, max_blocks=2, cmd_timeout=300)
    gate = batch.let("query", "waits")
    with cluster_of(batch, tmp_path) as cluster:
        until(lambda: batch.calls("query"))
        cluster.scale(blocks=2)
        cluster.wait_for_blocks(2, timeout=60)
        assert batch.calls("query") == 1
        gate.unlink()


def test_the_batch_system_is_asked_no_more_often_for_workers_that_come_and_go(
    tmp_path: Path,
) -> None:
    batch = provider(tmp_path)
    with cluster_of(batch, tmp_path) as cluster:
        cluster.wait_for_blocks(1, timeout=60)
        until(lambda: batch.calls("query"))
        watch = cluster._watch

        async def flap() -> int:
            before = batch.calls("query")
            for _ in range(50):
                watch.count({"blocks-0": 0})
                watch.look()
                watch.count({"blocks-0": 1})
            assert watch._polling is not None
            await watch._polling
            return batch.calls("query") - before

        assert cluster.sync(flap) <= 1


# ---- nodes and workers that fail ------------------------------------------------------------


def test_a_node_that_fails_while_others_are_up_is_told(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    # The second agent waits where it would join, and its scheduler is out of reach by then.
    late = f"""
if [ "$1" = -m ] && [ "$JOBQUEUE_SITES_RANK" = 1 ]; then
    until [ -e {gate} ]; do sleep 0.05; done
    set -- -c 'import sys
from jobqueue_sites.agent import __main__ as agent, reach
async def out_of_reach(*_): return None, "tls://10.0.0.1:1 (no answer)"
reach.first_in_reach = out_of_reach
sys.argv = sys.argv[2:]
agent.main()' "$@"
fi
exec {sys.executable} "$@"
"""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/bash\n{late}")
    python.chmod(0o700)
    batch = LocalProvider(nodes_per_block=2, walltime="00:10:00")
    with cluster_of(batch, tmp_path, python=str(python)) as cluster:
        cluster.wait_for_blocks(1, timeout=60)
        until(lambda: "is up" in cluster.explain())
        gate.touch()
        path = report_path(cluster.folder, "blocks-0", 1)
        until(lambda: path.exists() and Report.read(path).phase is Phase.FAILED)
        cluster._watch.look_soon()
        until(lambda: "1 of 2 workers" in cluster.explain() and cluster.blocks[0].fault)
        assert "cannot reach the scheduler at tls://10.0.0.1:1" in cluster.explain()


class _FailsSecondTime(WorkerPlugin):
    def __init__(self, folder: Path):
        self.folder = folder

    def setup(self, worker: Any) -> None:
        mark = self.folder / "was-here"
        if mark.exists():
            raise RuntimeError("the GPU is gone")
        mark.touch()


def test_a_worker_that_cannot_be_started_again_ends_its_node_and_is_told(tmp_path: Path) -> None:
    chosen = {"plugins": [_FailsSecondTime(tmp_path)]}
    batch = provider(tmp_path)
    with cluster_of(batch, tmp_path, **chosen) as cluster, Client(cluster) as client:
        cluster.wait_for_blocks(1, timeout=60)
        path = report_path(cluster.folder, "blocks-0", 0)
        until(lambda: Report.read(path).phase is Phase.UP)  # its nanny knows that it has started
        os.kill(client.submit(os.getpid).result(timeout=60), signal.SIGKILL)
        cluster.wait_for_end("blocks-0", timeout=60)
        block = cluster.blocks[0]
        assert block.state is BlockState.FAILED
        assert "blocks-0-0-0 died and could not be started again" in block.fault


def test_plugins_may_be_defined_where_only_this_process_can_see_them(tmp_path: Path) -> None:
    class Local(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            worker.was_set_up = True

    def was_set_up(dask_worker: Any) -> bool:
        return bool(dask_worker.was_set_up)

    chosen = {"plugins": [Local()]}
    with cluster_of(provider(tmp_path), tmp_path, **chosen) as cluster, Client(cluster) as client:
        cluster.wait_for_blocks(1, timeout=60)
        assert list(client.run(was_set_up).values()) == [True]


def test_a_client_under_a_launcher_has_blocks_of_one_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_PROCID", "3")
    with cluster_of(provider(tmp_path), tmp_path) as cluster:
        cluster.wait_for_blocks(1, timeout=60)
        until(lambda: cluster.observed == cluster.plan == {"blocks-0-0-0"})


# ---- several clusters -----------------------------------------------------------------------


def test_clusters_of_one_scheduler_see_their_own_workers_each(tmp_path: Path) -> None:
    local = {"n_workers": 0, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    with LocalCluster(**local) as owner:
        first, second = (
            cluster_of(
                provider(tmp_path),
                tmp_path,
                name=name,
                encrypted=False,
                scheduler=owner.scheduler_address,
            )
            for name in ("first", "second")
        )
        with first, second:
            second.wait_for_blocks(1, timeout=60)
            first.wait_for_blocks(1, timeout=60)
            assert (first.name, second.name) == ("first", "second")
            until(lambda: owner.observed == {"first-0-0-0", "second-0-0-0"})
        assert owner.scheduler.status.name == "running"
