"""A worker plugin: tells the kernel the outcomes that `daskflow.worker.news` keeps for it."""

from __future__ import annotations

from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from daskflow.worker import news


class NewsTeller(WorkerPlugin):
    """Tells of small Boxes, in one message with Dask's own that their task has ended."""

    name = "daskflow-news"
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Remember the worker."""
        self._worker = worker

    def transition(self, key: Any, start: str, finish: str, **_kwargs: Any) -> None:
        """Tell of a task that has ended well; forget what a cancelled one left."""
        kept = news.take(key)
        if kept is not None and finish == "memory":
            self._worker.log_event(*kept)
