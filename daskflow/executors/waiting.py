"""A scheduler plugin: a batch that waits at a busy worker is moved to one that has nothing to do.

::

    worker A   [ a long call ........................ ]   worker B   [ ]
               [ a batch that waits ] ──────────────────────────────►

Dask sends each worker a little more than it can run at once, and all that asks for resources. What lies
behind a call that turns out to be long waits: Dask moves a task that it thinks cheap late or never. Here
a batch is moved once it has waited as long as the move will take, so at most twice what must be is lost.
A thread that still runs a task which was given up (`daskflow.executors.news`) is no free one, either.

The move itself is Dask's: the worker is asked to give the task up, and refuses if it has begun it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from daskflow.executors.news import GIVEN_UP_TOPIC

_LOOK_EVERY_S = 0.05
_ASK_AGAIN_S = 1.0


class Mover(SchedulerPlugin):
    """Moves batches of the run `run` that wait while a worker is idle."""

    def __init__(self, run: str):
        self.name = f"daskflow-mover-{run}"
        self._mark = f"-{run}b"

    async def start(self, scheduler: Any) -> None:
        """Remember the scheduler."""
        self._scheduler = scheduler
        self._next_look: asyncio.TimerHandle | None = None
        # Where each batch is since when, at busy workers; later than now once it was asked to move.
        self._since_s: dict[tuple[str, str], float] = {}
        self._given_up: dict[str, int] = {}

    def log_event(self, topic: str, msg: Any) -> None:
        """Note how many threads of a worker are taken by what was given up."""
        if topic == GIVEN_UP_TOPIC:
            address, self._given_up[address] = msg
            if self._next_look is None:
                self._look_later()

    def remove_worker(self, scheduler: Any, worker: str, **_kwargs: Any) -> None:
        """Forget a worker."""
        self._given_up.pop(worker, None)

    def transition(self, key: Any, start: str, finish: str, *_args: Any, **_kwargs: Any) -> None:
        """Begin to look when a batch has been sent to a worker."""
        if finish == "processing" and self._next_look is None:
            self._look_later()

    def _look_later(self) -> None:
        self._next_look = asyncio.get_running_loop().call_later(_LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        self._next_look = None
        now_s = time.monotonic()
        known_s, self._since_s = self._since_s, {}
        waiting: list[Any] = []
        for worker in self._scheduler.workers.values():
            if self._free_threads(worker) >= 0:
                continue
            for task in worker.processing:
                if type(task.key) is str and self._mark in task.key:
                    where = task.key, worker.address
                    self._since_s[where] = known_s.get(where, now_s)
                    waiting.append(task)
        stealing = self._scheduler.extensions.get("stealing")
        if not waiting or stealing is None or self.name not in self._scheduler.plugins:
            return
        self._look_later()
        idle = {w: free for w in self._scheduler.running if (free := self._free_threads(w)) > 0}
        # Last those that would run next: they may have begun.
        for task in sorted(waiting, key=lambda task: task.priority, reverse=True):
            if not idle:
                return
            self._move(task, idle, stealing, now_s)

    def _move(self, task: Any, idle: dict[Any, int], stealing: Any, now_s: float) -> None:
        allowed = self._scheduler.valid_workers(task)
        thieves = [worker for worker in idle if allowed is None or worker in allowed]
        if not thieves or task in stealing.in_flight:
            return
        cost_s, thief = min(
            ((self._scheduler.get_comm_cost(task, worker), worker) for worker in thieves),
            key=lambda found: found[0],
        )
        victim = task.processing_on
        where = task.key, victim.address
        if now_s - self._since_s[where] < max(cost_s, _LOOK_EVERY_S):
            return
        self._since_s[where] = now_s + _ASK_AGAIN_S
        stealing.move_task_request(task, victim, thief)
        idle[thief] -= 1
        if not idle[thief]:
            del idle[thief]

    def _free_threads(self, worker: Any) -> int:
        given_up = self._given_up.get(worker.address, 0)
        return int(worker.nthreads - len(worker.processing) + len(worker.long_running) - given_up)
