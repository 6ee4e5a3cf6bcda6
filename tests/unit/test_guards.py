"""A guard and the process that does the work: it is ended, whenever the interruption comes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from daskflow.worker.running import CallInterrupted, Guard, Reason


def sleeping() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"], start_new_session=True)


@pytest.mark.parametrize("reason", Reason)
def test_an_interruption_while_a_process_is_started_ends_the_process(reason: Reason) -> None:
    with Guard("interrupted-while-starting") as guard:

        def start() -> subprocess.Popen[bytes]:
            process = sleeping()
            assert guard.stop(reason)
            return process  # nothing was raised before it is known

        process = guard.start(start)
        assert process.wait(60) == -signal.SIGTERM
    assert guard.reason is reason


def test_an_interruption_after_that_ends_the_process() -> None:
    with Guard("interrupted-while-running") as guard:
        process = guard.start(sleeping)
        assert guard.stop(Reason.CANCELLED)
        assert process.wait(60) == -signal.SIGTERM


def test_after_an_interruption_no_process_is_started(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[bytes]:
        (tmp_path / "started").touch()
        return sleeping()

    guard = Guard("interrupted-before")
    with pytest.raises(CallInterrupted), guard:
        guard.stop(Reason.CANCELLED)
        guard.start(start)
    guard.close()
    assert not (tmp_path / "started").exists()


def test_a_process_that_cannot_be_started_is_that_failure() -> None:
    with Guard("not-there") as guard, pytest.raises(FileNotFoundError):
        guard.start(lambda: subprocess.Popen(["/no/such/program"]))
    assert guard.reason is None
