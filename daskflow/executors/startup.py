"""What workers do when they start, as plugins of distributed: the user's hook, a label."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Collection, Mapping
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from daskflow.worker import isolate

TROUBLE_TOPIC = "daskflow-trouble"
"""Dask event topic that tells of a local worker that could not start."""


def silence() -> None:
    """Let distributed say nothing more in this process, not even what it calls critical."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)


class StartUp(WorkerPlugin):
    """Calls the user's start-up function; pickled, since its module may be __main__.

    `host` is the pid of the process that starts the worker.
    """

    name = "daskflow-start-up"

    def __init__(self, function: bytes, host: int):
        self._function = function
        self._host = host

    async def setup(self, worker: Any) -> None:
        """Call it; if it raises, say so, since a nanny may hang on its way to, and do not start."""
        try:
            pickle.loads(self._function)()
            isolate.on_start = self._function
        except Exception as error:
            why = f"on_start: {type(error).__name__}: {error}"
            report = {"host": self._host, "worker": worker.name, "error": why}
            await worker.scheduler.log_event(topic=TROUBLE_TOPIC, msg=report)
            raise


class Label(WorkerPlugin):
    """Marks the workers of a cluster by resources, also those that join it later.

    Workers that have a resource of `others` belong to another executor.
    """

    def __init__(self, marks: Mapping[str, float], others: Collection[str]):
        self.name = f"daskflow-label-{'-'.join(marks)}"
        self._marks = dict(marks)
        self._others = frozenset(others)

    async def setup(self, worker: Any) -> None:
        """Mark it."""
        if self._others.isdisjoint(worker.state.total_resources):
            await worker.set_resources(**self._marks)
