"""A scheduler plugin: what a lost worker had reported, or had not begun, is not made to suffer for it.

Dask runs the tasks of a lost worker again, and lost results that others on the scheduler still need. Of
batches it does so only where nothing better is known:

- A Box that leaves the memory of all workers becomes a task that answers "not run" for each member: its
  values are at home already, and whoever needs them is sent again by the kernel, with the values that it
  has. Likewise a batch whose worker died after it had told of some members (`daskflow.worker.handback`).
- A LargeBox that is lost is made again by running its batch, and those that it needs, as a whole: its
  values are nowhere else. So is a Box of which one was made that is still there, and may be lost one day.
- Of a batch that was running, the board of the dead worker (`daskflow.worker.board`) names the member. The
  batch answers "not run", "interrupted" for that one: the kernel sends it alone, and the others without it.
- A batch that had not begun has nothing to do with the death, which is not counted against it.
- Where there is no board, Dask runs the batch again, and gives up after a second death: the kernel finds
  out which call it is.

What collections are built on is Dask's to run again, as it would do with any task: they wait for a value,
not for an answer of the kernel.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from daskflow.graph import tasks
from daskflow.worker import board
from daskflow.worker.batch import expose, lost_batch, run_batch, run_batch_again
from daskflow.worker.handback import TOPIC
from daskflow.worker.news import NEWS_TOPIC

logger = logging.getLogger("daskflow.executors")
_TO_BE_RUN = ("waiting", "queued", "no-worker", "processing")


class LossGuard(SchedulerPlugin):
    """Decides what becomes of the batches of the run `run` when a worker is lost."""

    def __init__(self, run: str):
        self.name = f"daskflow-loss-guard-{run}"
        self._topic = TOPIC + run
        self._news = NEWS_TOPIC + run
        self._mark = f"-{run}b"

    async def start(self, scheduler: Any) -> None:
        """Remember the scheduler."""
        self._scheduler = scheduler
        self._reported_in_part: set[str] = set()

    def log_event(self, topic: str, msg: Any) -> None:
        """Note which batches have reported some of their members before their end."""
        if topic == self._topic:
            self._reported_in_part.add(msg[0])
        elif topic != self._news:
            return
        # The scheduler would keep a thousand such messages, with values of users in them.
        self._scheduler._broker.truncate(topic)

    def remove_worker(self, scheduler: Any, worker: str, **_kwargs: Any) -> None:
        """Forget a worker."""
        board.forget(worker)

    def transition(self, key: Any, start: str, finish: str, *_args: Any, **_kwargs: Any) -> None:
        """Watch for a Box that is no longer in memory, and for a batch that was interrupted."""
        if type(key) is not str or self._mark not in key:
            return
        if start == "processing":
            self._left_processing(key, finish)
        elif start == "memory" and finish == "released":
            state = self._scheduler.tasks[key]
            is_needed = bool(state.who_wants or state.waiters)
            is_box = (state.type or "").endswith("outcome.Box")
            if is_needed and is_box and not _needs_values(state):
                self._lose(state, None)
            else:
                _run_again(state)  # if it ever comes back

    def _left_processing(self, key: str, finish: str) -> None:
        is_reported = key in self._reported_in_part
        self._reported_in_part.discard(key)
        state = self._scheduler.tasks.get(key)
        if finish in ("memory", "erred") or state is None or _needs_values(state):
            return
        if _function(state) is run_batch_again:
            return  # how often its workers may die is Dask's to say
        # Dask has counted it already if it leaves for the death of its worker.
        member = board.member_at_death(key, self._scheduler.workers) if state.suspicious else None
        if member is not None:
            state.suspicious = 0
        is_killer_known = member is not None and member != board.NOTHING
        if is_reported or is_killer_known:
            self._lose(state, member if is_killer_known else None)
        elif state.suspicious:
            state.suspicious = max(state.suspicious, self._scheduler.allowed_failures)

    def _lose(self, state: Any, killer: int | None) -> None:
        """Let a task answer that its members were not run, for which it takes no values."""
        if _function(state) is not run_batch:
            return
        state.run_spec = tasks.task(state.key, lost_batch, state.run_spec.args[0], killer)
        inputs = list(state.dependencies)
        for each in inputs:  # or they would be run again, if they are lost, too
            each.dependents.discard(state)
            (each.waiters or set()).discard(state)
        state.dependencies.clear()
        asyncio.get_running_loop().call_soon(self._let_go, inputs)

    def _let_go(self, inputs: list[Any]) -> None:
        """Release what nobody needs any more, as the scheduler does when what needed it has ended."""
        recommended = {}
        for each in inputs:
            is_there = self._scheduler.tasks.get(each.key) is each
            if is_there and not each.who_wants and not each.waiters:
                if each.state != "released":
                    recommended[each.key] = "released"
                elif not each.dependents:
                    recommended[each.key] = "forgotten"
        self._scheduler.transitions(recommended, stimulus_id=self.name)


def _run_again(state: Any) -> None:
    """Let a task that has been run already be run as a whole: of its values some may be nowhere else."""
    spec = state.run_spec
    if _function(state) is run_batch:
        inputs = [each.key for each in spec.args[1:]]
        state.run_spec = tasks.task(state.key, run_batch_again, spec.args[0], inputs=inputs)


def _function(state: Any) -> Any:
    return getattr(state.run_spec, "func", None)


def _needs_values(state: Any) -> bool:
    """Tell whether something after a batch could do nothing with the answer that it was not run.

    So it is if a call there was exposed for a graph that is not ours, if large values are made again, or if
    there are some that may have to be.
    """
    stack, seen = [state], {state}
    while stack:
        for dependent in stack.pop().dependents:
            func = _function(dependent)
            is_made_again = func is run_batch_again and dependent.state in _TO_BE_RUN
            if func is expose or is_made_again or (dependent.type or "").endswith("LargeBox"):
                return True
            if func in (run_batch, run_batch_again) and dependent not in seen:
                seen.add(dependent)
                stack.append(dependent)
    return False
