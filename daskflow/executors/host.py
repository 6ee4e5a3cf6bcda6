"""The host: one process beside this one, with the scheduler and the nannies of local workers.

::

    this process                      host process (a session of its own: no Ctrl-C of the terminal)
    HostProcess ── orders (stdin) ──►  Scheduler
                ◄── answers (pipe) ──  Nanny ── worker process
                                       Nanny ── worker process

A scheduler in a process of its own is not slowed by a busy main thread. When this process ends, however
it ends, the host sees the end of its stdin and stops. What it does is in `daskflow.executors.hosting`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

import cloudpickle

from daskflow.errors import SchedulerLost
from daskflow.worker import board

START_TIMEOUT_S = 60.0
"""A first import of distributed from a busy network file system takes half of that."""
_STOP_TIMEOUT_S = 8.0
_SILENCE_TIMEOUT_S = 5.0
_CHILD = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from daskflow.executors.hosting import main; main(int(sys.argv[1]))"
)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """One local worker process."""

    name: str
    threads: int
    memory_limit: str | int | float
    resources: Mapping[str, float]
    env: Mapping[str, str] = field(default_factory=dict)
    on_start: Callable[[], object] | None = None
    interface: str | None = "127.0.0.1"

    def plugins(self) -> list[object]:
        """Return the Dask plugins of this worker."""
        from daskflow.executors.prompt import PromptWorker  # imports distributed
        from daskflow.executors.startup import StartUp  # as above

        if self.on_start is None:
            return [PromptWorker(owns_process=True)]
        return [
            PromptWorker(owns_process=True),
            StartUp(cloudpickle.dumps(self.on_start), os.getpid()),
        ]


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """The scheduler of a host, and what it listens on. `dashboard` is False, or the port to try first."""

    host: str = "127.0.0.1"
    security: Any
    dashboard: int | bool
    dask_config: Mapping[str, Any]


class HostProcess:
    """The host, seen from the process that started it."""

    def __init__(self) -> None:
        self._boards = tempfile.mkdtemp(prefix="daskflow-")
        readable, writable = os.pipe()
        path = [entry or str(Path.cwd()) for entry in sys.path]
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _CHILD,
                    str(writable),
                    *path,
                    str(Path(__file__).parents[2]),
                ],
                stdin=subprocess.PIPE,
                pass_fds=(writable,),
                start_new_session=True,
                env={**_environment(), board.FOLDER: self._boards},
            )
        finally:
            os.close(writable)
        self._answers: IO[bytes] = os.fdopen(readable, "rb")
        self._lock = threading.Lock()
        self._stopping = False
        self._is_mute = False
        self._what = "scheduler"
        _hosts.add(self)

    @property
    def pid(self) -> int:
        """The process id of the host."""
        return self._process.pid

    def start_scheduler(
        self, settings: SchedulerSettings, timeout_s: float = START_TIMEOUT_S
    ) -> str:
        """Start the scheduler and return its address.

        Raises
        ------
        SchedulerLost
            It has not started within `timeout_s`, or has ended.
        """
        return str(self._ask("scheduler", settings, timeout_s))

    def join_scheduler(self, address: str, security: Any) -> None:
        """Let the workers join a scheduler that is not ours."""
        self._what = "workers'"
        self._ask("joining", (address, security))

    def start_workers(self, workers: Sequence[WorkerSettings]) -> None:
        """Begin to start local workers; they join the scheduler when they are up."""
        self._ask("workers", list(workers))

    def silence(self) -> None:
        """Let the scheduler say nothing of the end that is near: lost workers are no news then."""
        if not self._is_mute:
            with contextlib.suppress(SchedulerLost):
                self._ask("silence", None, timeout_s=_SILENCE_TIMEOUT_S)

    def watch(self, on_lost: Callable[[str], object]) -> None:
        """Call ``on_lost(how)`` if the host ends before `stop`."""

        def wait() -> None:
            exitcode = self._process.wait()
            if not self._stopping:
                how = f"exit code {exitcode}" if exitcode >= 0 else f"signal {-exitcode}"
                on_lost(f"the {self._what} process (pid {self.pid}) ended: {how}")

        threading.Thread(target=wait, name="daskflow-host-watch", daemon=True).start()

    def stop(self) -> None:
        """End the scheduler and the workers. Harmless when repeated."""
        self._stopping = True
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(0 if self._is_mute else _STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        shutil.rmtree(self._boards, ignore_errors=True)

    def leave_to_the_parent(self) -> None:
        """Let go of the host in a forked child, whose open pipe would hide the end of its parent."""
        self._stopping = True
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                os.close(self._process.stdin.fileno())

    def _ask(self, order: str, content: object, timeout_s: float = START_TIMEOUT_S) -> object:
        with self._lock:
            try:
                assert self._process.stdin is not None
                cloudpickle.dump((order, content), self._process.stdin)
                self._process.stdin.flush()
                if not select.select([self._answers], [], [], timeout_s)[0]:
                    self._is_mute = True
                    raise SchedulerLost(
                        f"the {self._what} process (pid {self.pid}) has not answered within "
                        f"{timeout_s:g} s; its own messages are on stderr"
                    )
                good, answer = pickle.load(self._answers)  # our own child
            except (EOFError, OSError, ValueError) as error:
                raise SchedulerLost(
                    f"the scheduler process (pid {self.pid}) ended while it started; "
                    "its own messages are on stderr"
                ) from error
        if not good:
            raise SchedulerLost(f"the scheduler process could not start: {answer}")
        return answer


_hosts: WeakSet[HostProcess] = WeakSet()


def _leave_hosts_to_the_parent() -> None:
    for host in list(_hosts):
        host.leave_to_the_parent()


os.register_at_fork(after_in_child=_leave_hosts_to_the_parent)


def _environment() -> dict[str, str]:
    """Return the environment of the host, and so of the process that workers are forked from.

    The libraries that are imported there read these variables as they are: a Nanny sets them too late.
    """
    import dask  # its other parts are not needed here

    pre_spawn = {
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1),
        "MALLOC_TRIM_THRESHOLD_": 65536,
        "PYTHONHASHSEED": 6640,
        **dask.config.get("distributed.nanny.pre-spawn-environ", {}),
    }
    known = {name: str(value) for name, value in pre_spawn.items() if value is not None}
    return {**known, "DASK_LOGGING__DISTRIBUTED": "warning", **os.environ}
