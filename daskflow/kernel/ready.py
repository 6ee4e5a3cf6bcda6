"""Calls that may be sent now."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

from daskflow.graph.call import Call


class ReadyCalls:
    """A queue of calls: those of higher priority first, else in order."""

    def __init__(self) -> None:
        self._queues: dict[float, deque[Call]] = {}
        self._order: list[float] = []
        self._count = 0

    def append(self, call: Call) -> None:
        """Add a call behind those of its priority."""
        self._queue_of(call).append(call)
        self._count += 1

    def put_back(self, calls: Iterable[Call]) -> None:
        """Add calls, which are in order, before all others of their priority."""
        for call in reversed(list(calls)):
            self._queue_of(call).appendleft(call)
            self._count += 1

    def pop(self) -> Call:
        """Take out the first call; IndexError if there is none."""
        for priority in self._order:
            queue = self._queues[priority]
            if queue:
                self._count -= 1
                return queue.popleft()
        raise IndexError("no call is ready")

    def _queue_of(self, call: Call) -> deque[Call]:
        queue = self._queues.get(call.options.priority)
        if queue is None:
            queue = self._queues[call.options.priority] = deque()
            self._order = sorted(self._queues, reverse=True)
        return queue

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Call]:
        return itertools.chain.from_iterable(self._queues.values())
