"""What runs in this process right now, so that it can be interrupted: by a walltime or by cancel().

::

    Guard(key, walltime_s)      one attempt: registered on entry, gone on exit
        │ thread                Python code: an exception is raised in its thread between two bytecodes
        │ process               a command or an isolated call: its process group gets TERM, then KILL

One lock guards the table; an interrupt is aimed under it, so it can hit only the attempt it was meant
for. Each attempt is interrupted at most once.
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from types import TracebackType

from daskflow.worker import orphans

KILL_GRACE_S = 3.0


class Reason(StrEnum):
    """Why an attempt was interrupted."""

    WALLTIME = "walltime"
    CANCELLED = "cancelled"


class CallInterrupted(BaseException):
    """Raised in the thread of an attempt that is to end; no ``except Exception`` stops it."""


class Guard:
    """Make an attempt visible to `interrupt` and limit its time. Use with ``with``.

    `process`, a leader of its own process group, does the work if it is given.
    """

    __slots__ = ("_closed", "_is_starting", "_process", "key", "reason", "thread_id", "walltime_s")

    def __init__(
        self,
        key: str,
        walltime_s: float | None = None,
        process: subprocess.Popen[bytes] | None = None,
    ):
        self.key = key
        self.walltime_s = walltime_s
        self.reason: Reason | None = None
        self._process = process
        self.thread_id = 0
        self._is_starting = False
        self._closed = False

    def __enter__(self) -> Guard:
        self.thread_id = threading.get_ident()
        if self._process is not None:
            orphans.watch(self._process.pid)
        _running[self.key] = self
        if self.key in _cancelled:  # since it was looked up last
            self.stop(Reason.CANCELLED)
        if self.walltime_s is not None:
            _watchdog.watch(self, time.monotonic() + self.walltime_s)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the attempt off the table; afterwards no interrupt can hit its thread."""
        with _lock:
            if self._closed:
                return
            self._closed = True
            if _running.get(self.key) is self:
                del _running[self.key]
            if self._process is None:
                if self.reason is not None:
                    _raise_in_thread(self.thread_id, None)
            elif self.reason is None:
                orphans.forget(self._process.pid)

    def start(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        """Let the process that `start` makes do the work from now on, and return it.

        Nothing is raised while it is being made, or nobody would know of it: an attempt that is
        interrupted then ends with the process.
        """
        with _lock:
            if self.reason is not None:
                raise CallInterrupted
            self._is_starting = True
        try:
            process = start()
            orphans.watch(process.pid)
            self._process = process
        finally:
            with _lock:
                self._is_starting = False
                reason = self.reason
        if reason is not None:
            _end_group(process)
        return process

    def stop(self, reason: Reason) -> bool:
        """Interrupt the attempt; return False if it was over or interrupted already."""
        with _lock:
            if self._closed or self.reason is not None:
                return False
            self.reason = reason
            process = None if self._is_starting else self._process
            if process is None and not self._is_starting:
                _raise_in_thread(self.thread_id, CallInterrupted)
        if process is not None:
            _end_group(process)
        return True


def was_cancelled(key: str) -> bool:
    """Tell whether the call `key` was cancelled before it began."""
    return key in _cancelled


def interrupt(keys: Iterable[str]) -> list[str]:
    """Cancel the calls `keys` in this process: end those that run (returned), never begin the others."""
    keys = list(keys)
    with _lock:
        for key in keys:
            _cancelled[key] = None
        while len(_cancelled) > _REMEMBERED:
            del _cancelled[next(iter(_cancelled))]
        guards = [guard for key in keys if (guard := _running.get(key)) is not None]
    return [guard.key for guard in guards if guard.stop(Reason.CANCELLED)]


def interrupt_all(run: str) -> list[str]:
    """Cancel the calls of `run` that run in this process; return them."""
    return interrupt(key for key in running_keys() if run in key)


def running_keys() -> list[str]:
    """Return the keys of the calls that run in this process."""
    with _lock:
        return list(_running)


def is_inside_call() -> bool:
    """Tell whether this thread is running a call."""
    me = threading.get_ident()
    return any(guard.thread_id == me for guard in list(_running.values()))


def _raise_in_thread(thread_id: int, kind: type[BaseException] | None) -> None:
    exception = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), exception)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all its children: TERM now, KILL after a grace period."""
    if _signal_group(process, signal.SIGTERM):
        _watchdog.watch_group(process, time.monotonic() + KILL_GRACE_S)
    else:
        orphans.forget(process.pid)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class _Watchdog:
    """One thread that acts at deadlines; started with the first one."""

    def __init__(self) -> None:
        self._deadlines: list[tuple[float, int, Guard | subprocess.Popen[bytes]]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, guard: Guard, deadline_s: float) -> None:
        self._add(deadline_s, guard)

    def watch_group(self, process: subprocess.Popen[bytes], deadline_s: float) -> None:
        self._add(deadline_s, process)

    def _add(self, deadline_s: float, target: Guard | subprocess.Popen[bytes]) -> None:
        with self._changed:
            heapq.heappush(self._deadlines, (deadline_s, next(self._order), target))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="daskflow-watchdog", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._deadlines:
                    self._changed.wait()
                pause_s = self._deadlines[0][0] - time.monotonic()
                if pause_s > 0:
                    self._changed.wait(pause_s)
                    continue
                target = heapq.heappop(self._deadlines)[2]
            if isinstance(target, Guard):
                target.stop(Reason.WALLTIME)
            else:
                _signal_group(target, signal.SIGKILL)
                orphans.forget(target.pid)


_lock = threading.RLock()
_running: dict[str, Guard] = {}
_REMEMBERED = 100_000
_cancelled: dict[str, None] = {}
_watchdog = _Watchdog()


def _forget_after_fork() -> None:
    global _lock, _watchdog  # the child must not wait for threads it does not have
    _lock = threading.RLock()
    _watchdog = _Watchdog()
    _running.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
