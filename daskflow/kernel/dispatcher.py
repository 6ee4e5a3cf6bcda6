"""The dispatcher: which recorded calls go to the scheduler now, and which wait here.

::

    recorded ──► ready ──► chosen ──► Sender ──► scheduler
                  │ ▲        │
                  ▼ │        └─ built on collections: these are computed first, many in one graph
               Waiting: for a call that is itself held or joining, a plain future, another try

A call is sent when each of its parents either has ended or is on the scheduler; at most
`max_in_flight` Dask tasks are. All state here is guarded by `lock`.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from daskflow.config import Config
from daskflow.errors import DependencyError
from daskflow.futures.failure import dependency_error
from daskflow.futures.recording import key_of, process
from daskflow.futures.settling import Settlement
from daskflow.graph.arguments import Packed
from daskflow.graph.call import FINAL, Call, State
from daskflow.graph.costs import Costs
from daskflow.graph.lower import Batch
from daskflow.graph.specs import SpecMaker
from daskflow.kernel.completions import Completions
from daskflow.kernel.exposing import Exposed
from daskflow.kernel.foreign import Foreigners, unresolved, when_ended
from daskflow.kernel.placing import Placing, Route
from daskflow.kernel.ready import ReadyCalls
from daskflow.kernel.retry import RetryRules
from daskflow.kernel.sending import Sender, unsend
from daskflow.kernel.waiting import Waiting

# Of a graph. The first is small, since workers wait while it is made; so is the last, since everything
# else waits for what its calls come to.
_FEW_CALLS = 2_000
_MOST_CALLS = 50_000
_MOST_DEATHS = 4
_GROWTH = 2
_NOT_SENT = (State.RECORDED, State.HELD, State.JOINING)
SettleCalls = Callable[[Sequence[Settlement]], None]


@dataclass(slots=True)
class _Pass:
    """One look at the ready calls.

    `room` is for how many more calls of each route there is room. The calls in `unbound` take
    collections, which are built on the calls `inside`.
    """

    specs: SpecMaker
    room: dict[Route, int] = field(default_factory=dict)
    chosen: list[Call] = field(default_factory=list)
    unbound: list[Call] = field(default_factory=list)
    inside: list[Call] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)

    def end_blocked(self, call: Call, failure: DependencyError) -> None:
        """End a call whose arguments have failed."""
        self._end(call, State.DEP_FAILED, failure)

    def end_failed(self, call: Call, error: Exception) -> None:
        """End a call that cannot be sent."""
        self._end(call, State.FAILED, error)

    def _end(self, call: Call, state: State, error: Exception) -> None:
        self.settlements.append((call, state, error))
        # Until it is settled, what needs it must not be sent.
        call.state = State.HELD


class Dispatcher:
    """Decides when calls go to the scheduler, and has them sent. `settle` is called without the lock."""

    def __init__(
        self,
        config: Config,
        client: Any,
        rules: RetryRules,
        settle: SettleCalls,
        placing: Placing,
    ):
        self.lock = threading.RLock()
        self.completions = Completions(client)
        self._config = config
        self._rules = rules
        self._settle = settle
        self._recorded: deque[Call] = deque()
        self._deaths: WeakKeyDictionary[Call, int] = WeakKeyDictionary()
        self._placing = placing
        self._ready = ReadyCalls(placing.route)
        self._waiting = Waiting()
        self._sender = Sender(client, placing, config.batch)
        self._exposed = Exposed(self._sender, self.completions, rules)
        self._foreigners = Foreigners(client)

    @property
    def outstanding(self) -> dict[str, Batch]:
        """The batches on the scheduler, by key."""
        return self._sender.outstanding

    @property
    def costs(self) -> Costs:
        """What calls of each app cost."""
        return self._sender.costs

    def ended(self, batch: Batch) -> None:
        """Note that a batch is no longer on the scheduler."""
        self._sender.ended(batch)

    # ---- taking calls -----------------------------------------------------------------------

    def record(self, call: Call) -> int:
        """Take a call, from any thread without the lock; return how many wait to be submitted."""
        self._recorded.append(call)
        return len(self._recorded)

    def flush(self) -> None:
        """Submit all that was recorded, as far as it can be now."""
        while True:
            with self.lock:
                self._take_recorded()
                settlements = self._submit_ready()
            if not settlements:
                return
            self._settle(settlements)

    def again(self, calls: Iterable[Call], pause_s: float = 0.0) -> None:
        """Take back calls that are to be sent again."""
        with self.lock:
            for call in calls:
                if call.is_final:
                    continue
                call.batch = None
                if pause_s > 0:
                    self._waiting.pause(call, time.monotonic() + pause_s)
                else:
                    self._make_ready([call])

    def again_after_deaths(self, calls: Sequence[Call], deaths: int) -> list[Call]:
        """Take back calls that workers were running, or may have been, when they died.

        After one death a call is sent alone, after more it is isolated: a child process will tell.
        Returns those for which it has happened too often.
        """
        again: list[Call] = []
        given_up: list[Call] = []
        with self.lock:
            for call in calls:
                count = self._deaths[call] = self._deaths.get(call, 0) + deaths
                if deaths == 1 or call in self._sender.suspects:
                    self._sender.alone.add(call)
                if count > 1:
                    self._sender.suspects.add(call)
                (again if count <= _MOST_DEATHS else given_up).append(call)
            self.again(again)
        return given_up

    def next_pause_s(self) -> float | None:
        """Return in how many seconds a paused call is due; None if none is paused."""
        with self.lock:
            due_s = self._waiting.next_due_s()
            return None if due_s is None else max(0.0, due_s - time.monotonic())

    def release_due(self) -> None:
        """Make ready the calls whose pause is over."""
        with self.lock:
            self._make_ready(self._waiting.due(time.monotonic()))

    def release_held(self, calls: Iterable[Call]) -> None:
        """Make ready what waited for `calls`: they have ended, or their join bodies have returned."""
        with self.lock:
            released = self._waiting.released_by(calls)
            if released:
                self._take_recorded()  # what a join body recorded comes before what needs the join
                self._make_ready(released)

    def unfinished(self) -> list[Call]:
        """Return all calls that are here and have not ended."""
        with self.lock:
            sent = itertools.chain.from_iterable(b.calls for b in self.outstanding.values())
            here = itertools.chain(sent, self._recorded.copy(), self._ready, self._waiting)
            return [call for call in dict.fromkeys(here) if not call.is_final]

    @property
    def has_ready(self) -> bool:
        """Whether calls wait here that may be sent now."""
        return len(self._ready) > 0

    def demand(self, label: str) -> int:
        """Return how many Dask tasks for workers of `label` run, or could run had they workers."""
        with self.lock:
            running = sum(
                batch.label in (None, label)
                and not any(key in self.outstanding for key in batch.inputs)
                for batch in self.outstanding.values()
            )
            waiting = self._ready.count(lambda route: self._placing.is_for(route, label))
            return running + math.ceil(waiting / max(1.0, self._sender.calls_per_task))

    # ---- sending them -----------------------------------------------------------------------

    def _take_recorded(self) -> None:
        for _ in range(len(self._recorded)):
            self._ready.append(self._recorded.popleft())

    def _released(self, calls: Iterable[Call]) -> list[Call]:
        """Take out what was held on `calls`."""
        released = self._waiting.released_by(calls)
        for call in released:
            call.state = State.RECORDED
        return released

    def _make_ready(self, calls: Iterable[Call]) -> None:
        for call in calls:
            call.state = State.RECORDED
            self._ready.append(call)

    def _submit_ready(self, first: Sequence[Call] = ()) -> list[Settlement]:
        """Submit `first`, with what comes before them, in any case, then as the window allows."""
        found = self._new_pass()
        if first:
            self._choose(found, first)
            self._send(found, None)
        most_calls = _FEW_CALLS
        while self._ready:
            room = self._config.max_in_flight - len(self.outstanding)
            if room <= 0:
                break
            found.room = {
                route: self._calls_for(self._placing.room(route)) for route in self._ready.routes()
            }
            if not self._choose(found, (), min(most_calls, self._calls_for(room))):
                break
            self._send(found, room)
            most_calls = min(2 * most_calls, max(_FEW_CALLS, len(self._ready) // 2), _MOST_CALLS)
        return found.settlements

    def _calls_for(self, tasks: int) -> int:
        """Return about how many calls make so many tasks, more as long as there is room for all.

        Else batches would stay as small as they once were, since few calls make no large batch.
        """
        growth = 1 if self._sender.was_full else _GROWTH
        return math.ceil(tasks * growth * self._sender.calls_per_task)

    def _new_pass(self) -> _Pass:
        return _Pass(SpecMaker(self._rules.policy, self._rules.decided_at_home))

    def _choose(self, found: _Pass, first: Sequence[Call], most_calls: int = 0) -> bool:
        """Choose which of `first` (and what comes before them) and of the ready calls are sent now.

        Returns whether there was any to choose from.
        """
        stack = list(reversed(first))
        has_any = False
        app = options = None
        while stack or (self._ready and len(found.chosen) + len(found.unbound) < most_calls):
            call = stack.pop() if stack else self._ready.pop(found.room)
            if call is None:
                break
            has_any = True
            if call.state is not State.RECORDED:
                continue
            parents: Sequence[Call] = call.parents
            foreigners = unresolved(call) if type(call.args) is Packed else ()
            if foreigners:
                inside = self._foreigners.calls_inside(foreigners)
                parents = [*parents, *inside]
            if not _are_on_their_way(parents):
                missing = [
                    p for p in parents if p.state is State.RECORDED and (first or _is_nowhere(p))
                ]
                if missing:
                    stack += [call, *reversed(missing)]
                if missing or self._cannot_go(call, parents, found):
                    continue
            if call.app is not app or call.options is not options:
                try:
                    found.specs(call)
                except Exception as error:  # noqa: BLE001 # it becomes the call's own failure
                    found.end_failed(call, error)
                    continue
                app, options = call.app, call.options
            if foreigners:
                self._choose_foreign(call, found, inside)
            else:
                self._take(call, found)
        return has_any

    def _take(self, call: Call, found: _Pass) -> None:
        """Choose a call, and let what waits for it be chosen next, so that they may share a batch."""
        call.state = State.SUBMITTED
        found.chosen.append(call)
        # Who waits for a join waits on, until its body has returned.
        if self._waiting.holds_any and call.app.kind != "join":
            self._ready.put_back(self._released((call,)))

    def _cannot_go(self, call: Call, parents: Iterable[Call], found: _Pass) -> bool:
        """End a call of whose parents one has failed; let it wait here if one is not on its way."""
        if (failure := dependency_error(call)) is not None:
            found.end_blocked(call, failure)
            return True
        for parent in parents:
            source = parent.source
            state = source.state
            if state in _NOT_SENT or (state is State.SUBMITTED and source.app.kind == "join"):
                self._waiting.hold(call, source)
                return True
            if source is not parent and state >= FINAL and state is not State.DONE:
                self._waiting.hold(call, parent)  # a join that is about to fail
                return True
        return False

    def _send(self, found: _Pass, most_tasks: int | None) -> None:
        """Send what was chosen, at most so many tasks; then what collections need is there."""
        if found.inside:
            self._exposed.prepare(found.inside)
        chosen, found.chosen = found.chosen, []
        try:
            sent = self._sender.send(chosen, found.specs, most_tasks)
        except BaseException:
            unsend(chosen)
            self._ready.put_back(chosen)
            raise
        self.completions.watch([(batch.future, batch) for batch in sent.batches])
        self._ready.put_back(sent.left)
        for call, error in sent.failed:
            found.end_failed(call, error)
        if found.unbound:
            self._bind(found)

    # ---- arguments that are not ours --------------------------------------------------------

    def _choose_foreign(self, call: Call, found: _Pass, inside: Sequence[Call]) -> None:
        """Resolve the futures of others that a call takes; collections wait for the end of this pass."""
        foreigners = unresolved(call)
        awaited = self._foreigners.awaited(foreigners)
        if awaited:
            self._waiting.expect(call, len(awaited))
            came = partial(self.completions.call_soon, partial(self._foreign_ended, call))
            when_ended(awaited, came)
            return
        try:
            self._foreigners.resolve_futures(foreigners)
        except BaseException as error:  # noqa: BLE001 # whatever a future was given as its exception
            found.end_blocked(call, DependencyError(key_of(call), "a foreign argument", error))
            return
        if unresolved(call):
            call.state = State.HELD
            found.unbound.append(call)
            found.inside += inside
        else:
            self._take(call, found)

    def _foreign_ended(self, call: Call) -> None:
        with self.lock:
            if self._waiting.came(call) and call.state is State.HELD:
                self._make_ready([call])

    def _bind(self, found: _Pass) -> None:
        """Compute the collections that calls take, as far as they are built on nothing open."""
        calls, inside = found.unbound, found.inside
        found.unbound, found.inside = [], []
        is_open = self._exposed.open_among(inside)
        bound: list[Call] = []
        for call in calls:
            its_own = self._foreigners.calls_inside(unresolved(call))
            waits_for = next((each for each in its_own if is_open[each]), None)
            if waits_for is None:
                bound.append(call)
            else:
                self._waiting.hold(call, waits_for)
        self._exposed.expose(each for each in inside if not is_open[each])
        try:
            self._foreigners.compute([f for call in bound for f in unresolved(call)])
        except Exception:  # noqa: BLE001 # one of them: which?
            bound = [call for call in bound if self._could_compute(call, found)]
        for call in bound:
            call.state = State.RECORDED
        self._ready.put_back(bound)

    def _could_compute(self, call: Call, found: _Pass) -> bool:
        try:
            self._foreigners.compute(unresolved(call))
        except Exception as error:  # noqa: BLE001 # it becomes the call's own failure
            found.end_blocked(call, DependencyError(key_of(call), "a foreign argument", error))
            return False
        return True

    # ---- for graphs that are not ours -------------------------------------------------------

    def expose(self, calls: Sequence[Call]) -> None:
        """Give calls a Dask key of their own, as far as that can be now; send them if they are ready."""
        with self.lock:
            self._take_recorded()
            settlements: list[Settlement] = []
            new = [call for call in calls if call.state is State.RECORDED]
            if new:
                settlements = self._submit_ready(new)
            self._exposed.expose(call for call in calls if call.batch is not None)
        self._settle(settlements)

    def exposed_task(self, call: Call) -> Any | None:
        """Return the task that the scheduler knows under the call's own key, None if there is none."""
        with self.lock:
            return self._exposed.task(call)

    def watch_exposed(self, call: Call) -> None:
        """Report an exposed call, whose batch has left it open, once its own key has ended."""
        # Until then its batch has no outcome for it, and what needs it must wait here.
        self._waiting.expect(call)
        self._exposed.watch(call)

    def stop_awaiting(self, call: Call) -> None:
        """Note that what an awaiting call waited for has come."""
        self._waiting.came(call)

    def forget_exposed(self, call: Call) -> None:
        """Note that an exposed call's own Dask key has come to nothing."""
        self._exposed.forget(call)

    def is_exposed(self, call: Call) -> bool:
        """Whether the call has a Dask key of its own, which may run it."""
        return call in self._exposed


def _are_on_their_way(parents: Iterable[Call]) -> bool:
    """Tell whether each call has ended well, or is on the scheduler and has a value of its own."""
    for call in parents:
        state = call.state
        if state is not State.DONE and (state is not State.SUBMITTED or call.app.kind == "join"):
            return False
    return True


def _is_nowhere(call: Call) -> bool:
    """Tell whether a call was never taken (a future of an item, say), so that nobody will send it."""
    return call.owner is not None and (call.app.derived or call.owner is process.pool)
