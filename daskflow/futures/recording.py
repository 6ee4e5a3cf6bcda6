"""Where a new call is recorded: in a join body, in the loaded kernel, or in the pool of calls without one.

`Owner` is all that futures know of a kernel.
"""

from __future__ import annotations

import itertools
import os
import sys
import sysconfig
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from daskflow.errors import NoDataFlowKernelError
from daskflow.graph.arguments import Literals
from daskflow.graph.call import Call, State
from daskflow.worker.keys import call_key, clean_name
from daskflow.worker.running import is_inside_call

_OURS = tuple(
    f"{Path(__file__).parents[2] / name}{os.sep}" for name in ("daskflow", "jobqueue_sites")
)
_NOBODYS = (sysconfig.get_path("stdlib"), "<frozen")


class Owner(Protocol):
    """Answers for the calls that are recorded in it."""

    def record(self, call: Call) -> None:
        """Take a new call; raise what is wrong with it."""

    def adopt(self, call: Call) -> None:
        """Take a call that was recorded elsewhere."""

    def demand(self, call: Call) -> None:
        """See that the call will run."""

    def check_may_wait(self) -> None:
        """Raise if this thread must not wait for a call."""

    def cancel(self, call: Call) -> bool:
        """See that the call delivers no result; False if it has one."""

    def fetch(self, call: Call) -> Any:
        """Return the value, in travelling form, of a finished call that is not at home."""

    def wire_task(self, call: Call) -> Any:
        """Return the Dask task that stands for the call in a graph on its way to a scheduler."""

    def was_shown(self, error: BaseException) -> None:
        """Note that somebody has seen the exception of a failed call."""

    def log_folder(self) -> str:
        """Return the folder for logs of calls whose names are given by `AUTO_LOGNAME`."""


class Process:
    """What calls of this process have in common. A forked child is another run."""

    def __init__(self) -> None:
        self.run = os.urandom(8).hex()
        self.numbers = itertools.count()
        self.literals = Literals()
        self.pool = Pool(self)
        self.kernel: Owner | None = None
        self.load_default: Callable[[], Owner] | None = None


class Pool:
    """Calls recorded while no kernel is loaded: Dask's own schedulers may run them, or a kernel
    that is loaded later takes them over.
    """

    def __init__(self, process: Process):
        self._process = process
        self._calls: deque[Call] = deque()
        self._purge_at = 10_000

    def record(self, call: Call) -> None:
        call.owner = self
        if is_inside_call():
            return
        self._calls.append(call)
        if len(self._calls) >= self._purge_at:
            kept = [c for c in self.drain() if not c.is_final]
            self._calls.extend(kept)
            self._purge_at = max(10_000, 2 * len(kept))

    def adopt(self, call: Call) -> None:
        self.record(call)

    def drain(self) -> Iterator[Call]:
        """Take out all calls, oldest first."""
        for _ in range(len(self._calls)):
            yield self._calls.popleft()

    def demand(self, call: Call) -> None:
        from daskflow.futures.cluster import demand  # a cycle
        from daskflow.futures.local import end_blocked  # a cycle

        self.check_may_wait()
        end_blocked(call)
        if call.is_final or demand(call) or call.state is State.SUBMITTED:
            return
        if self._process.load_default is None:
            raise NoDataFlowKernelError("no kernel is loaded, and none can be: use daskflow.load()")
        self._process.load_default()
        if call.owner is self:
            assert self._process.kernel is not None
            self._process.kernel.adopt(call)
        call.owner.demand(call)

    def check_may_wait(self) -> None:
        if is_inside_call():
            raise NoDataFlowKernelError(
                "an app's future is demanded inside another app, on a worker, where no kernel is "
                "loaded: return it from a join_app instead, or call the plain function (app.func)"
            )

    def cancel(self, call: Call) -> bool:
        from daskflow.futures.local import cancel  # a cycle

        return cancel(call)

    def fetch(self, call: Call) -> Any:
        raise NoDataFlowKernelError(f"the value of {call} is not in this process")

    def was_shown(self, error: BaseException) -> None:
        """Nothing waits to be told of it."""

    def wire_task(self, call: Call) -> Any:
        from daskflow.futures.local import wire_task_without_kernel  # a cycle

        return wire_task_without_kernel(call)

    def log_folder(self) -> str:
        return os.path.join("runinfo", self._process.run, "task_logs")  # noqa: PTH118 # just a name

    def never_run(self) -> int:
        """Count the calls that have been recorded and not run."""
        return sum(not c.is_final for c in self._calls)


process = Process()
_body: ContextVar[Owner | None] = ContextVar("join_body", default=None)


def recorder() -> Owner:
    """Return what a call made now is recorded in."""
    return _body.get() or process.kernel or process.pool


@contextmanager
def recording_in(owner: Owner) -> Iterator[None]:
    """Record the calls made in this block in `owner` (a join body)."""
    token = _body.set(owner)
    try:
        yield
    finally:
        _body.reset(token)


def key_of(call: Call) -> str:
    """Return the key that names `call`."""
    return call_key(clean_name(call.app.name), process.run, call.number)


def warn_of_calls_never_run(count: int, why: str) -> None:
    """Warn that `count` recorded calls will never run."""
    if count:
        calls = "call was" if count == 1 else "calls were"
        warn(f"daskflow: {count} {calls} recorded and never run: {why}", RuntimeWarning)


def warn(message: str, category: type[Warning]) -> None:
    """Warn of the user's line that led here, if there is one: ours say nothing to them."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    file, line = ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)
    if not file or file.startswith(_NOBODYS) or "/site-packages/" in file:
        file, line = "daskflow", 0
    warnings.warn_explicit(message, category, file, line)


def _start_anew_after_fork() -> None:
    old = process.kernel
    load_default = process.load_default
    process.__init__()  # type: ignore[misc] # the same object, a new run
    process.load_default = load_default
    if old is not None:
        process.forked_from = old  # type: ignore[attr-defined] # keeps it from being collected here


os.register_at_fork(after_in_child=_start_anew_after_fork)
