"""Reports: what workers and the scheduler tell a kernel unasked, by events of Dask.

::

    a batch that runs long      what of it has ended, and what it hands back
    a small batch that ended    its outcome, ahead of Dask's own news of it
    a worker that cannot start  an error once no worker of its executor can
"""

from __future__ import annotations

import contextlib
import logging
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from daskflow.errors import ExecutorError
from daskflow.executors import LocalExecutor
from daskflow.executors.base import Executor
from daskflow.futures.recording import process, warn
from daskflow.kernel.collector import Collector
from daskflow.kernel.completions import Completions
from daskflow.kernel.opening import OpenSession
from daskflow.worker.handback import TOPIC, Message
from daskflow.worker.news import NEWS_TOPIC

logger = logging.getLogger("daskflow.kernel")


class Reports:
    """Listens to a session, and passes on to the collector, in its thread, what it hears.

    `on_lost` is told that no call can run any more.
    """

    def __init__(
        self,
        session: OpenSession,
        executors: Sequence[Executor],
        completions: Completions,
        collector: Collector,
        on_lost: Callable[[ExecutorError], object],
    ):
        self._executors = executors
        self._completions = completions
        self._collector = collector
        self._on_lost = on_lost
        self._host = session.host
        self._not_started: set[str] = set()
        session.subscribe(TOPIC + process.run, self._on_hand_back)
        session.subscribe(NEWS_TOPIC + process.run, self._on_news)
        if session.host is not None:
            from daskflow.executors.startup import TROUBLE_TOPIC  # imports distributed

            session.subscribe(TROUBLE_TOPIC, self._on_trouble)
            for event in session.client.get_events(TROUBLE_TOPIC):  # before we listened
                self._on_trouble(event)

    def _on_hand_back(self, event: tuple[float, Message]) -> None:
        message = event[1][1]
        self._completions.call_soon(lambda: self._collector.hand_back(pickle.loads(message)))

    def _on_news(self, event: tuple[float, bytes]) -> None:
        message = event[1]
        self._completions.call_soon(lambda: self._collector.take_news(*pickle.loads(message)))

    def _on_trouble(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take note of a worker that could not start; an event may come twice."""
        report = event[1]
        name, host = report["worker"], self._host
        if host is None or report["host"] != host.pid or name in self._not_started:
            return
        self._not_started.add(name)
        logger.error("worker %s could not start: %s", name, report["error"])
        for executor in self._executors:
            if isinstance(executor, LocalExecutor) and self._not_started >= executor.worker_names:
                label = executor.label
                why = f"no worker of executor {label!r} could start; the last: {report['error']}"
                self._on_lost(ExecutorError(why))


def tell_of_waiting(why: str) -> None:
    """Tell the user why nothing runs yet; a thread of Dask's loop calls this."""
    logger.warning("no worker yet: %s", why)
    with contextlib.suppress(UserWarning):  # where warnings are errors: they are none of Dask's
        warn(f"calls wait, and no worker is there yet: {why}", UserWarning)
