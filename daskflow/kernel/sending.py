"""Sending: calls become batches, batches one graph, and the graph goes to the scheduler.

::

    calls ──coarsen──► groups ──lower──► tasks, a layer for each placement ──client.get──► futures
                          │        │
                          ▼        ▼ a call that cannot be lowered: found out by sending each alone
               beyond the window: left
"""

from __future__ import annotations

import contextlib
import contextvars
import gc
import itertools
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import dask
from dask.typing import Key

from daskflow.futures.recording import process
from daskflow.graph import tasks
from daskflow.graph.call import Call, State
from daskflow.graph.coarsen import SHARES, TARGET_BYTES, coarsen
from daskflow.graph.costs import Costs
from daskflow.graph.lower import Batch, NotOnItsWay, annotations_of, lower_batch, new_batch
from daskflow.graph.passing import passed_on
from daskflow.graph.specs import SpecMaker
from daskflow.kernel.placing import Placing, Route
from daskflow.worker import wire
from daskflow.worker.keys import literal_key

logger = logging.getLogger("daskflow.kernel")


@dataclass(slots=True)
class Sent:
    """What became of calls that were to be sent.

    Those in `left` are to be sent another time; those in `failed` cannot be, with the reason.
    """

    batches: list[Batch] = field(default_factory=list)
    left: list[Call] = field(default_factory=list)
    failed: list[tuple[Call, Exception]] = field(default_factory=list)


class Sender:
    """Sends calls to the scheduler of `client`. Needs a lock around it.

    Attributes
    ----------
    outstanding
        The batches on the scheduler, by key.
    costs
        What calls of each app cost.
    alone
        Calls that must not share a task.
    suspects
        Calls that may have killed a worker; they share tasks with each other only.
    calls_per_task
        How many calls a batch had when some were sent last.
    was_full
        Whether there was no room for all of those.
    """

    def __init__(self, client: Any, placing: Placing, default_batch: bool | int):
        self.outstanding: dict[str, Batch] = {}
        self.costs = Costs()
        self.alone: WeakSet[Call] = WeakSet()
        self.suspects: WeakSet[Call] = WeakSet()
        self.calls_per_task = 1.0
        self.was_full = False
        self._client = client
        self._placing = placing
        self._default_batch = default_batch
        self._batch_numbers = itertools.count()
        # Calls are told what their own annotations are, not by those around whoever sends them.
        self._context = contextvars.Context()

    def send(self, calls: list[Call], specs: SpecMaker, most_tasks: int | None = None) -> Sent:
        """Send calls, parents first, as at most `most_tasks` batches, and of each route as it has room."""
        sent = Sent()
        if calls:
            with _no_garbage_collection():
                self._send(calls, specs, most_tasks, sent)
        return sent

    def _send(
        self, calls: list[Call], specs: SpecMaker, most_tasks: int | None, sent: Sent
    ) -> None:
        for call in calls:
            call.label = self._placing.label_for(call)
        passed = self._passed_on(calls)
        groups = coarsen(
            calls,
            self.costs,
            SHARES * self._placing.slots - len(self.outstanding),
            alone=self.alone or (),
            suspects=self.suspects or (),
            passed=passed,
            default_batch=self._default_batch,
        )
        self.calls_per_task = len(calls) / len(groups)
        layers: dict[Any, tuple[dict[Key, Any], Any]] = {}
        going, left = self._with_room(groups, most_tasks)
        self.was_full = bool(left)
        unsend(left)  # so that what needs them is left, too
        for group in going:
            batch = new_batch(process.run, next(self._batch_numbers), group)
            batch.is_suspect = group[0] in self.suspects
            task = self._lowered(batch, specs, passed, left, sent)
            if task is None:
                continue
            known = (batch.options.placement, batch.label)
            if known not in layers:
                layers[known] = {}, annotations_of(batch.options, batch.label)
            layers[known][0][batch.key] = task
            sent.batches.append(batch)
        self._submit(sent.batches, list(layers.values()))
        self._leave(left, calls, sent)

    def ended(self, batch: Batch) -> None:
        """Note that a batch is no longer on the scheduler, or is about to be so."""
        if self.outstanding.pop(batch.key, None) is not None:
            self._placing.ended(batch.calls[0])
            self._placing.left(batch.label, len(batch.calls))

    def _with_room(
        self, groups: Sequence[list[Call]], most_tasks: int | None
    ) -> tuple[Sequence[list[Call]], list[Call]]:
        """Divide groups into those for which there is room, and the calls of all others."""
        if most_tasks is None:
            return groups, []
        going: list[list[Call]] = []
        left: list[Call] = []
        room: dict[Route, int] = {}
        for group in groups:
            route = self._placing.route(group[0])
            if len(going) == most_tasks or (
                route is not None and room.setdefault(route, self._placing.room(route)) <= 0
            ):
                left += group
                continue
            going.append(group)
            if route is not None:
                room[route] -= 1
        return going, left

    def _passed_on(self, calls: list[Call]) -> set[Call]:
        large = self.costs.apps_of_results(TARGET_BYTES)
        return passed_on(calls, {c.app for c in calls if c.app.name in large}) if large else set()

    def _lowered(
        self,
        batch: Batch,
        specs: SpecMaker,
        passed: Collection[Call],
        left: list[Call],
        sent: Sent,
    ) -> Any | None:
        try:
            return lower_batch(batch, process.run, specs, passed)
        except NotOnItsWay:  # an argument was in a batch that could not be lowered
            left += batch.calls
        except Exception as error:  # noqa: BLE001 # it becomes the call's own failure
            if len(batch.calls) > 1:
                self.alone.update(batch.calls)
                left += batch.calls
            else:
                sent.failed.append((batch.calls[0], error))
        unsend(batch.calls)
        return None

    def _leave(self, left: Sequence[Call], calls: Sequence[Call], sent: Sent) -> None:
        """Note in `sent` what was left, in the order in which it came."""
        for call in itertools.chain(left, (failed for failed, _ in sent.failed)):
            self._placing.left(call.label)
        if left:
            to_go = set(left)
            sent.left = [call for call in calls if call in to_go]

    def _submit(self, batches: Sequence[Batch], layers: list[tuple[Any, Any]]) -> None:
        if not batches:
            return
        new_literals: dict[Key, Any] = {}
        for literal in (literal for batch in batches for literal in batch.literals):
            if literal.remote is None:
                key = literal_key(process.run, literal.number)
                new_literals[key] = tasks.data(key, wire.Pickled(literal.data))
        keys = [batch.key for batch in batches]
        futures = self.get([*layers, (new_literals, {})], [*keys, *new_literals])
        for literal in (literal for batch in batches for literal in batch.literals):
            if literal.remote is None:
                literal.remote = futures[literal_key(process.run, literal.number)]
        for batch in batches:
            batch.future = futures[batch.key]
            self.outstanding[batch.key] = batch
            self._placing.sent(batch.calls[0])
        logger.debug("submitted %d tasks", len(batches))

    def get(self, layers: Iterable[tuple[Any, Any]], keys: list[Any]) -> dict[Any, Any]:
        """Send a graph, given as layers of (tasks, annotations), and return the futures of `keys`."""
        graph = tasks.high_level_graph(layers)
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            found = self._context.run(self._client.get, graph, keys, sync=False)
        return dict(zip(keys, found, strict=True))


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Let no garbage be looked for among the many small parts of a payload, which soon go anyway."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def unsend(calls: Iterable[Call]) -> None:
    """Mark calls, chosen to be sent, as not sent."""
    for call in calls:
        call.batch = None
        if not call.is_final:
            call.state = State.RECORDED
