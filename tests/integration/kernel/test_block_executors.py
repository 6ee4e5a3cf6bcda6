"""Executors of blocks whose batch system, scheduler or client is lost under them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from daskflow import (
    BlockExecutor,
    BlocksFailed,
    Config,
    ExistingExecutor,
    SchedulerLost,
    load,
    python_app,
)
from tests.integration.jobqueue_sites.gated import GatedProvider
from tests.integration.jobqueue_sites.machine import until
from tests.integration.jobqueue_sites.test_block_troubles import no_job_is_left


@python_app
def double(number: int) -> int:
    return 2 * number


@pytest.fixture
def batch(tmp_path: Path) -> GatedProvider:
    (tmp_path / "gates").mkdir()
    return GatedProvider(gates=tmp_path / "gates", walltime="00:10:00")


def config(tmp_path: Path, *executors: Any) -> Config:
    return Config(executors=executors, run_dir=str(tmp_path / "runinfo"), dashboard=False)


def executor(batch: GatedProvider, tmp_path: Path, label: str = "cpu") -> BlockExecutor:
    return BlockExecutor(
        label=label,
        provider=batch,
        max_workers_per_node=1,
        cores_per_worker=0.5,
        directory=str(tmp_path / "blocks"),
    )


def test_calls_fail_when_all_executors_that_may_run_them_have_failed(
    tmp_path: Path, batch: GatedProvider
) -> None:
    batch.let("submit", "fails")
    executors = [executor(batch, tmp_path, label) for label in ("a", "b")]
    with load(config(tmp_path, *executors)):
        with pytest.raises(BlocksFailed, match="no controller"):
            double(1).result(timeout=60)


def is_whole(path: Path) -> bool:
    """Whether a file of JSON has been written to its end."""
    try:
        json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return False
    return True


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Path]:
    """A scheduler of somebody else's, by its file."""
    path = tmp_path / "scheduler.json"
    command = (sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard")
    options = ("--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(path))
    process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    try:
        until(lambda: is_whole(path))
        yield path
    finally:
        process.terminate()
        process.wait()


def test_a_client_that_is_closed_before_its_kernel_leaves_no_job(
    tmp_path: Path, batch: GatedProvider, scheduler: Path
) -> None:
    client = Client(scheduler_file=str(scheduler))
    kernel = load(config(tmp_path, ExistingExecutor(client), executor(batch, tmp_path)))
    kernel.clusters["cpu"].wait_for_blocks(1, timeout=60)
    client.close()
    kernel.close()
    assert batch.calls("cancel") == 1
    assert no_job_is_left(tmp_path)


def test_a_kernel_whose_scheduler_is_gone_is_left_soon(
    tmp_path: Path, batch: GatedProvider
) -> None:
    with pytest.raises(SchedulerLost):
        with load(config(tmp_path, executor(batch, tmp_path))) as kernel:
            kernel.clusters["cpu"].wait_for_blocks(1, timeout=60)
            host = kernel._session.host
            assert host is not None
            os.kill(host.pid, signal.SIGKILL)
            until(lambda: kernel.is_lost)
            begun_s = time.monotonic()
    assert time.monotonic() - begun_s < 60
    assert batch.calls("cancel") == 1
    assert no_job_is_left(tmp_path)
