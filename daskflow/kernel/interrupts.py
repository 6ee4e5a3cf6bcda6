"""Tells workers which calls are to be interrupted: in bulk, one message on its way at a time.

A worker that runs Python code without a pause answers slowly. A message for each of a hundred cancelled
calls, each over a connection of its own, would not get through to it at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from daskflow.worker.running import interrupt

logger = logging.getLogger("daskflow.kernel")
_MOST_TRIES = 5


class Interrupts:
    """Sends the keys of cancelled calls to all workers of a client."""

    def __init__(self, client: Any):
        self._client = client
        self._pending: dict[str, int] = {}
        self._sending: asyncio.Task[None] | None = None

    def send(self, keys: Sequence[str]) -> None:
        """Interrupt the calls `keys` where they run; from any thread, returns at once."""
        self._client.loop.add_callback(self._add, keys)

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
