"""Closing in spite of a Ctrl-C: jobs that are being cancelled, or submitted, must not be forgotten."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import cast

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], object]


@contextlib.contextmanager
def signals_deferred() -> Iterator[None]:
    """Put off a signal that is to end this process until the end of the block; a second one acts at once.

    That is a signal for which there is a handler in Python: Python's own for Ctrl-C, mostly. In other
    threads than the main one, where no signal is handled, and inside another such block it does nothing.
    """
    deferred = _Deferred()
    try:
        deferred.begin()
        yield
    finally:
        deferred.end()


class _Deferred:
    """The first signal since `begin`, which acts at the `end`, unless a second one has acted."""

    def __init__(self) -> None:
        self._handlers: dict[int, _Handler] = {}
        self._first: int | None = None
        self._has_acted = False

    def begin(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        handlers = {number: signal.getsignal(number) for number in _ENDS}
        if any(isinstance(getattr(h, "__self__", None), _Deferred) for h in handlers.values()):
            return
        for number, handler in handlers.items():
            if callable(handler):
                self._handlers[number] = cast(_Handler, handler)
                signal.signal(number, self._take)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._first is None:
            self._first = number
        else:
            self._has_acted = True
            self._handlers[number](number, frame)

    def end(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self._first is not None and not self._has_acted:
            self._handlers[self._first](self._first, None)
