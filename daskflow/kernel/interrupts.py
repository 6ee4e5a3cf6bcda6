"""Ends calls where they run: those that were cancelled, and all when the kernel closes.

Workers are told in bulk which calls to interrupt, one message on its way at a time. A worker that runs
Python code without a pause answers slowly: a message for each of a hundred cancelled calls, each over a
connection of its own, would not get through to it at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from daskflow.futures.recording import key_of, process
from daskflow.graph.call import Call
from daskflow.graph.lower import Batch
from daskflow.worker.running import interrupt, interrupt_all

logger = logging.getLogger("daskflow.kernel")
_MOST_TRIES = 5
_END_TIMEOUT_S = 10.0


class Interrupts:
    """Ends calls on the workers of a client."""

    def __init__(self, client: Any):
        self._client = client
        self._pending: dict[str, int] = {}
        self._sending: asyncio.Task[None] | None = None

    def end(self, calls: Sequence[Call], batch: Any) -> None:
        """End calls of a batch; from any thread, returns at once."""
        is_on_its_way = isinstance(batch, Batch) and batch.future is not None
        if is_on_its_way and all(call.is_final for call in batch.calls):
            with contextlib.suppress(Exception):
                self._client.cancel([batch.future])
        self._client.loop.add_callback(self._add, [key_of(call) for call in calls])

    def end_all(self, batches: Iterable[Any], *, workers_go_on: bool) -> None:
        """Let no call of this process wait or run on workers, which may go on without the kernel."""
        interrupt_all(process.run)  # those of a ThreadExecutor
        if not workers_go_on:
            return
        futures = {id(b.future): b.future for b in batches if b.future is not None}

        async def end() -> None:
            await self._client.cancel(list(futures.values()), force=True)
            await self._client.run(interrupt_all, process.run, on_error="ignore")

        with contextlib.suppress(Exception):
            self._client.sync(end, callback_timeout=_END_TIMEOUT_S)

    def _add(self, keys: Sequence[str]) -> None:
        self._pending.update(dict.fromkeys(keys, 0))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.ensure_future(self._send())

    async def _send(self) -> None:
        while self._pending:
            keys, self._pending = self._pending, {}
            if await self._reached_all(list(keys)):
                continue
            # A worker that is gone runs nothing; one that was too busy to answer is asked again.
            again = {key: tries + 1 for key, tries in keys.items() if tries + 1 < _MOST_TRIES}
            self._pending = {**again, **self._pending}

    async def _reached_all(self, keys: list[str]) -> bool:
        try:
            answers = await self._client.run(interrupt, keys, on_error="return")
        except Exception as error:  # noqa: BLE001 # the scheduler is gone, and they with it
            logger.debug("interrupting %d calls: %r", len(keys), error)
            return True
        return not any(isinstance(answer, OSError) for answer in answers.values())
