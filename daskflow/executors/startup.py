"""What workers do when they start, as plugins of distributed: the user's hook, a label."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Mapping
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin


class StartUp(WorkerPlugin):
    """Calls the user's start-up function; pickled, since its module may be __main__."""

    name = "daskflow-start-up"

    def __init__(self, function: bytes):
        self._function = function

    def setup(self, worker: Any) -> None:
        """Call it; if it raises, the worker does not start."""
        pickle.loads(self._function)()


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


class LabelAtOnce(SchedulerPlugin):
    """Marks a worker that joins before the scheduler looks which waiting tasks it could run.

    `Label` alone comes too late for them: the scheduler does not look again.
    """

    def __init__(self, marks: Mapping[str, float], others: Collection[str]):
        self.name = f"daskflow-label-{'-'.join(marks)}"
        self._marks = dict(marks)
        self._others = frozenset(others)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Mark it."""
        if self._others.isdisjoint(scheduler.workers[worker].resources):
            scheduler.add_resources(worker=worker, resources=self._marks)
