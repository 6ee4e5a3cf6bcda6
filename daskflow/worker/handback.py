"""Handing back: a batch in which one call runs long gives up the members that it has not begun.

A watcher thread, one for each process, looks at the running batches every 50 ms. Under the lock of the
batch's `Claims` it takes back what has not been claimed, and tells the kernel: which members have ended,
how, and which it may send again elsewhere. The long call runs on.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from daskflow.worker import wire
from daskflow.worker.outcome import TAKEN, Spent

logger = logging.getLogger("daskflow.worker")
TOPIC = "daskflow-hand-back-"
"""Dask event topic (with the run appended) on which workers tell of batches that run long."""
LONG_S = 0.1
_LOOK_EVERY_S = 0.05
Message = tuple[str, bytes]
"""The key of the batch, and its `HandBack`, which only the kernel opens."""


@dataclass(frozen=True, slots=True)
class HandBack:
    """What a worker tells of a batch before its end.

    `ended` are outcomes of its members from `first` on (none if they are too large for a message);
    those from `revoked_from` on will not be run. `spent` is what its calls have cost so far.
    """

    key: str
    first: int
    ended: tuple[object, ...]
    revoked_from: int
    spent: Spent = field(default_factory=dict)


class Claims:
    """Who may begin which member of a running batch: its own thread, until the watcher says no.

    Parameters
    ----------
    key
        Of the batch.
    entries
        The outcomes of its members so far; grows.
    members
        How many it has.
    app_of
        Names the app of a member.
    spent
        Gives what the members in `entries` have cost.
    tell
        Sends a message to the kernel.
    shown
        Where the running member is published (`daskflow.worker.board`).
    """

    __slots__ = (
        "_app_of",
        "_begun_s",
        "_current",
        "_entries",
        "_key",
        "_limit",
        "_lock",
        "_shown",
        "_spent",
        "_tell",
        "_told",
    )

    def __init__(  # noqa: PLR0913 # made in one place
        self,
        *,
        key: str,
        entries: Sequence[object],
        members: int,
        app_of: Callable[[int], str],
        spent: Callable[[], Spent],
        tell: Callable[[Message], object],
        shown: memoryview,
    ):
        self._key = key
        self._entries = entries
        self._app_of = app_of
        self._limit = members
        self._spent = spent
        self._tell = tell
        self._shown = shown
        self._lock = threading.Lock()
        self._current = -1
        self._begun_s = 0.0
        self._told = 0

    def load(self, member: int) -> None:
        """Note that what `member` runs is being imported, which says nothing of how long it runs."""
        self._shown[0] = member

    def begin(self, member: int, now_s: float) -> bool:
        """Claim a member, at `now_s` of `time.perf_counter`; False if it has been taken back."""
        with self._lock:
            if member >= self._limit:
                return False
            self._current = member
            self._begun_s = now_s
            self._shown[0] = member
            return True

    def tell_ended(self) -> None:
        """Tell what has ended; no member runs until the next is claimed."""
        with self._lock:
            self._current = -1
            self._shown[0] = -1
            if len(self._entries) > self._told:
                self._send(len(self._entries), {})

    def look(self, now_s: float) -> bool:
        """Take back what has not begun if a member runs long; return whether to look again."""
        with self._lock:
            current = self._current
            seconds = now_s - self._begun_s
            if current < 0 or seconds < LONG_S:
                return True
            self._limit = current + 1
            spent = dict(self._spent())
            name = self._app_of(current)
            calls, before_s, size = spent.get(name, (0, 0.0, 0))
            spent[name] = calls + 1, before_s + min(seconds, LONG_S), size
            self._send(current, spent)
            return False

    def _send(self, ended: int, spent: Spent) -> None:
        """Tell the outcomes of the members before `ended`, what is taken back, what it cost."""
        # A value that was taken is told of together with what took it, by the Box.
        untaken = itertools.takewhile(lambda e: e is not TAKEN, self._entries[self._told : ended])
        entries = tuple(untaken)
        ended = self._told + len(entries)
        if sum(map(wire.size_bytes, entries)) > wire.MESSAGE_BYTES:
            entries = ()
        told = HandBack(self._key, self._told, entries, self._limit, spent)
        self._told = ended
        self._tell((self._key, wire.dumps(told)))


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
            self._look_at_all()

    def _look_at_all(self) -> None:
        """Look at each batch; a function of its own, or the thread would keep the last while it waits."""
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
