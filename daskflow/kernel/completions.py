"""Which Dask futures have ended, in bulk, for a thread that waits.

The only place that touches a private part of `distributed.Future` (its state's event): the public
ways cost about 1 ms (a callback) or poll every 100 ms (``as_completed``).
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from typing import Any


class Completions:
    """Collects futures that have ended, and other things for the collector thread to do."""

    def __init__(self, client: Any):
        self._client = client
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._watching: set[asyncio.Task[None]] = set()

    def watch(self, items: Sequence[tuple[Any, Any]]) -> None:
        """Report each (Dask future, what it belongs to) of `items` once the future has ended."""
        self._client.loop.add_callback(self._watch, items)

    def fetch(self, futures: Sequence[Any], then: Callable[[Sequence[object]], object]) -> None:
        """Fetch the values of futures that have ended well, and let the waiting thread run `then`.

        It gets the values; the exception stands for one that could not be fetched. Nothing waits for it
        meanwhile: fetching from a worker that has just died takes until a connection times out.
        """
        self._client.loop.add_callback(self._begin_fetch, list(futures), then)

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

    def _watch(self, items: Sequence[tuple[Any, Any]]) -> None:
        for item in items:
            task = asyncio.ensure_future(self._wait(item))
            self._watching.add(task)
            task.add_done_callback(self._watching.discard)

    def _begin_fetch(
        self, futures: Sequence[Any], then: Callable[[Sequence[object]], object]
    ) -> None:
        task = asyncio.ensure_future(self._fetch(futures, then))
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _fetch(
        self, futures: Sequence[Any], then: Callable[[Sequence[object]], object]
    ) -> None:
        values: Sequence[object]
        try:
            values = await self._client.gather(futures, asynchronous=True)
        except Exception:  # noqa: BLE001 # one of them: which?
            values = await asyncio.gather(
                *(self._client.gather(future, asynchronous=True) for future in futures),
                return_exceptions=True,
            )
        self._queue.put(lambda: then(values))

    async def _wait(self, item: tuple[Any, Any]) -> None:
        try:
            await item[0]._state.wait()
        finally:
            self._queue.put(item)
