"""Calls that may be sent now."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from daskflow.graph.call import Call
from daskflow.kernel.placing import Route
from daskflow.worker.keys import is_inner


class ReadyCalls:
    """A queue of calls: those of higher priority first, else in the order in which they were made.

    Calls of a route (see `Placing.route`) are passed over while there is no room for them.
    """

    def __init__(self, route_of: Callable[[Call], Route | None]) -> None:
        self._route_of = route_of
        self._queues: dict[tuple[float, Route | None], deque[Call]] = {}
        self._by_priority: list[list[tuple[Route | None, deque[Call]]]] = []
        self._count = 0

    def append(self, call: Call) -> None:
        """Add a call behind those that are like it."""
        self._queue_of(call).append(call)
        self._count += 1

    def put_back(self, calls: Iterable[Call]) -> None:
        """Add calls, which are in order, before all others that are like them."""
        for call in reversed(list(calls)):
            self._queue_of(call).appendleft(call)
            self._count += 1

    def pop(self, room: dict[Route, int]) -> Call | None:
        """Take out the first call for whose route there is `room`, and count it; None if there is none."""
        for queues in self._by_priority:
            first: deque[Call] | None = None
            of: Route | None = None
            for route, queue in queues:
                is_first = queue and (first is None or _made(queue[0]) < _made(first[0]))
                if is_first and (route is None or room[route] > 0):
                    first, of = queue, route
            if first is not None:
                self._count -= 1
                if of is not None:
                    room[of] -= 1
                return first.popleft()
        return None

    def routes(self) -> list[Route]:
        """Return the routes that calls here have or had."""
        return list({route: None for _, route in self._queues if route is not None})

    def count(self, is_meant: Callable[[Route | None], bool]) -> int:
        """Return how many calls have a route that is meant."""
        return sum(len(queue) for (_, route), queue in self._queues.items() if is_meant(route))

    def _queue_of(self, call: Call) -> deque[Call]:
        key = call.options.priority, self._route_of(call)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
            priorities = sorted({priority for priority, _ in self._queues}, reverse=True)
            self._by_priority = [
                [(route, q) for (p, route), q in self._queues.items() if p == priority]
                for priority in priorities
            ]
        return queue

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Call]:
        return itertools.chain.from_iterable(self._queues.values())


def _made(call: Call) -> int:
    """Return when a call was made, beside others: what joins have begun comes first."""
    return 0 if is_inner(call.number) else call.number
