"""A Slurm with accounting, of its own: accounts are checked there when a job is submitted."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue_sites import BlocksFailed, BlockState, SlurmBlocks
from jobqueue_sites.blocks.commands import run_command
from tests.slurm.batch import until
from tests.slurm.conftest import MACHINE, free_ports, run

pytestmark = pytest.mark.filterwarnings(
    # A scheduler in this process leaves sockets that were just connecting to the garbage collector.
    "ignore:.*socket.socket.*:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module", autouse=True)
def accounting() -> Iterator[None]:
    """Two nodes, the account ``proj``, and slurmdbd."""
    root = tempfile.mkdtemp(prefix="acc")  # short, since sockets lie in it
    env = {**os.environ, "VC_ROOT": root, "VC_PORT": free_ports(), "VC_NODES": "2", "VC_DBD": "1"}
    env.pop("SLURM_CONF")
    started = subprocess.run(
        ["bash", str(MACHINE / "start.sh")], env=env, capture_output=True, text=True, check=False
    )
    try:
        assert started.returncode == 0, started.stderr
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", f"{root}/etc/slurm.conf")
            yield
    finally:
        subprocess.run(["bash", str(MACHINE / "stop.sh")], env=env, check=False)
        shutil.rmtree(root, ignore_errors=True)


def cluster(tmp_path: Path, account: str) -> SlurmBlocks:
    return SlurmBlocks(
        partition="main",
        account=account,
        walltime="00:10:00",
        max_workers_per_node=1,
        directory=str(tmp_path),
    )


def test_an_account_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with cluster(tmp_path, "nosuch") as refused:
        with pytest.raises(BlocksFailed, match=r"Invalid account .*: 'nosuch'"):
            refused.wait_for_blocks(1, timeout=30)


def test_a_job_that_is_cancelled_is_found_in_the_accounts(tmp_path: Path) -> None:
    with cluster(tmp_path, "proj") as blocks:
        blocks.wait_for_blocks(1, timeout=60)
        job_id = blocks.blocks[0].job_id
        assert job_id is not None
        run("scancel", job_id)
        blocks.wait_for_end("blocks-0", timeout=60)
        assert blocks.blocks[0].state is BlockState.CANCELLED
        _scontrol, sacct = blocks.provider.find(job_id)

        def is_final() -> bool:  # which the accounts learn a moment later
            found = blocks.sync(run_command, sacct, 30.0)
            return found is not None and found.state.is_final

        until(is_final)
