"""Calls that wait in this process, each for one thing that the scheduler cannot wait for.

::

    hold      another call, which is itself not on its way, or joins
    pause     the time of its next try
    expect    somebody else's futures, or a Dask key of its own
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator

from daskflow.graph.call import Call, State


class Waiting:
    """Keeps waiting calls, in state HELD, until what each waits for has come. Needs a lock around it."""

    def __init__(self) -> None:
        self._held: dict[Call, list[Call]] = {}
        self._paused: list[tuple[float, int, Call]] = []
        self._order = itertools.count()
        self._expecting: dict[Call, int] = {}

    def hold(self, call: Call, on: Call) -> None:
        """Let `call` wait until `on` has been sent, has ended, or its join body has returned."""
        call.state = State.HELD
        self._held.setdefault(on, []).append(call)

    @property
    def holds_any(self) -> bool:
        """Whether a call is held on another."""
        return bool(self._held)

    def released_by(self, calls: Iterable[Call]) -> list[Call]:
        """Take out what was held on `calls`."""
        if not self._held:
            return []
        found = [held for call in calls for held in self._held.pop(call, ())]
        return [call for call in found if call.state is State.HELD]

    def pause(self, call: Call, until_s: float) -> None:
        """Let `call` wait until `until_s` on the caller's clock."""
        call.state = State.HELD
        heapq.heappush(self._paused, (until_s, next(self._order), call))

    def next_due_s(self) -> float | None:
        """Return when the first pause is over; None if nothing is paused."""
        return self._paused[0][0] if self._paused else None

    def due(self, now_s: float) -> list[Call]:
        """Take out the calls whose pause is over."""
        found = []
        while self._paused and self._paused[0][0] <= now_s:
            found.append(heapq.heappop(self._paused)[2])
        return [call for call in found if call.state is State.HELD]

    def expect(self, call: Call, events: int = 1) -> None:
        """Let `call` wait for so many calls of `came`."""
        call.state = State.HELD
        self._expecting[call] = events

    def came(self, call: Call) -> bool:
        """Note one of the events that `call` expects; return whether it was the last."""
        left = self._expecting.get(call, 0) - 1
        if left > 0:
            self._expecting[call] = left
            return False
        self._expecting.pop(call, None)
        return left == 0

    def __iter__(self) -> Iterator[Call]:
        held = itertools.chain.from_iterable(self._held.values())
        paused = (entry[2] for entry in self._paused)
        return itertools.chain(held, paused, self._expecting)
