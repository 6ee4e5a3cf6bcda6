"""Send at once: distributed holds a message back when one has just been sent, to send many together.

::

    client ──10 ms──► scheduler ──5 ms──► worker
           ◄──2 ms──           ◄──2 ms──             how long, at the most, unless shortened here

The intervals are written into distributed. They are attributes of its streams, though, and plugins see
each stream when it opens; where a version has no such attribute, nothing is changed. Only processes that
a kernel has started are treated so, and its own client.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

logger = logging.getLogger("daskflow.kernel")
INTERVAL_S = 0.0005
"""Enough to send what one turn of an event loop brings together, and no wait that anybody notices."""


def shorten(stream: Any) -> bool:
    """Let a `distributed.batched.BatchedSend` send sooner; return whether it does."""
    interval = getattr(stream, "interval", None)
    if isinstance(interval, bool) or not isinstance(interval, int | float):
        logger.info(
            "this version of distributed has no send intervals that can be shortened (%r): "
            "a call's round trip takes about 10 ms",
            interval,
        )
        return False
    stream.interval = min(interval, INTERVAL_S)
    return True


class PromptScheduler(SchedulerPlugin):
    """Shortens the intervals of a scheduler."""

    name = "daskflow-prompt"

    async def start(self, scheduler: Any) -> None:
        """Let its process, which is ours, look for garbage only among what is made from now on."""
        gc.freeze()

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Shorten that of its stream to a worker."""
        shorten(getattr(scheduler, "stream_comms", {}).get(worker))

    def add_client(self, scheduler: Any, client: str) -> None:
        """Shorten that of its stream to a client, which it opens right after this."""
        asyncio.get_running_loop().call_soon(
            lambda: shorten(getattr(scheduler, "client_comms", {}).get(client))
        )


class PromptWorker(WorkerPlugin):
    """Shortens the interval of a worker's stream to its scheduler.

    With `owns_process`, there is nothing but the worker in its process.
    """

    name = "daskflow-prompt"

    def __init__(self, *, owns_process: bool):
        self._owns_process = owns_process

    def setup(self, worker: Any) -> None:
        """Shorten it."""
        if self._owns_process:
            gc.freeze()  # all that was imported is not looked through for garbage again and again
        shorten(getattr(worker, "batched_stream", None))
