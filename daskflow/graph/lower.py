"""From groups of calls to Dask tasks.

::

    groups of calls ──► Batch (key, members, inputs) ──► Task(key, run_batch, payload, *inputs)

A call's arguments are found where they are at this moment: in an earlier member of the same batch,
in the Box of another batch, in a large literal's task, in a foreign Dask key, or at home, in which
case the value itself travels in the payload.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dask.typing import Key

from daskflow.graph import tasks
from daskflow.graph.arguments import Foreign, Literal, Packed, Slot
from daskflow.graph.call import Call, Options, State
from daskflow.graph.functions import pickled
from daskflow.worker import wire
from daskflow.worker.batch import (
    CONSTANT,
    SELF,
    WHOLE,
    Fields,
    Ref,
    dumped_order,
    expose,
    run_alone,
    run_batch,
)
from daskflow.worker.functions import FunctionSpec
from daskflow.worker.keys import batch_key, clean_name, literal_key
from daskflow.worker.outcome import TAKEN

SpecOf = Callable[[Call], FunctionSpec]


@dataclass(slots=True, eq=False)
class Batch:
    """Calls that run as one Dask task, the key of that task, and what its client holds of it.

    `literals` are the large arguments that it takes, `box` is the outcome that came as news, until it
    is read.
    """

    key: str
    calls: list[Call]
    options: Options
    label: str | None = None
    future: Any = None
    inputs: tuple[Key, ...] = ()
    literals: tuple[Literal, ...] = ()
    is_suspect: bool = False
    box: Any = None


class NotOnItsWay(Exception):
    """A call cannot be lowered: one of its arguments is neither here nor on the scheduler."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What stands for a batch in a call whose value stays on its worker; `members` is its size.

    Unlike the batch it does not know the calls, which know it: the value goes from its worker when
    the last of them goes, without waiting for the garbage collector to find a cycle.
    """

    key: str
    future: Any
    members: int

    @classmethod
    def of(cls, batch: Batch) -> Kept:
        """Return what stands for `batch`."""
        return cls(batch.key, batch.future, len(batch.calls))


@dataclass(frozen=True, slots=True)
class Home:
    """A final value that is in this process as the user's object, not in travelling form."""

    value: object


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Bound:
    """What became of a foreign argument: a Dask key (with what keeps it alive), or a value."""

    key: Key | None = None
    keeps: object = None
    value: object = None


@dataclass(slots=True)
class _Writer:
    """Collects one batch's payload."""

    run: str
    spec_of: SpecOf
    own: Batch | None
    functions: list[FunctionSpec] = field(default_factory=list)
    members: list[Fields] = field(default_factory=list)
    constants: list[object] = field(default_factory=list)
    inputs: dict[Key, int] = field(default_factory=dict)
    literals: dict[Key, Literal] = field(default_factory=dict)
    passed: Collection[Call] = ()
    passed_members: list[int] = field(default_factory=list)
    _places: dict[tuple[int, int], int] = field(default_factory=dict)
    _last: Call | None = None
    _place: int = 0

    def add(self, call: Call) -> None:
        last = self._last
        if last is None or call.app is not last.app or call.options is not last.options:
            self._place = self._place_of(call)
        self._last = call
        args = call.args
        if type(args) is Packed:
            refs = tuple([self._ref(slot, 0) for slot in args.slots])
            self.members.append((call.number, self._place, args.data, None, refs, call.extras))
        elif call.parents:
            args, kwargs, refs = self._with_refs(args, call.kwargs)
            self.members.append((call.number, self._place, args, kwargs, refs, call.extras))
        else:
            self.members.append((call.number, self._place, args, call.kwargs, (), call.extras))

    def _place_of(self, call: Call) -> int:
        like = id(call.app), id(call.options)
        place = self._places.get(like)
        if place is None:
            place = self._places[like] = len(self.functions)
            self.functions.append(self.spec_of(call))
        return place

    def payload(self) -> bytes:
        return dumped_order(
            self.run,
            self.functions,
            self.members,
            self.constants,
            is_suspect=self.own is not None and self.own.is_suspect,
            key=self.own.key if self.own is not None else "",
            passed=self.passed_members,
        )

    def _with_refs(
        self, args: tuple[Any, ...], kwargs: dict[str, Any] | None
    ) -> tuple[tuple[Any, ...], dict[str, Any] | None, tuple[Ref, ...]]:
        """Return plain arguments in which a Ref stands for each call."""
        refs: list[Ref] = []
        positional = list(args)
        for place, value in enumerate(args):
            if type(value) is Call:
                refs.append(self._call_ref(value, place))
                positional[place] = None
        if kwargs:
            kwargs = dict(kwargs)
            for name, value in kwargs.items():
                if type(value) is Call:
                    refs.append(self._call_ref(value, name))
                    kwargs[name] = None
        return tuple(positional), kwargs, tuple(refs)

    def _ref(self, slot: Slot, place: int | str) -> Ref:
        if isinstance(slot, Call):
            return self._call_ref(slot, place)
        if isinstance(slot, Literal):
            key = literal_key(self.run, slot.number)
            self.literals[key] = slot
            return self._input(key), WHOLE, place
        return self._foreign_ref(slot.resolved, place)

    def _call_ref(self, call: Call, place: int | str) -> Ref:
        if call.state is State.JOINING:
            call = call.source
        batch = call.batch
        if batch is not None:
            if batch is self.own:
                if call in self.passed:
                    self.passed_members.append(call.member)
                return SELF, call.member, place
            return self._input(batch.key), call.member, place
        # One whose value has just come is not DONE yet.
        if call.state not in (State.SUBMITTED, State.DONE):
            raise NotOnItsWay
        if call.value is TAKEN:
            raise RuntimeError(f"the value of {call!r} was passed on to another call")
        return self._constant(travelling(call.value), place)

    def _foreign_ref(self, bound: Bound, place: int | str) -> Ref:
        if bound.key is not None:
            return self._input(bound.key), WHOLE, place
        return self._constant(wire.packed(bound.value, "the value of a future", pickled), place)

    def _input(self, key: Key) -> int:
        return self.inputs.setdefault(key, len(self.inputs))

    def _constant(self, value: object, place: int | str) -> Ref:
        self.constants.append(value)
        return CONSTANT, len(self.constants) - 1, place


def travelling(value: object) -> object:
    """Return a final value of a call in its travelling form."""
    if isinstance(value, Home):
        return wire.packed(value.value, "the value of a future", pickled)
    return value


def new_batch(run: str, number: int, calls: Sequence[Call]) -> Batch:
    """Make a batch of `calls` and point them to it."""
    key = batch_key(clean_name(calls[0].app.name), run, number)
    batch = Batch(key, list(calls), calls[0].options, calls[0].label)
    for member, call in enumerate(calls):
        call.batch, call.member = batch, member
    return batch


def lower_batch(batch: Batch, run: str, spec_of: SpecOf, passed: Collection[Call] = ()) -> Any:
    """Return the Dask task of a batch, and note its inputs on it.

    The values of calls in `passed` go once another member has taken them.

    Raises
    ------
    NotOnItsWay
        A call takes the value of one that has none, and is in no batch.
    """
    writer = _Writer(run, spec_of, batch, passed=passed)
    for call in batch.calls:
        writer.add(call)
    batch.inputs = tuple(writer.inputs)
    batch.literals = tuple(writer.literals.values())
    return tasks.task(batch.key, run_batch, writer.payload(), inputs=batch.inputs)


def lower_exposed(call: Call, key: str, run: str, spec_of: SpecOf) -> Any:
    """Return the task that makes one member of a batch a Dask key of its own."""
    writer = _Writer(run, spec_of, None)
    writer.add(call)
    inputs = (call.batch.key, *writer.inputs)
    return tasks.task(key, expose, writer.payload(), call.member, inputs=inputs)


def lower_alone(
    call: Call,
    key: str,
    run: str,
    spec_of: SpecOf,
    key_of: Callable[[Call], str],
    bound_of: Callable[[Foreign], Bound],
) -> Any:
    """Return the task that runs one call under its own key, its parents being tasks under theirs."""
    writer = _Alone(run, spec_of, None, key_of=key_of, bound_of=bound_of)
    writer.add(call)
    return tasks.task(key, run_alone, writer.payload(), inputs=tuple(writer.inputs))


@dataclass(slots=True)
class _Alone(_Writer):
    """Writes a call for a graph without a kernel."""

    key_of: Callable[[Call], str] = lambda call: str(call.number)
    bound_of: Callable[[Foreign], Bound] = lambda foreign: foreign.resolved

    def _ref(self, slot: Slot, place: int | str) -> Ref:
        if isinstance(slot, Literal):
            return self._constant(wire.Pickled(slot.data), place)
        if isinstance(slot, Foreign):
            return self._foreign_ref(self.bound_of(slot), place)
        return self._call_ref(slot, place)

    def _call_ref(self, call: Call, place: int | str) -> Ref:
        if call.is_final:
            return self._constant(travelling(call.value), place)
        return self._input(self.key_of(call)), WHOLE, place


def foreigners_of(call: Call) -> list[Foreign]:
    """Return the arguments of `call` that are not ours."""
    if not isinstance(call.args, Packed):
        return []
    return [slot for slot in call.args.slots if isinstance(slot, Foreign)]


def annotations_of(options: Options, label: str | None) -> Mapping[str, Any]:
    """Return the Dask annotations that say where and how soon a batch runs."""
    found: dict[str, Any] = dict(options.annotations)
    resources = dict(options.resources)
    if label is not None:
        resources[label_resource(label)] = 1
    if resources:
        found["resources"] = resources
    if options.priority:
        found["priority"] = options.priority
    return found


def label_resource(label: str) -> str:
    """Name the worker resource that marks the workers of the executor `label`."""
    return f"daskflow-{label}"
