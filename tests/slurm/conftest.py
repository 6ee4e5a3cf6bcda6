"""A real Slurm of four nodes (``machine/start.sh``), found by SLURM_CONF.

Where tests must not be skipped (CI=true), a missing Slurm is an error.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MACHINE = Path(__file__).parent / "machine"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.timeout(180))


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session", autouse=True)
def _slurm() -> Iterator[None]:
    if "SLURM_CONF" not in os.environ:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no Slurm: SLURM_CONF is not set (tests/slurm/machine/start.sh)")
        pytest.skip("there is no Slurm: SLURM_CONF is not set (tests/slurm/machine/start.sh)")
    with pytest.MonkeyPatch.context() as patch:
        # All virtual nodes are on this machine.
        patch.setenv("DASK_JOBQUEUE_SITES__HOST", "127.0.0.1")
        import dask

        with dask.config.set({"jobqueue-sites.host": "127.0.0.1"}):
            yield


def free_ports() -> str:
    """Return the first port of a range that another Slurm may have (``VC_PORT``)."""
    for first in random.sample(range(18_000, 30_000, 200), 60):
        with contextlib.suppress(OSError), contextlib.ExitStack() as taken:
            for offset in (17, 19, 20, 101, 102):
                probe = taken.enter_context(socket.socket())
                probe.bind(("127.0.0.1", first + offset))
            return str(first)
    raise RuntimeError("there are no free ports")


def need(program: str) -> None:
    """Skip a test whose program is missing, but not where nothing may be skipped."""
    if shutil.which(program) is None:
        message = f"{program} is missing (tests/slurm/machine/launchers.sh installs it)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def jobs(folder: Path) -> list[str]:
    """The jobs that write into `folder` and have not ended (those just ending count as ended)."""
    listed = run(
        "squeue", "--noheader", "--states=PENDING,RUNNING,SUSPENDED", "--Format=JobID,STDOUT:1024"
    )
    fields = [line.split(maxsplit=1) for line in listed.splitlines()]
    return [job_id for job_id, path in fields if path.startswith(str(folder))]


@pytest.fixture(autouse=True)
def _no_job_is_left(_slurm: None, tmp_path: Path) -> Iterator[None]:
    yield
    left = jobs(tmp_path)
    if left:
        run("scancel", *left)
    assert not left


@pytest.fixture
def node() -> Iterator[Callable[[str, str], str]]:
    """Cut a node's power, or bring it back: ``node("down", "node2")``; all are back afterwards."""
    cut: set[str] = set()

    def act(what: str, name: str) -> str:
        cut.add(name)
        return run("bash", str(MACHINE / "node.sh"), what, name)

    yield act
    for name in cut:
        subprocess.run(["bash", str(MACHINE / "node.sh"), "up", name], timeout=60, check=False)
        subprocess.run(
            ["scontrol", "update", f"nodename={name}", "state=resume"], timeout=60, check=False
        )
