"""Which Dask futures have ended, in bulk, for a thread that waits.

The only place that touches a private part of `distributed.Future` (its state's event): the public
ways cost about 1 ms (a callback) or poll every 100 ms (``as_completed``).
"""

from __future__ import annotations

import asyncio
import queue
import struct
from collections.abc import Callable, Sequence
from typing import Any

_MOST_FETCHES = 2
_MOST_IN_A_FETCH = 32
# distributed packs lengths in formats such as "37Q", two for each value, which `struct` keeps for ever.
# Made when a long run meets them, each would keep a MiB of memory from being given back after it.
_FORMATS = [f"{n}Q" for n in range(1, 2 * _MOST_IN_A_FETCH + 8)]
_RELEASE_AFTER_S = 0.02


class Completions:
    """Collects futures that have ended, and other things for the collector thread to do."""

    def __init__(self, client: Any):
        for each in _FORMATS:
            struct.calcsize(each)
        self._client = client
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._watching: set[asyncio.Task[None]] = set()
        self._to_fetch: list[tuple[Any, Any]] = []
        self._fetches = 0
        self._to_release: list[Any] = []

    def watch(self, items: Sequence[tuple[Any, Any]]) -> None:
        """Report each (Dask future, what it belongs to) of `items` once the future has ended."""
        if items:
            self._client.loop.add_callback(self._watch, items)

    def fetch(
        self,
        items: Sequence[tuple[Any, Any]],
        then: Callable[[Sequence[tuple[Any, object]]], object],
    ) -> None:
        """Fetch the values of Dask futures that have ended well, each given with its owner.

        The waiting thread runs ``then([(owner, value), ...])``; an exception stands for what could not
        be fetched. Nothing else waits meanwhile: fetching from a worker that has just died takes until
        a connection times out.
        """
        self._client.loop.add_callback(self._add_to_fetch, items, then)

    def release_soon(self, future: Any) -> None:
        """Let go of a Dask future whose outcome is at home, together with others.

        Each release would wake the client's loop, the scheduler and a worker, just when the next call is
        on its way.
        """
        self._to_release.append(future)
        if len(self._to_release) == 1:
            self._client.loop.add_callback(self._release_later)

    def call_soon(self, function: Callable[[], object]) -> None:
        """Let the waiting thread run `function`."""
        self._queue.put(function)

    def get(self, timeout_s: float | None) -> list[Any]:
        """Return what has come in; wait at most `timeout_s` for a first one."""
        try:
            found = [self._queue.get(timeout=timeout_s)]
        except queue.Empty:
            return []
        while True:
            try:
                found.append(self._queue.get_nowait())
            except queue.Empty:
                return found

    def _release_later(self) -> None:
        asyncio.get_running_loop().call_later(_RELEASE_AFTER_S, self._release)

    def _release(self) -> None:
        # In this thread, so that all go to the scheduler in one message.
        released, self._to_release = self._to_release, []
        released.clear()

    def _watch(self, items: Sequence[tuple[Any, Any]]) -> None:
        for item in items:
            task = asyncio.ensure_future(self._wait(item))
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)

    def _add_to_fetch(
        self,
        items: Sequence[tuple[Any, Any]],
        then: Callable[[Sequence[tuple[Any, object]]], object],
    ) -> None:
        self._to_fetch.extend(items)
        self._begin_fetch(then)

    def _begin_fetch(self, then: Callable[[Sequence[tuple[Any, object]]], object]) -> None:
        # What comes in while these are under way is fetched together: a fetch costs milliseconds.
        if self._to_fetch and self._fetches < _MOST_FETCHES:
            items, self._to_fetch = (
                self._to_fetch[:_MOST_IN_A_FETCH],
                self._to_fetch[_MOST_IN_A_FETCH:],
            )
            self._fetches += 1
            task = asyncio.ensure_future(self._fetch(items, then))
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)

    async def _fetch(
        self,
        items: Sequence[tuple[Any, Any]],
        then: Callable[[Sequence[tuple[Any, object]]], object],
    ) -> None:
        futures = [future for future, _ in items]
        values: Sequence[object]
        try:
            values = await self._client.gather(futures, asynchronous=True)
        except Exception:  # noqa: BLE001 # one of them: which?
            values = await asyncio.gather(
                *(self._client.gather(future, asynchronous=True) for future in futures),
                return_exceptions=True,
            )
        finally:
            self._fetches -= 1
        fetched = [(owner, value) for (_, owner), value in zip(items, values, strict=True)]
        self._queue.put(lambda: then(fetched))
        self._begin_fetch(then)

    async def _wait(self, item: tuple[Any, Any]) -> None:
        try:
            await item[0]._state.wait()
        finally:
            self._queue.put(item)
