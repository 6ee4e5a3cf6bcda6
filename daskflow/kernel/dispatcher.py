"""The dispatcher: which recorded calls go to the scheduler now, and which wait here.

::

    recorded ──► ready ──► batch ──► client.get(graph)
                  │ ▲
                  ▼ │  an argument is not to be had yet: a call that is itself held or joining,
                 held  a plain future, a pause before another try

A call is lowered when each of its parents either has ended or is on the scheduler; at most
`max_in_flight` Dask tasks are. All state here is guarded by `lock`.
"""

from __future__ import annotations

import contextvars
import heapq
import itertools
import logging
import math
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import dask
from dask.typing import Key

from daskflow.config import Config
from daskflow.errors import DependencyError
from daskflow.futures.failure import dependency_error
from daskflow.futures.recording import key_of, process
from daskflow.futures.settling import Settlement
from daskflow.graph import tasks
from daskflow.graph.arguments import Foreign, Packed
from daskflow.graph.call import Call, State
from daskflow.graph.coarsen import coarsen
from daskflow.graph.costs import Costs
from daskflow.graph.lower import (
    Batch,
    annotations_of,
    foreigners_of,
    literals_of,
    lower_batch,
    lower_exposed,
    new_batch,
)
from daskflow.graph.specs import SpecMaker
from daskflow.kernel.completions import Completions
from daskflow.kernel.foreign import Computing, bind_collections, calls_inside
from daskflow.kernel.retry import RetryRules
from daskflow.worker import wire
from daskflow.worker.keys import literal_key

logger = logging.getLogger("daskflow.kernel")
_MOST_CALLS_A_GRAPH = 50_000
SettleCalls = Callable[[Sequence[Settlement]], None]


class _ReadyCalls:
    """Calls that may be sent now: those of higher priority first, else in order."""

    def __init__(self) -> None:
        self._queues: dict[float, deque[Call]] = {}
        self._order: list[float] = []
        self._count = 0

    def append(self, call: Call) -> None:
        self._queue_of(call).append(call)
        self._count += 1

    def extend_left(self, calls: Sequence[Call]) -> None:
        self._count += len(calls)
        for call in reversed(calls):
            self._queue_of(call).appendleft(call)

    def _queue_of(self, call: Call) -> deque[Call]:
        queue = self._queues.get(call.options.priority)
        if queue is None:
            queue = self._queues[call.options.priority] = deque()
            self._order = sorted(self._queues, reverse=True)
        return queue

    def pop(self) -> Call:
        self._count -= 1
        for priority in self._order:
            queue = self._queues[priority]
            if queue:
                return queue.popleft()
        raise IndexError("no call is ready")

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Call]:
        return itertools.chain.from_iterable(self._queues.values())


class Dispatcher:
    """Decides when calls go to the scheduler, and sends them.

    Parameters
    ----------
    settle
        Ends calls: called without the lock.
    choose_label
        Picks, of a call, the label of the executor that its batch is sent to (None: any worker),
        given how many calls each label has already.
    """

    def __init__(
        self,
        config: Config,
        client: Any,
        rules: RetryRules,
        settle: SettleCalls,
        choose_label: Callable[[Call, Counter[str]], str | None],
    ):
        self.lock = threading.RLock()
        self.completions = Completions(client)
        self.outstanding: dict[str, Batch] = {}
        self._config = config
        self._client = client
        self._rules = rules
        self._settle = settle
        self._choose_label = choose_label
        self._recorded: deque[Call] = deque()
        self._ready = _ReadyCalls()
        self._alone: WeakSet[Call] = WeakSet()
        self._suspects: WeakSet[Call] = WeakSet()
        self._calls_per_task = 1.0
        self.costs = Costs()
        self.slots = 1
        self._held: dict[int, list[Call]] = defaultdict(list)
        self._paused: list[tuple[float, int, Call]] = []
        self._awaiting: dict[int, Call] = {}
        self._computing: Computing = WeakKeyDictionary()
        self._batch_numbers = itertools.count()
        self._exposed: WeakKeyDictionary[Call, tuple[Any, Any]] = WeakKeyDictionary()
        self._graph_context = contextvars.Context()

    # ---- taking calls -----------------------------------------------------------------------

    def record(self, call: Call) -> int:
        """Take a call, from any thread without the lock; return how many wait to be submitted."""
        self._recorded.append(call)
        return len(self._recorded)

    def flush(self) -> None:
        """Submit all that was recorded, as far as it can be now."""
        settlements: list[Settlement] | None = None
        while settlements is None or settlements:
            with self.lock:
                self._take_recorded()
                settlements = self._submit_ready()
            self._settle(settlements)

    def again(self, calls: Iterable[Call], pause_s: float = 0.0) -> None:
        """Take back calls that are to be sent again."""
        with self.lock:
            for call in calls:
                if call.is_final:
                    continue
                call.state = State.RECORDED
                call.batch = None
                if pause_s > 0:
                    call.state = State.HELD
                    due_s = time.monotonic() + pause_s
                    heapq.heappush(self._paused, (due_s, call.number, call))
                else:
                    self._ready.append(call)

    def again_isolated(self, calls: Sequence[Call]) -> None:
        """Take back calls one of which may have killed its workers: a child process will tell."""
        with self.lock:
            self._suspects.update(calls)
            self.again(calls)

    def again_after_death(self, call: Call) -> None:
        """Take back a call that a worker was running when it died: the first time, to be sent alone."""
        with self.lock:
            if call in self._alone:
                self.again_isolated([call])
            else:
                self._alone.add(call)
                self.again([call])

    def next_pause_s(self) -> float | None:
        """Return in how many seconds a paused call is due; None if none is paused."""
        with self.lock:
            return max(0.0, self._paused[0][0] - time.monotonic()) if self._paused else None

    def release_due(self) -> None:
        """Make ready the calls whose pause is over."""
        with self.lock:
            while self._paused and self._paused[0][0] <= time.monotonic():
                call = heapq.heappop(self._paused)[2]
                call.state = State.RECORDED
                self._ready.append(call)

    def release_held(self, calls: Iterable[Call]) -> None:
        """Make ready what waited for `calls`, which have ended or been submitted."""
        with self.lock:
            for call in calls:
                for waiting in self._held.pop(call.number, ()):
                    if waiting.state is State.HELD:
                        waiting.state = State.RECORDED
                        self._ready.append(waiting)

    def unfinished(self) -> list[Call]:
        """Return all calls that are here and have not ended."""
        with self.lock:
            found: dict[int, Call] = {}
            for batch in self.outstanding.values():
                found.update((c.number, c) for c in batch.calls)
            held = (c for waiting in self._held.values() for c in waiting)
            paused = (entry[2] for entry in self._paused)
            waiting = (list(self._recorded), self._ready, held, paused, self._awaiting.values())
            for call in itertools.chain.from_iterable(waiting):
                found[call.number] = call
            return [c for c in found.values() if not c.is_final]

    def demand(self, label: str) -> int:
        """Return how many Dask tasks for workers of `label` run, or could run had they workers."""
        with self.lock:
            running = sum(
                batch.label in (None, label)
                and not any(key in self.outstanding for key in batch.inputs)
                for batch in self.outstanding.values()
            )
            # What is ready but here waits for room on the scheduler: whose it is matters little.
            return running + math.ceil(len(self._ready) / max(1.0, self._calls_per_task))

    # ---- sending them -----------------------------------------------------------------------

    def _take_recorded(self) -> None:
        for _ in range(len(self._recorded)):
            self._ready.append(self._recorded.popleft())

    def _submit_ready(self, *, beyond: Sequence[Call] = ()) -> list[Settlement]:
        """Submit ready calls as far as the window allows, and those of `beyond` in any case."""
        settlements: list[Settlement] = []
        self._specs = self._new_specs()
        while True:
            room = self._config.max_in_flight - len(self.outstanding)
            most_calls = min(_MOST_CALLS_A_GRAPH, math.ceil(room * self._calls_per_task))
            chosen: list[Call] = []
            stack = list(reversed(beyond))
            most_tasks = max(room, len(stack))
            beyond = ()
            while stack or (self._ready and len(chosen) < most_calls):
                call = stack.pop() if stack else self._ready.pop()
                if call.state is not State.RECORDED:
                    continue
                missing = [p for p in self._needed(call) if self._must_come_first(p)]
                if missing:
                    stack.append(call)
                    stack.extend(reversed(missing))
                    continue
                if (failure := dependency_error(call)) is not None:
                    self._end_blocked(call, failure, settlements)
                elif self._can_be_sent(call, chosen, settlements):
                    call.state = State.SUBMITTED
                    chosen.append(call)
            self._send(chosen, settlements, most_tasks)
            if not chosen or not self._ready or room <= 0:
                return settlements

    def _end_blocked(
        self, call: Call, failure: DependencyError, settlements: list[Settlement]
    ) -> None:
        settlements.append((call, State.DEP_FAILED, failure))
        # Until it is settled, what needs it must not be sent.
        call.state = State.HELD

    def _needed(self, call: Call) -> Sequence[Call]:
        """Return what must be on its way before `call`: also what its collections are built on."""
        if type(call.args) is not Packed:
            return call.parents
        foreigners = [f for f in foreigners_of(call) if f.resolved is None]
        return [*call.parents, *(c for f in foreigners for c in calls_inside(f))]

    def _must_come_first(self, parent: Call) -> bool:
        """Whether a parent is nowhere on its way yet (a future of an item, say)."""
        if parent.state is not State.RECORDED or parent.owner is None:
            return False
        return parent.app.derived or parent.owner is process.pool

    def _can_be_sent(self, call: Call, chosen: list[Call], settlements: list[Settlement]) -> bool:
        for parent in self._needed(call):
            if parent.state in _NOT_SENT:
                self._hold(call, parent)
                return False
        try:
            self._specs(call)
        except Exception as error:  # noqa: BLE001 # it becomes the call's own failure
            call.state = State.HELD
            settlements.append((call, State.FAILED, error))
            return False
        if type(call.args) is not Packed:
            return True
        foreigners = [f for f in foreigners_of(call) if f.resolved is None]
        if not foreigners:
            return True
        for inside in (c for f in foreigners for c in calls_inside(f)):
            if _is_open(inside):
                self._hold(call, inside)
                return False
        waiting = next((f for f in foreigners if self._must_wait_for(f)), None)
        if waiting is not None:
            call.state = State.HELD
            self._awaiting[call.number] = call
            waiting.source.add_done_callback(lambda _: self._foreign_ended(call))
            return False
        # Their graphs may depend on calls that are only chosen so far.
        self._send(chosen, settlements)
        chosen.clear()
        self._specs = self._new_specs()
        try:
            bind_collections(foreigners, self._client, self._computing)
        except Exception as error:  # noqa: BLE001 # it becomes the call's own failure
            failure = DependencyError(key_of(call), "a foreign argument", error)
            self._end_blocked(call, failure, settlements)
            return False
        return True

    def _hold(self, call: Call, parent: Call) -> None:
        call.state = State.HELD
        self._held[parent.number].append(call)

    def _must_wait_for(self, foreign: Foreign) -> bool:
        return foreign.is_future and not foreign.source.done()

    def _foreign_ended(self, call: Call) -> None:
        def release() -> None:
            with self.lock:
                self._awaiting.pop(call.number, None)
                self.again([call] if call.state is State.HELD else [])

        self.completions.call_soon(release)

    def _send(
        self, calls: Sequence[Call], settlements: list[Settlement], most_tasks: int | None = None
    ) -> None:
        """Send `calls` in batches, at most `most_tasks` of them; the rest becomes ready again."""
        if not calls:
            return
        busy = Counter[str]()
        for batch in self.outstanding.values():
            if batch.label is not None:
                busy[batch.label] += len(batch.calls)
        labels = [self._choose_label(call, busy) for call in calls]
        groups = coarsen(
            calls,
            self.costs,
            self.slots,
            labels,
            alone=self._alone or (),
            suspects=self._suspects or (),
            default_batch=self._config.batch,
        )
        self._calls_per_task = len(calls) / len(groups)
        if most_tasks is not None and len(groups) > most_tasks:
            self._put_back(call for group in groups[most_tasks:] for call in group)
            groups = groups[:most_tasks]
        label_of = dict(zip(calls, labels, strict=True))
        layers: dict[Any, tuple[dict[Key, Any], Any]] = {}
        sent: list[Batch] = []
        for group in groups:
            label = label_of[group[0]]
            batch = new_batch(process.run, next(self._batch_numbers), group, label)
            batch.is_suspect = group[0] in self._suspects
            try:
                task = lower_batch(batch, process.run, self._specs)
            except Exception as error:  # noqa: BLE001 # it becomes the call's own failure
                self._could_not_lower(group, error, settlements)
                continue
            known = (batch.options.placement, label)
            if known not in layers:
                layers[known] = {}, annotations_of(batch.options, label)
            layers[known][0][batch.key] = task
            sent.append(batch)
        self._submit(sent, list(layers.values()))
        if self._held:
            self.release_held(call for batch in sent for call in batch.calls)

    def _new_specs(self) -> SpecMaker:
        return SpecMaker(self._rules.policy, self._rules.decided_at_home)

    def _put_back(self, calls: Iterable[Call]) -> None:
        returned = sorted(calls, key=lambda call: call.number)
        for call in returned:
            call.state = State.RECORDED
        self._ready.extend_left(returned)

    def _could_not_lower(
        self, group: Sequence[Call], error: Exception, settlements: list[Settlement]
    ) -> None:
        """Find out which call of a group it is: each is sent alone."""
        for call in group:
            call.batch = None
        if len(group) > 1:
            self._alone.update(group)
            self.again(group)
        else:
            group[0].state = State.HELD
            settlements.append((group[0], State.FAILED, error))

    def _submit(self, batches: Sequence[Batch], layers: list[tuple[Any, Any]]) -> None:
        if not batches:
            return
        new_literals: dict[Key, Any] = {}
        for literal in literals_of(call for batch in batches for call in batch.calls):
            if literal.remote is None:
                literal.remote = new_literals
                key = literal_key(process.run, literal.number)
                new_literals[key] = tasks.data(key, wire.Pickled(literal.data))
        keys = [batch.key for batch in batches]
        futures = self._get([*layers, (new_literals, {})], [*keys, *new_literals])
        for literal in literals_of(call for batch in batches for call in batch.calls):
            if literal.remote is new_literals:
                literal.remote = futures[literal_key(process.run, literal.number)]
        for batch in batches:
            batch.future = futures[batch.key]
            self.outstanding[batch.key] = batch
        self.completions.watch([(batch.future, batch) for batch in batches])
        logger.debug("submitted %d tasks", len(batches))

    def _get(self, layers: list[tuple[Any, Any]], keys: list[Any]) -> dict[Any, Any]:
        """Send a graph; annotations of the calling thread are not its own."""
        graph = tasks.high_level_graph(layers)
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            found = self._graph_context.run(self._client.get, graph, keys, sync=False)
        return dict(zip(keys, found, strict=True))

    # ---- for graphs that are not ours -------------------------------------------------------

    def expose(self, call: Call) -> Any | None:
        """Return a task that the scheduler knows under the call's own key, None if that cannot be.

        The call must be on the scheduler, or keep its value there; it is sent if it is ready.
        """
        with self.lock:
            known = self._exposed.get(call)
            if known is not None:
                return known[0]
            self._take_recorded()
            settlements: list[Settlement] = []
            if call.state is State.RECORDED:
                settlements = self._submit_ready(beyond=[call])
            task = None
            if not _is_open(call) and call.batch is not None and call.batch.future is not None:
                task = lower_exposed(call, key_of(call), process.run, SpecMaker(self._rules.policy))
                future = self._get([({task.key: task}, {})], [task.key])[task.key]
                self._exposed[call] = task, future
                self.completions.watch([(future, call)])
        self._settle(settlements)
        return task

    def watch_exposed(self, call: Call) -> None:
        """Report an exposed call, whose batch has left it open, once its own key has ended."""
        # Until then its batch has no outcome for it, and what needs it must wait here.
        call.state = State.HELD
        self._awaiting[call.number] = call
        self.completions.watch([(self._exposed[call][1], call)])

    def stop_awaiting(self, call: Call) -> None:
        """Note that what an awaiting call waited for has come."""
        self._awaiting.pop(call.number, None)

    def is_exposed(self, call: Call) -> bool:
        """Whether the call has a Dask key of its own, which may run it."""
        return call in self._exposed


_NOT_SENT = (State.RECORDED, State.HELD, State.JOINING)


def _is_open(call: Call) -> bool:
    """Tell whether `call`, or one before it, is a join that has not ended, or may be handed back."""
    seen: set[int] = set()
    stack = [call]
    while stack:
        each = stack.pop()
        if each.is_final or each.number in seen:
            continue
        if each.app.kind == "join" or each.batch is None or len(each.batch.calls) > 1:
            return True
        seen.add(each.number)
        stack.extend(each.parents)
    return False
