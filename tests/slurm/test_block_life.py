"""Blocks that end in the middle of work: every call ends all the same, and no retry is charged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskflow import BlockExecutor, Config, DataFlowKernel, load
from jobqueue_sites import BlockState, SlurmProvider
from tests.slurm.apps import count_and_wait
from tests.slurm.conftest import jobs, run

CALLS = 40


def loaded(tmp_path: Path, **provider: Any) -> DataFlowKernel:
    settings = {"partition": "main", "walltime": "00:10:00", "max_blocks": 2, "init_blocks": 2}
    executor = BlockExecutor(
        label="cpu",
        max_workers_per_node=2,
        cores_per_worker=0.5,
        provider=SlurmProvider(**settings | provider),
    )
    return load(
        Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), dashboard=False, retries=0)
    )


def begun(folder: Path) -> int:
    return len(list(folder.iterdir()))


def wait_until(is_so: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def test_a_block_that_is_cancelled_from_outside(tmp_path: Path, marks: Path) -> None:
    with loaded(tmp_path) as kernel:
        cluster = kernel.clusters["cpu"]
        cluster.wait_for_blocks(2, timeout=60)
        futures = [count_and_wait(str(marks), n, 1.0) for n in range(CALLS)]
        kernel.submit()
        wait_until(lambda: begun(marks) > 4)
        victim = cluster.open_blocks[0]
        run("scancel", victim.job_id)
        assert [future.result() for future in futures] == list(range(CALLS))
        cluster.wait_for_end(victim.name, timeout=60)
        ended = next(block for block in cluster.blocks if block.name == victim.name)
        assert ended.state is BlockState.CANCELLED
        wait_until(lambda: len(cluster.blocks) == 3)  # one came instead
        runs = sum(path.stat().st_size for path in marks.iterdir())
        assert runs <= CALLS + 4  # what ran there when it ended, and no more


def test_a_node_whose_power_is_cut(
    tmp_path: Path, marks: Path, node: Callable[[str, str], str]
) -> None:
    with loaded(tmp_path) as kernel:
        cluster = kernel.clusters["cpu"]
        cluster.wait_for_blocks(2, timeout=60)
        futures = [count_and_wait(str(marks), n, 0.5) for n in range(CALLS)]
        kernel.submit()
        # Workers may be up before Slurm has been asked again where they are.
        wait_until(lambda: begun(marks) > 4 and all(b.nodes for b in cluster.open_blocks))
        victim = cluster.open_blocks[1]
        node("down", victim.nodes[0])
        assert [future.result() for future in futures] == list(range(CALLS))
        run("scontrol", "update", f"nodename={victim.nodes[0]}", "state=down", "reason=test")
        cluster.wait_for_end(victim.name, timeout=60)
        ended = next(block for block in cluster.blocks if block.name == victim.name)
        assert ended.state is BlockState.NODE_FAILED


@pytest.mark.timeout(300)
def test_a_time_limit_in_the_middle_of_work(tmp_path: Path, marks: Path) -> None:
    # Slurm ends a job up to half a minute after its limit, so this takes some 90 s.
    with loaded(tmp_path, walltime="00:01:00", max_blocks=1, init_blocks=1) as kernel:
        cluster = kernel.clusters["cpu"]
        cluster.wait_for_blocks(1, timeout=60)
        futures = [count_and_wait(str(marks), n, 20.0) for n in range(12)]
        assert [future.result() for future in futures] == list(range(12))
        assert cluster.blocks[0].state is BlockState.TIMEOUT
        assert len(cluster.blocks) >= 2


def test_leaving_the_kernel_ends_the_jobs(tmp_path: Path) -> None:
    with loaded(tmp_path) as kernel:
        kernel.clusters["cpu"].wait_for_blocks(2, timeout=60)
        mine = {block.job_id for block in kernel.clusters["cpu"].blocks}
        assert mine == set(jobs(tmp_path))
    assert not jobs(tmp_path)


def test_a_killed_client_leaves_no_job_for_long(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from daskflow import BlockExecutor, Config, load\n"
        "from jobqueue_sites import SlurmProvider\n"
        "provider = SlurmProvider(partition='main', walltime='00:10:00')\n"
        "executor = BlockExecutor(provider=provider, max_workers_per_node=1, death_timeout=3)\n"
        f"kernel = load(Config(executors=[executor], dashboard=False, run_dir={str(tmp_path)!r}))\n"
        "kernel.clusters['blocks'].wait_for_blocks(1, timeout=60)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    client = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert client.stdout is not None
    with client.stdout:
        assert client.stdout.readline() == "up\n"
        assert len(jobs(tmp_path)) == 1
        os.kill(client.pid, signal.SIGKILL)
        client.wait()
    wait_until(lambda: not jobs(tmp_path))


def test_a_killed_client_leaves_no_job_waiting_in_the_queue(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "from daskflow import BlockExecutor, Config, load\n"
        "from jobqueue_sites import SlurmProvider\n"
        "from tests.slurm.test_block_life import wait_until\n"
        "later = '--begin=now+1hour'\n"
        "provider = SlurmProvider(partition='main', walltime='00:10:00', scheduler_options=later)\n"
        "executor = BlockExecutor(provider=provider)\n"
        f"kernel = load(Config(executors=[executor], dashboard=False, run_dir={str(tmp_path)!r}))\n"
        "cluster = kernel.clusters['blocks']\n"
        "wait_until(lambda: any(block.job_id for block in cluster.blocks))\n"
        "print(cluster.blocks[0].job_id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, timeout=100, check=False
    )
    assert done.stdout.strip().isdigit()
    wait_until(lambda: not jobs(tmp_path))
