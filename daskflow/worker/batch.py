"""A batch: one or more calls that run as one Dask task.

::

    run_batch(payload, *values)          payload: functions and members, one pickle
        │ for each member: pick its arguments from `values` and from earlier members
        ▼
    Box of outcomes                      never raises: one member's failure is its own

`expose` turns one member into a plain Dask task, for graphs that are not ours.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple

from daskflow.errors import DeserializationError, WorkerLost
from daskflow.worker import handback, news, wire
from daskflow.worker.attempt import NO_EXTRAS, Extras, failed, run_call, with_values
from daskflow.worker.functions import FunctionSpec
from daskflow.worker.isolate import give, how_it_ended, start_child
from daskflow.worker.keys import call_key, clean_name
from daskflow.worker.outcome import Blocked, Box, Failed, Joined, NotRun, Outcome, boxed, summarized
from daskflow.worker.wire import size_bytes

Arguments = Callable[[], tuple[Sequence[Any], Mapping[str, Any]]]

NOT_RUN = NotRun()
WHOLE = -1
"""In a `Ref`: the value itself, not one member of a Box."""
SELF = -1
"""In a `Ref`: an earlier member of the same batch."""
CONSTANT = -2
"""In a `Ref`: a value that travels with the payload."""


class Ref(NamedTuple):
    """Where an argument's value is: task `task` among the batch's inputs, member `member` of its Box.

    `place` is the position or the keyword of the argument it fills.
    """

    task: int
    member: int
    place: int | str = 0


class Member(NamedTuple):
    """One call of a batch.

    Either `args` and `kwargs` are the arguments, in which `refs` fill their `place`; or `args` is
    one pickle of both, and `refs` are the values that `attempt.argument` stands for in it.
    """

    number: int
    function: int
    args: tuple[Any, ...] | bytes
    kwargs: dict[str, Any] | None = None
    refs: tuple[Ref, ...] = ()
    extras: Extras | None = None


class Order(NamedTuple):
    """The payload of a batch."""

    run: str
    functions: tuple[FunctionSpec, ...]
    members: tuple[Member, ...]
    constants: tuple[object, ...] = ()
    is_suspect: bool = False
    key: str = ""

    def dumped(self) -> bytes:
        """Return the order as bytes.

        Functions may hold things of ``__main__`` (a `Retry` on the user's own exception), so they are
        pickled with care, and apart: the members, which are many, are plain tuples of plain things.
        """
        functions = tuple(map(_dumped_function, self.functions))
        members = tuple(map(tuple, self.members))
        return pickle.dumps((*self[:1], functions, members, *self[3:]), protocol=5)

    @classmethod
    def loaded(cls, data: bytes) -> Order:
        """Return the order that was `dumped`."""
        run, functions, members, *rest = pickle.loads(data)
        return cls(
            run, tuple(map(_loaded_function, functions)), tuple(map(Member._make, members)), *rest
        )


@lru_cache(maxsize=1000)
def _dumped_function(spec: FunctionSpec) -> bytes:
    return wire.dumps(spec)


@lru_cache(maxsize=1000)
def _loaded_function(data: bytes) -> FunctionSpec:
    spec: FunctionSpec = pickle.loads(data)
    return spec


def run_batch(payload: bytes, *values: object) -> Box:
    """Run the members of a batch in order and return their outcomes; raise nothing."""
    order = Order.loaded(payload)
    if order.is_suspect:
        return run_suspects(payload, order, values)
    entries: list[object] = []
    counts = [0] * len(order.functions)
    seconds = [0.0] * len(order.functions)
    sizes = [0] * len(order.functions)
    begun_s = then_s = time.perf_counter()
    with _claims(order, entries) as claims:
        for index, member in enumerate(order.members):
            if then_s - begun_s > handback.LONG_S:
                break
            if claims is not None and not claims.begin(index, then_s):
                break
            entry = _run_member(order, member, values, entries)
            entries.append(entry)
            now_s = time.perf_counter()
            which = member.function
            counts[which] += 1
            seconds[which] += now_s - then_s
            sizes[which] += size_bytes(entry)
            then_s = now_s
    entries += [NOT_RUN] * (len(order.members) - len(entries))
    spent = {
        spec.name: (n, s, b)
        for spec, n, s, b in zip(order.functions, counts, seconds, sizes, strict=True)
        if n
    }
    box = boxed(entries, spent)
    news.keep(order.run, order.key, box)
    return box


@contextmanager
def _claims(order: Order, entries: list[object]) -> Iterator[handback.Claims | None]:
    """Let the watcher look at a batch of several members while it runs."""
    tell = handback.teller(order.run) if len(order.members) > 1 else None
    if tell is None:
        yield None
        return
    claims = handback.Claims(
        order.key,
        entries,
        len(order.members),
        lambda index: order.functions[order.members[index].function].name,
        tell,
    )
    handback.watcher.watch(claims)
    try:
        yield claims
    finally:
        handback.watcher.forget(claims)


def lost_batch(payload: bytes, *_values: object) -> Box:
    """Stand for a batch whose Box was lost: none of its members is run."""
    order = Order.loaded(payload)
    return Box([NOT_RUN] * len(order.members))


def run_suspects(payload: bytes, order: Order, values: Sequence[object]) -> Box:
    """Run a batch, one of whose members may kill its process, in child processes.

    A child runs the members one after the other and tells the outcome of each. If it dies, the one it
    was running is to blame, and another child goes on with the next.
    """
    entries: list[object] = []
    while len(entries) < len(order.members):
        child, answers = start_child("daskflow.worker.batch:serve_suspects")
        with answers:
            give(child, wire.dumps((payload, values, entries)))
            with suppress(EOFError, pickle.UnpicklingError):
                while True:
                    entries.append(pickle.load(answers))
            exitcode = child.wait()
        if len(entries) < len(order.members):
            member = order.members[len(entries)]
            spec = order.functions[member.function]
            error = WorkerLost(spec.name, how_it_ended(exitcode))
            key = call_key(clean_name(spec.name), order.run, member.number)
            entries.append(failed(spec, key, error, 1))
    return boxed(entries, {})


def serve_suspects(descriptor: int) -> None:
    """Run the rest of a suspect batch and write each outcome to `descriptor` (in the child)."""
    os.set_inheritable(descriptor, False)
    payload, values, entries = pickle.load(sys.stdin.buffer)  # our own parent
    order = Order.loaded(payload)
    with os.fdopen(descriptor, "wb") as answers:
        for member in order.members[len(entries) :]:
            entries.append(_run_member(order, member, values, entries))
            answers.write(wire.dumps(entries[-1]))
            answers.flush()


def run_alone(payload: bytes, *values: object) -> object:
    """Run a batch of one call and return its plain value, or raise what it raised."""
    return value_of(run_batch(payload, *values).entries[0])


def expose(payload: bytes, index: int, box: Box, *values: object) -> object:
    """Return the plain value of member `index` of `box`, or raise what it raised.

    If the call has not been run there, or may be tried again, it runs here; `payload` is the batch
    of that one call and `values` its inputs.
    """
    entry = box.entries[index]
    if isinstance(entry, NotRun) or (isinstance(entry, Failed) and entry.retryable):
        return run_alone(payload, *values)
    return value_of(entry)


def summarize(box: Box) -> Box:
    """Return `box` without its large values."""
    return summarized(box)


def pick(index: int, box: Box) -> object:
    """Return the entry `index` of `box`, in its travelling form."""
    return box.entries[index]


def value_of(entry: object) -> object:
    """Return the user's value of an entry, or raise what the call raised."""
    if not isinstance(entry, Outcome):
        return wire.opened(entry)
    if isinstance(entry, Failed):
        error = entry.record.rebuild()
        attach_report(error, entry)
        raise error
    if isinstance(entry, Joined):
        return entry.in_place()
    raise RuntimeError(f"the call has no value: {entry!r}")


def attach_report(error: BaseException, entry: Failed) -> None:
    """Put where it happened on an exception: attribute ``daskflow`` and a note."""
    error.daskflow = entry.report  # type: ignore[attr-defined] # the documented extra attribute
    error.add_note(str(entry.report))


def _run_member(
    order: Order, member: Member, values: Sequence[object], entries: Sequence[object]
) -> object:
    spec = order.functions[member.function]
    found: list[object] = []
    for ref in member.refs:
        entry = _find(ref, order, values, entries)
        if isinstance(entry, Outcome):
            return Blocked()
        found.append(entry)
    arguments = _arguments(spec, member, found)
    return run_call(spec, order.run, member.number, arguments, member.extras or NO_EXTRAS)


def _find(ref: Ref, order: Order, values: Sequence[object], entries: Sequence[object]) -> object:
    if ref.task == SELF:
        return entries[ref.member]
    if ref.task == CONSTANT:
        return order.constants[ref.member]
    source = values[ref.task]
    if ref.member == WHOLE:
        return source
    assert isinstance(source, Box)
    return source.entries[ref.member]


def _arguments(spec: FunctionSpec, member: Member, found: Sequence[object]) -> Arguments:
    """Return what makes the arguments of a call; each try gets its own copies."""

    def make() -> tuple[Sequence[Any], Mapping[str, Any]]:
        opened = [wire.opened(value) for value in found]
        if isinstance(member.args, bytes):
            args, kwargs = with_values(member.args, opened)[:2]
            return args, kwargs
        positional, named = list(member.args), dict(member.kwargs or {})
        for ref, value in zip(member.refs, opened, strict=True):
            if isinstance(ref.place, int):
                positional[ref.place] = value
            else:
                named[ref.place] = value
        return positional, named

    def checked() -> tuple[Sequence[Any], Mapping[str, Any]]:
        try:
            return make()
        except Exception as error:
            raise DeserializationError(
                f"the arguments of app {spec.name!r} cannot be unpickled on this worker: "
                f"{type(error).__name__}: {error}"
            ) from error

    return checked
