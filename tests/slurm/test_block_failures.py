"""What cannot work ends in an explained error, soon, and leaves no job behind."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from daskflow import BlockExecutor, BlocksFailed, Config, load
from jobqueue_sites import SlurmBlocks, SlurmProvider, SrunLauncher, errors
from tests.slurm.apps import double

SOON_S = 100


def executor(**settings: Any) -> BlockExecutor:
    layout = {"label": "cpu", "max_workers_per_node": 1, "connect_timeout": 5.0}
    provider = {"partition": "main", "walltime": "00:10:00", "launcher": SrunLauncher()}
    for name in list(settings):
        if name in BlockExecutor.__dataclass_fields__:
            layout[name] = settings.pop(name)
    return BlockExecutor(**layout, provider=SlurmProvider(**provider | settings))


def failure_of_a_call(tmp_path: Path, executor: BlockExecutor) -> str:
    config = Config(executors=[executor], run_dir=str(tmp_path / "runinfo"), dashboard=False)
    begun_s = time.monotonic()
    with load(config):
        future = double(1)
        with pytest.raises(BlocksFailed) as caught:
            future.result(timeout=SOON_S)
    assert time.monotonic() - begun_s < SOON_S
    return str(caught.value)


def test_a_partition_that_does_not_exist(tmp_path: Path) -> None:
    why = failure_of_a_call(tmp_path, executor(partition="gpuu"))
    assert "Invalid partition name specified: 'gpuu'" in why
    assert "executor 'cpu'" in why


def test_more_nodes_than_there_are(tmp_path: Path) -> None:
    why = failure_of_a_call(tmp_path, executor(nodes_per_block=5))
    assert "would wait for ever" in why
    assert "Partition" in why


def test_a_worker_init_that_fails(tmp_path: Path) -> None:
    why = failure_of_a_call(tmp_path, executor(worker_init="source /nowhere/activate"))
    assert "worker_init failed with exit code 1" in why
    assert "3 failures in a row" in why


def test_a_python_that_lacks_what_is_needed(tmp_path: Path) -> None:
    other = executor(worker_init="unset PYTHONPATH; cd /", python="/usr/bin/python3")
    why = failure_of_a_call(tmp_path, other)
    assert "No module named" in why


# distributed leaves a socket that was just connecting to the garbage collector.
plain_cluster = pytest.mark.filterwarnings(
    "ignore:.*socket.socket.*:pytest.PytestUnraisableExceptionWarning"
)


@plain_cluster
def test_a_scheduler_that_nodes_cannot_reach(tmp_path: Path) -> None:
    with socket.socket() as closed:  # bound, and never listening: nobody else takes the port
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        cluster = SlurmBlocks(
            partition="main",
            max_workers_per_node=1,
            walltime="00:10:00",
            connect_timeout=3,
            directory=str(tmp_path),
        )
        with cluster:
            cluster.wait_for_blocks(1, timeout=60)
            cluster._contacts[:] = [f"tls://127.0.0.1:{port}"]
            cluster._agent_settings().write(cluster.folder)
            cluster.scale(blocks=0)
            cluster.wait_for_blocks(0, timeout=60)
            begun_s = time.monotonic()
            cluster.scale(blocks=1)
            with pytest.raises(errors.BlocksFailed) as caught:
                cluster.wait_for_blocks(1, timeout=SOON_S)
            assert time.monotonic() - begun_s < SOON_S
    why = str(caught.value)
    assert f"cannot reach the scheduler at tls://127.0.0.1:{port}" in why
    assert "node" in why
    assert "interface=" in why


@plain_cluster
def test_other_versions_on_the_nodes_are_named(tmp_path: Path) -> None:
    cluster = SlurmBlocks(
        partition="main", walltime="00:10:00", init_blocks=0, directory=str(tmp_path)
    )
    with cluster:
        settings = cluster._agent_settings()
        settings.versions["distributed"] = "2020.1"
        settings.write(cluster.folder)
        cluster.scale(blocks=1)
        with pytest.raises(errors.BlocksFailed, match=r"distributed .* \(the client has 2020.1\)"):
            cluster.wait_for_blocks(1, timeout=SOON_S)


def test_more_workers_than_the_node_has_gpus(tmp_path: Path) -> None:
    bad = executor(available_accelerators=["0", "7"], max_workers_per_node=None, gpus_per_node=2)
    why = failure_of_a_call(tmp_path, bad)
    assert "7" in why
