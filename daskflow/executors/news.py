"""A worker plugin: tells the kernel the outcomes that `daskflow.worker.news` keeps for it.

And tells the scheduler what it does not know by itself: which batches run on though it has given them up (a
call that was cancelled while it ran C code, say), so that their threads are taken.
"""

from __future__ import annotations

from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin

from daskflow.worker import news

GIVEN_UP_TOPIC = "daskflow-given-up"
"""Dask event topic on which a worker tells its address and how many threads run what was given up."""


class NewsTeller(WorkerPlugin):
    """Tells of small Boxes, in one message with Dask's own that their task has ended."""

    name = "daskflow-news"
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Remember the worker."""
        self._worker = worker
        self._given_up: set[Any] = set()

    def transition(self, key: Any, start: str, finish: str, **_kwargs: Any) -> None:
        """Tell of a task that has ended well; forget what a cancelled one left."""
        kept = news.take(key)
        if kept is not None and finish == "memory":
            self._worker.log_event(*kept)
        if (start == "executing" and finish != "memory") or key in self._given_up:
            self._look(key)

    def _look(self, key: Any) -> None:
        """Tell of a task that runs on although it was given up, and of its end."""
        task = self._worker.state.tasks.get(key)
        given_up = task is not None and task.state in ("cancelled", "resumed")
        runs_on = given_up and task.previous == "executing" and not task.done
        if runs_on != (key in self._given_up):
            (self._given_up.add if runs_on else self._given_up.discard)(key)
            self._worker.log_event(GIVEN_UP_TOPIC, (self._worker.address, len(self._given_up)))
