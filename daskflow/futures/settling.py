"""Settling: how a call ends, and everyone who waits for it learns so.

A `threading.Condition` costs 1.2 kB and 4 µs, so a future has one only once somebody waits. One lock
decides the race: while a future has no condition, its call may be settled under the lock alone;
once it has one, under the condition too, as `concurrent.futures.wait` expects.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from daskflow.graph.call import Call, State

Settlement = tuple[Call, State, Any]
logger = logging.getLogger("daskflow.futures")


class Lock:
    """The lock of all futures; a forked child gets a fresh one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


guard = Lock()
os.register_at_fork(after_in_child=guard.__init__)  # type: ignore[misc] # the same object, a new lock


def settle(settlements: Iterable[Settlement]) -> None:
    """End calls, wake who waits for them, and run their callbacks in this thread.

    A call that has ended already keeps its end.
    """
    call_back(end(settlements))


def end(settlements: Iterable[Settlement]) -> list[Any]:
    """End calls and wake who waits for them; return the futures whose callbacks are to be run."""
    waited_for: list[Settlement] = []
    ended: list[Any] = []
    with guard.lock:
        for settlement in settlements:
            call, state, value = settlement
            if call.state >= State.DONE:
                continue
            future = call.future
            if future is not None and future.is_waited_for():
                waited_for.append(settlement)
                continue
            _end(call, state, value)
            if future is not None and future.callbacks is not None:
                ended.append(future)
    for call, state, value in waited_for:
        future = call.future
        if future is not None:
            future.end_and_notify(lambda c=call, s=state, v=value: _end(c, s, v))
            ended.append(future)
    return ended


def call_back(ended: Iterable[Any]) -> None:
    """Run the callbacks of futures that have ended, in this thread."""
    for future in ended:
        run_callbacks(future, future.take_callbacks())


def _end(call: Call, state: State, value: Any) -> bool:
    """End a call; return False if it has ended already."""
    if call.state >= State.DONE:
        return False
    call.value = value
    call.state = state
    call.future = None
    call.forget_arguments()
    return True


def run_callbacks(future: Any, callbacks: Iterable[Callable[[Any], object]]) -> None:
    """Run the done-callbacks of a future; one that raises is logged, as concurrent.futures does."""
    for callback in callbacks:
        try:
            callback(future)
        except BaseException:  # it must not end the thread that resolves futures
            logger.exception("a done-callback of %r raised", future)
