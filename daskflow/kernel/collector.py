"""The collector: one thread that learns what became of batches, and ends, repeats or expands calls.

::

    Dask futures that ended ──► Boxes, fetched in bulk ──► for each member
        value            done                    Blocked, NotRun   sent again, or DependencyError
        Failed           again or failed         Joined            its inner calls are recorded
        (worker lost)    alone, in a child process, which tells who is to blame
"""

from __future__ import annotations

import logging
import random
import struct
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from daskflow.errors import DependencyError, SchedulerLost, WorkerLost
from daskflow.futures.failure import dependency_error
from daskflow.futures.recording import key_of
from daskflow.futures.settling import Settlement
from daskflow.graph import tasks
from daskflow.graph.call import Call, State
from daskflow.graph.lower import Batch, Home, Kept, foreigners_of
from daskflow.kernel.dispatcher import Dispatcher, SettleCalls
from daskflow.kernel.joining import Joins
from daskflow.kernel.remote import killed_task
from daskflow.kernel.retry import Final, RetryRules
from daskflow.worker.attempt import NO_EXTRAS
from daskflow.worker.batch import ArgumentLost, attach_report, summarize
from daskflow.worker.handback import HandBack
from daskflow.worker.outcome import (
    REMOTE,
    TAKEN,
    Blocked,
    Box,
    Failed,
    Interrupted,
    Joined,
    LargeBox,
    NotRun,
)

logger = logging.getLogger("daskflow.kernel")

_MANY_CALLS = 10_000
_MOST_BLOCKED = 10
# Python keeps names and formats that it has looked up, such as that of the class of each task's value.
# They lie scattered among the calls, whose memory could not be given back for them.
_FORGET = [
    getattr(sys, "_clear_internal_caches", None) or getattr(sys, "_clear_type_cache", None),
    getattr(struct, "_clearcache", None),
]


@dataclass(slots=True, eq=False)
class _Summary:
    """Asks what a LargeBox with several members holds."""

    batch: Batch
    future: Any


class Collector:
    """Resolves the futures of a kernel. `settle` ends calls and tells the kernel.

    Attributes
    ----------
    has_cancelled
        Whether a call was ever cancelled, so that values may come of calls that needed it.
    """

    def __init__(self, client: Any, dispatcher: Dispatcher, rules: RetryRules, settle: SettleCalls):
        self._client = client
        self._dispatcher = dispatcher
        self._rules = rules
        self._settle = settle
        self._costs: dict[Call, float] = {}
        self._joins = Joins(dispatcher.release_held)
        self._rng = random.Random()  # spreads retries only
        self._closing = False
        self._calls_read = 0
        self._blocked: WeakKeyDictionary[Call, int] = WeakKeyDictionary()
        self.has_cancelled = False
        self._thread = threading.Thread(target=self._run, name="daskflow-collector", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, unless it is this one."""
        self._closing = True
        self._dispatcher.completions.call_soon(lambda: None)
        if threading.current_thread() is not self._thread:
            self._thread.join(5)

    def is_this_thread(self) -> bool:
        """Tell whether the caller runs in the collector's thread (a done-callback, say)."""
        return threading.current_thread() is self._thread

    def joining(self) -> list[Call]:
        """Return the join calls that wait for their inner calls."""
        with self._dispatcher.lock:
            return self._joins.joining()

    def inner_calls(self, call: Call) -> list[Call]:
        """Return the unfinished inner calls of a join call, also those it did not return."""
        with self._dispatcher.lock:
            return self._joins.inner_calls(call)

    def ended(self, calls: Sequence[Call]) -> list[Settlement]:
        """Return the ends of join calls that follow from the end of `calls`."""
        with self._dispatcher.lock:
            if self._costs:
                for call in calls:
                    self._costs.pop(call, None)
            return self._joins.ended(calls)

    # ---- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            found = self._dispatcher.completions.get(self._dispatcher.next_pause_s())
            try:
                self._handle(found)
            except BaseException as error:
                if self._closing:
                    return
                logger.exception("the collector failed")
                lost = SchedulerLost(f"resolving results failed: {type(error).__name__}: {error}")
                with suppress(Exception):
                    self._settle([(c, State.FAILED, lost) for c in self._dispatcher.unfinished()])
            found = []  # it must not keep them while it waits
            if self._calls_read > _MANY_CALLS and not self._dispatcher.outstanding:
                self._calls_read = 0
                for forget in filter(None, _FORGET):
                    forget()

    def _handle(self, found: Sequence[Any]) -> None:
        boxes: list[tuple[Any, Batch]] = []
        settlements: list[Settlement] = []
        for item in found:
            if callable(item):
                item()
                continue
            future, owner = item
            if isinstance(owner, Batch):
                self._sort(future, owner, boxes, settlements)
            elif isinstance(owner, _Summary):
                boxes.append((future, owner.batch))
            else:
                settlements += self._end_of_exposed(owner, future)
        if boxes:
            self._dispatcher.completions.fetch(boxes, self._read_fetched)
        self._settle(settlements)
        self._dispatcher.release_due()
        self._dispatcher.flush()

    def _sort(
        self,
        future: Any,
        batch: Batch,
        boxes: list[tuple[Any, Batch]],
        settlements: list[Settlement],
    ) -> None:
        """Decide how the outcome of a batch is to be had."""
        status = future.status
        if status == "error":
            self._read_error(batch, future, settlements)
        elif batch.box is not None:  # though it may be lost by now
            box, batch.box = batch.box, None
            self._dispatcher.costs.observe(box.spent)
            self._read(batch, box.entries, settlements)
        elif status != "finished":
            self._read(batch, [_of_cancelled(c) for c in batch.calls], settlements)
        elif future.type is LargeBox and len(batch.calls) == 1:
            self._read(batch, [REMOTE], settlements)
        elif future.type is LargeBox:
            key = f"summary-of-{batch.key}"
            graph = tasks.high_level_graph(
                [({key: tasks.task(key, summarize, inputs=[batch.key])}, {})]
            )
            (summary,) = self._client.get(graph, [key], sync=False)
            self._dispatcher.completions.watch([(summary, _Summary(batch, summary))])
        else:
            boxes.append((future, batch))

    def _read_fetched(self, fetched: Sequence[tuple[Batch, object]]) -> None:
        settlements: list[Settlement] = []
        for batch, value in fetched:
            if isinstance(value, Box):
                self._dispatcher.costs.observe(value.spent)
                self._read(batch, value.entries, settlements)
            else:
                outcome = NotRun() if isinstance(value, CancelledError) else value
                self._read(batch, [outcome] * len(batch.calls), settlements)
        self._settle(settlements)

    def take_news(self, key: str, box: Box) -> None:
        """Keep the outcome of a batch until Dask says that it has ended (in the thread)."""
        batch = self._dispatcher.outstanding.get(key)
        if batch is not None:
            batch.box = box

    def hand_back(self, told: HandBack) -> None:
        """Take what a batch that runs long has done, and what it gives up (in the thread)."""
        settlements: list[Settlement] = []
        with self._dispatcher.lock:
            self._dispatcher.costs.observe(told.spent)
            batch = self._dispatcher.outstanding.get(told.key)
            if batch is None:
                return
            for call, entry in zip(batch.calls[told.first :], told.ended, strict=False):
                if call.batch is batch and not call.is_final:
                    self._read_entry(call, entry, settlements)
            for call in batch.calls[told.revoked_from :]:
                if call.batch is batch and not call.is_final:
                    self._read_entry(call, NotRun(), settlements)
        self._settle(settlements)

    # ---- what an outcome means --------------------------------------------------------------

    def _read(self, batch: Batch, entries: Sequence[object], settlements: list[Settlement]) -> None:
        with self._dispatcher.lock:
            self._dispatcher.ended(batch)
            self._calls_read += len(batch.calls)
            for call, entry in zip(batch.calls, entries, strict=True):
                if call.batch is batch and not call.is_final:
                    self._read_entry(call, entry, settlements)
            self._dispatcher.completions.release_soon(batch.future)
            batch.future = None

    def _read_entry(self, call: Call, entry: object, settlements: list[Settlement]) -> None:
        kind = type(entry)
        if kind is Failed:
            self._read_failure(call, entry, settlements)  # type: ignore[arg-type] # just tested
        elif isinstance(entry, NotRun) and self._dispatcher.is_exposed(call):
            self._dispatcher.watch_exposed(call)
        elif kind is Blocked and self._is_blocked_for_ever(call):
            settlements.append((call, State.FAILED, _lost_argument(call)))
        elif kind is Blocked or kind is NotRun:
            self._dispatcher.again([call])
        elif kind is Interrupted:
            settlements += self._after_deaths([call], 1)
        elif kind is Joined:
            settlements += self._joins.expand(call, entry)  # type: ignore[arg-type] # just tested
        elif isinstance(entry, DependencyError):
            settlements.append((call, State.DEP_FAILED, entry))
        elif isinstance(entry, BaseException):
            settlements.append((call, State.FAILED, entry))
        elif self.has_cancelled and (failure := dependency_error(call)) is not None:
            # A worker had not heard yet that an argument was cancelled.
            settlements.append((call, State.DEP_FAILED, failure))
        elif entry is TAKEN:
            call.batch = None
            settlements.append((call, State.DONE, TAKEN))
        elif entry is REMOTE:
            call.batch = Kept.of(call.batch)
            settlements.append((call, State.DONE, REMOTE))
        else:
            # The value first: what is sent before the call is settled finds it there.
            call.value = entry
            call.batch = None
            settlements.append((call, State.DONE, entry))

    def _is_blocked_for_ever(self, call: Call) -> bool:
        """Tell whether a call has been blocked again and again though all that it needs has ended well."""
        if any(parent.state is not State.DONE for parent in call.parents):
            return False
        count = self._blocked[call] = self._blocked.get(call, 0) + 1
        return count > _MOST_BLOCKED

    def _after_deaths(self, calls: Sequence[Call], deaths: int) -> list[Settlement]:
        why = "each worker that ran it died, at last while a child process of its own ran it"
        given_up = self._dispatcher.again_after_deaths(calls, deaths)
        return [(call, State.FAILED, WorkerLost(call.app.name, why)) for call in given_up]

    def _read_failure(self, call: Call, entry: Failed, settlements: list[Settlement]) -> None:
        error = entry.record.rebuild()
        attach_report(error, entry)
        call.attempts = entry.attempts
        if not entry.retryable:
            settlements.append((call, State.FAILED, error))
            return
        cost = self._costs.get(call, 0.0)
        decision = self._rules.decide(call.options, error, entry.attempts, cost, call, self._rng)
        if isinstance(decision, Final):
            settlements.append((call, State.FAILED, decision.error))
            return
        self._costs[call] = decision.cost
        call.extras = replace(call.extras or NO_EXTRAS, earlier_attempts=entry.attempts)
        logger.info("call %s failed (%r) and is tried again", key_of(call), error)
        self._dispatcher.again([call], decision.pause_s)

    def _read_error(self, batch: Batch, future: Any, settlements: list[Settlement]) -> None:
        """A batch raises only for what lies outside its calls."""
        error = future.exception()
        with self._dispatcher.lock:
            self._dispatcher.ended(batch)
            calls = [c for c in batch.calls if c.batch is batch and not c.is_final]
            killed = killed_task(error)
            if killed == batch.key:
                logger.warning(
                    "one of %d calls of task %s killed its workers: they are run isolated",
                    len(calls),
                    batch.key,
                )
                settlements += self._after_deaths(calls, 2)
                calls = []
            for call in calls:
                foreign = _failed_foreigner(call)
                if foreign is not None:
                    failure = DependencyError(key_of(call), str(foreign), error)
                    settlements.append((call, State.DEP_FAILED, failure))
                elif any(parent.state is not State.DONE for parent in call.parents):
                    self._dispatcher.again([call])
                elif killed is None:
                    settlements.append((call, State.FAILED, error))
                elif _takes_what_is_lost(call) or self._is_blocked_for_ever(call):
                    settlements.append((call, State.FAILED, _lost_argument(call)))
                else:
                    self._dispatcher.again([call])
        batch.future = None

    def _end_of_exposed(self, call: Call, future: Any) -> list[Settlement]:
        """A call that runs under its own key ends as that key does, if its batch left it open."""
        error = future.exception() if future.status == "error" else None
        killed = killed_task(error)
        is_given_up = killed is not None or isinstance(error, ArgumentLost)
        if is_given_up:  # by Dask, not by the kernel
            self._dispatcher.forget_exposed(call)
        if call.is_final or call.batch is None or call.batch.key in self._dispatcher.outstanding:
            return []
        self._dispatcher.stop_awaiting(call)
        if future.status == "finished":
            return [(call, State.DONE, Home(self._client.gather(future)))]
        if error is not None and not is_given_up:
            return [(call, State.FAILED, error)]
        if killed == key_of(call):
            return self._after_deaths([call], 2)
        self._dispatcher.again([call])
        return []


def _of_cancelled(call: Call) -> object:
    """Return the outcome of a call whose task the scheduler dropped: not run, unless for good."""
    foreign = _failed_foreigner(call)
    if foreign is None:
        return NotRun()
    error = CancelledError(f"the argument {foreign} was cancelled")
    return DependencyError(key_of(call), str(foreign), error)


def _takes_what_is_lost(call: Call) -> bool:
    """Tell whether a large value that a call takes was lost, and Dask has given up to make it again."""
    sources = (parent.source.batch for parent in call.parents)
    return any(isinstance(kept, Kept) and kept.future.status == "error" for kept in sources)


def _lost_argument(call: Call) -> WorkerLost:
    why = "a value that it takes was lost with a worker, and was not made again"
    return WorkerLost(call.app.name, why)


def _failed_foreigner(call: Call) -> object | None:
    for foreign in foreigners_of(call):
        keeps = getattr(foreign.resolved, "keeps", None)
        future = keeps[0] if isinstance(keeps, tuple) else keeps
        if getattr(future, "status", None) in ("error", "cancelled"):
            key: object = foreign.resolved.key
            return key
    return None
