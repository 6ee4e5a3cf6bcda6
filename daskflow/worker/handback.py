"""Handing back: a batch in which one call runs long gives up the members that it has not begun.

A watcher thread, one for each process, looks at the running batches every 50 ms. Under the lock of the
batch's `Claims` it takes back what has not been claimed, and tells the kernel: which members have ended,
how, and which it may send again elsewhere. The long call runs on.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from daskflow.worker import wire

logger = logging.getLogger("daskflow.worker")
TOPIC = "daskflow-hand-back-"
"""Dask event topic (with the run appended) on which workers tell of batches that run long."""
LONG_S = 0.1
_LOOK_EVERY_S = 0.05
_MOST_BYTES = 2**18


@dataclass(frozen=True, slots=True)
class HandBack:
    """What a worker tells of a batch that runs long.

    `ended` are the outcomes of its first members (empty if they are too large for a message), then
    one member runs (of the app `app_name`, for `seconds` so far), and those from `revoked_from` on
    will not be run.
    """

    key: str
    ended: tuple[object, ...]
    revoked_from: int
    app_name: str
    seconds: float


class Claims:
    """Who may begin which member of a running batch: its own thread, until the watcher says no."""

    __slots__ = ("_app_of", "_begun_s", "_current", "_entries", "_key", "_limit", "_lock", "_tell")

    def __init__(
        self,
        key: str,
        entries: Sequence[object],
        members: int,
        app_of: Callable[[int], str],
        tell: Callable[[bytes], object],
    ):
        self._key = key
        self._entries = entries
        self._limit = members
        self._app_of = app_of
        self._tell = tell
        self._lock = threading.Lock()
        self._current = -1
        self._begun_s = 0.0

    def begin(self, member: int, now_s: float) -> bool:
        """Claim a member, at `now_s` of `time.perf_counter`; False if it has been taken back."""
        with self._lock:
            if member >= self._limit:
                return False
            self._current = member
            self._begun_s = now_s
            return True

    def look(self, now_s: float) -> bool:
        """Take back what has not begun if a member runs long; return whether to look again."""
        with self._lock:
            seconds = now_s - self._begun_s
            if self._current < 0 or seconds < LONG_S:
                return True
            current, self._limit = self._current, self._current + 1
            ended = tuple(self._entries[:current])
        if sum(map(wire.size_bytes, ended)) > _MOST_BYTES:
            ended = ()
        app_name = self._app_of(current)
        told = HandBack(self._key, ended, current + 1, app_name, seconds)
        self._tell(wire.dumps(told))
        return False


class _Watcher:
    """Looks at the running batches of this process."""

    def __init__(self) -> None:
        self._batches: set[Claims] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, claims: Claims) -> None:
        with self._changed:
            self._batches.add(claims)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="daskflow-hand-back", daemon=True
                )
                self._thread.start()
            elif len(self._batches) == 1:
                self._changed.notify()

    def forget(self, claims: Claims) -> None:
        with self._changed:
            self._batches.discard(claims)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._batches:
                    self._changed.wait()
            time.sleep(_LOOK_EVERY_S)
            with self._changed:
                running = list(self._batches)
            now_s = time.perf_counter()
            for claims in running:
                try:
                    look_again = claims.look(now_s)
                except Exception:
                    logger.exception("cannot tell the kernel of a batch that runs long")
                    look_again = False
                if not look_again:
                    self.forget(claims)


watcher = _Watcher()


def _forget_after_fork() -> None:
    global watcher
    watcher = _Watcher()


os.register_at_fork(after_in_child=_forget_after_fork)


def teller(run: str) -> Callable[[bytes], Any] | None:
    """Return what sends a message to the kernel of `run`; None outside a Dask worker."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return None
    return lambda message: worker.log_event(TOPIC + run, message)
