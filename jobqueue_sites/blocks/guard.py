"""The guard: a process that cancels the jobs of a cluster whose client has died.

::

    client ── the command that cancels all open jobs, whenever it changes ──► stdin of the guard
       x   ── end of file ──► the guard runs it, for some minutes if it fails

Jobs that run notice that their scheduler is gone. Those that wait in the queue would start some day, for
nothing. The guard is run by its path, without site-packages, so that it takes little time and memory.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

_PAUSES_S = (0, 1, 2, 5, 10, 20, *[30] * 8)
_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 5.0


class Guard:
    """The guard, as its client sees it. It is started before the first job."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()
        self._command: list[str] = []

    @property
    def pid(self) -> int | None:
        """Its process id; None if it has not been started."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it, if it has not been. In any thread: it takes as long as a process takes to start."""
        with self._starting:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", __file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    start_new_session=True,  # what the terminal sends is not for it
                )

    def hold(self, command: Sequence[str]) -> None:
        """Have a command run when this process dies; none, if it is empty."""
        if list(command) == self._command:
            return
        self._command = list(command)
        self.start()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # somebody has killed it
            self._process.stdin.write(json.dumps(self._command) + "\n")
            self._process.stdin.flush()

    def let_go(self) -> None:
        """End it; a command that it still holds is run. Harmless when repeated."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if self._command:
            self._process.returncode = 0  # it is left alone, and warned of by nobody
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_TIMEOUT_S)
        self._process = None


def main() -> None:
    """Wait for the end of the client, and run what it has asked for last."""
    command: list[str] = []
    for line in sys.stdin:
        with contextlib.suppress(ValueError):  # cut off in the middle
            command = json.loads(line)
    for pause_s in _PAUSES_S if command else ():
        time.sleep(pause_s)
        if _succeeds(command):
            return


def _succeeds(command: Sequence[str]) -> bool:
    try:
        quiet = subprocess.DEVNULL
        done = subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


if __name__ == "__main__":
    main()
