"""A batch: one or more calls that run as one Dask task.

::

    run_batch(payload, *values)          payload: functions and members, one pickle
        │ for each member: pick its arguments from `values` and from earlier members
        ▼
    Box of outcomes                      never raises: one member's failure is its own

`expose` turns one member into a plain Dask task, for graphs that are not ours.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import Any, NamedTuple

from daskflow.errors import DependencyError, DeserializationError, WorkerLost
from daskflow.worker import board, handback, news, wire
from daskflow.worker.attempt import (
    NO_EXTRAS,
    Extras,
    run_call,
    this_worker,
    with_values,
)
from daskflow.worker.functions import FunctionSpec, load_function
from daskflow.worker.keys import call_key
from daskflow.worker.outcome import (
    TAKEN,
    Blocked,
    Box,
    Failed,
    Interrupted,
    Joined,
    NotRun,
    Outcome,
    Spent,
    boxed,
    summarized,
)
from daskflow.worker.wire import size_bytes

NOT_RUN = NotRun()
WHOLE = -1
"""As member of a `Ref`: the value itself, not one member of a Box."""
SELF = -1
"""As task of a `Ref`: an earlier member of the same batch."""
CONSTANT = -2
"""As task of a `Ref`: a value that travels with the payload."""
# A batch whose results are larger than expected runs no further: they would all be kept together.
_ENOUGH_BYTES = wire.LARGE_BYTES // 2
# Nor one that takes longer than any is made for (`daskflow.graph.coarsen`), with some tolerance.
_ENOUGH_S = 0.25


Ref = tuple[int, int, int | str]
"""Where an argument's value is: the task (an index of the batch's inputs), the member of its Box; then the
place that it fills, a position or a keyword. A plain tuple, since it is pickled faster than a class."""


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


Fields = tuple[
    int, int, tuple[Any, ...] | bytes, dict[str, Any] | None, tuple[Ref, ...], Extras | None
]
"""The fields of a Member, as they travel."""


class Order(NamedTuple):
    """The payload of a batch.

    The values of members in `passed` can be asked for only by the one member that takes them.
    """

    run: str
    functions: tuple[FunctionSpec, ...]
    members: tuple[Member, ...]
    constants: tuple[object, ...] = ()
    is_suspect: bool = False
    key: str = ""
    passed: frozenset[int] = frozenset()

    @classmethod
    def loaded(cls, data: bytes) -> Order:
        """Return the order of a payload."""
        run, functions, members, *rest = pickle.loads(data)
        return cls(
            run, tuple(map(_loaded_function, functions)), tuple(map(Member._make, members)), *rest
        )


def dumped_order(  # noqa: PLR0913 # the fields of an Order
    run: str,
    functions: Sequence[FunctionSpec],
    members: Sequence[Fields],
    constants: Sequence[object] = (),
    *,
    is_suspect: bool = False,
    key: str = "",
    passed: Sequence[int] = (),
) -> bytes:
    """Return the payload of an Order with these fields.

    Functions may hold things of ``__main__`` (a `Retry` on the user's own exception), so they are
    pickled with care, and apart: the members, which are many, are plain tuples of plain things.
    """
    specs = tuple(map(_dumped_function, functions))
    order = run, specs, tuple(members), tuple(constants), is_suspect, key, frozenset(passed)
    return pickle.dumps(order, protocol=5)


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
    entries: list[object] = []
    counts = [0] * len(order.functions)
    seconds = [0.0] * len(order.functions)
    sizes = [0] * len(order.functions)

    def spent() -> Spent:
        columns = zip(order.functions, counts, seconds, sizes, strict=True)
        return {spec.name: (n, s, b) for spec, n, s, b in columns if n}

    with _claims(order, entries, spent) as claims:
        if order.is_suspect:
            from daskflow.worker.suspects import run_suspects  # rarely needed

            return run_suspects(payload, order, values, entries, claims)
        begun_s = then_s = time.perf_counter()
        kept_bytes = 0
        for index, member in enumerate(order.members):
            if not counts[member.function] and claims is not None:
                claims.load(index)
                _load(order.functions[member.function])
                now_s = time.perf_counter()
                begun_s, then_s = begun_s + now_s - then_s, now_s
            if then_s - begun_s > _ENOUGH_S or kept_bytes > _ENOUGH_BYTES:
                break
            if claims is not None and not claims.begin(index, then_s):
                break
            entry = run_member(order, member, values, entries)
            entries.append(entry)
            now_s = time.perf_counter()
            which = member.function
            counts[which] += 1
            # How long a long call takes says little about the others: it counts as no more than long.
            seconds[which] += min(now_s - then_s, handback.LONG_S)
            size = size_bytes(entry)
            sizes[which] += size
            kept_bytes += _kept_bytes(order, index, entries) if order.passed else size
            then_s = now_s
    total_bytes = sum(map(size_bytes, entries)) if order.passed else sum(sizes)
    box = boxed(filled(order, entries), spent(), total_bytes)
    news.keep(order.run, order.key, box)
    return box


def _load(spec: FunctionSpec) -> None:
    """Load a function before it is called; whatever comes of it, the call will tell."""
    if not spec.isolate:
        with suppress(BaseException):
            load_function(spec)


def _kept_bytes(order: Order, last: int, entries: list[object]) -> int:
    """Drop the values that the member `last` was passed; return the bytes that are kept because of it.

    A value that is passed to the next member is not kept, unless that one turns out to have no value.
    """
    value = entries[last]
    has_value = not isinstance(value, Outcome)  # else it may be tried again
    kept_bytes = 0 if _is_for_next(order, last) else size_bytes(value)
    for index in _passed_to(order, last):
        if isinstance(entries[index], Outcome):
            continue
        if has_value:
            kept_bytes -= 0 if index == last - 1 else size_bytes(entries[index])
            entries[index] = TAKEN
        elif index == last - 1:
            kept_bytes += size_bytes(entries[index])
    return kept_bytes


def _is_for_next(order: Order, member: int) -> bool:
    return member + 1 < len(order.members) and member in _passed_to(order, member + 1)


def _passed_to(order: Order, member: int) -> set[int]:
    refs = order.members[member].refs
    return {index for task, index, _ in refs if task == SELF and index in order.passed}


def filled(order: Order, entries: list[object]) -> list[object]:
    """Return the entries of a Box, given those of the members that were begun."""
    return entries + [NOT_RUN] * (len(order.members) - len(entries))


@contextmanager
def _claims(
    order: Order, entries: list[object], spent: Callable[[], Spent]
) -> Iterator[handback.Claims | None]:
    """Publish what a batch runs, and let the watcher look at it if it has several members."""
    worker = this_worker() if order.key else None
    if worker is None:
        yield None
        return
    topic = handback.TOPIC + order.run
    with board.shown(worker.address, order.key) as shown:
        claims = handback.Claims(
            key=order.key,
            entries=entries,
            members=len(order.members),
            app_of=lambda index: order.functions[order.members[index].function].name,
            spent=spent,
            tell=lambda message: worker.log_event(topic, message),
            shown=shown,
        )
        if len(order.members) > 1:
            handback.watcher.watch(claims)
        try:
            yield claims
        finally:
            handback.watcher.forget(claims)


def run_batch_again(payload: bytes, *values: object) -> Box:
    """Run a batch whose Box was there once and is gone: all of it, and keep all values.

    Which of its values are needed is not known here; nor may a member be left to others, since those that
    have ended are not sent again.
    """
    order = Order.loaded(payload)
    entries: list[object] = []
    if order.is_suspect:
        from daskflow.worker.suspects import run_suspects  # rarely needed

        return run_suspects(payload, order, values, entries, None)
    for member in order.members:
        entries.append(run_member(order, member, values, entries))
    return boxed(entries, {}, sum(map(size_bytes, entries)))


def lost_batch(payload: bytes, killer: int | None, *_values: object) -> Box:
    """Stand for a batch whose Box was lost: none of its members is run.

    `killer` is the member that its worker was running when it died, if that is known.
    """
    order = Order.loaded(payload)
    entries: list[object] = [NOT_RUN] * len(order.members)
    if killer is not None:
        entries[killer] = Interrupted()
    return Box(entries)


def run_alone(payload: bytes, *values: object) -> object:
    """Run a batch of one call and return its plain value, or raise what it raised."""
    return value_of(run_batch(payload, *values).entries[0])


def expose(payload: bytes, index: int, box: Box, *values: object) -> object:
    """Return the plain value of member `index` of `box`, or raise what it raised.

    What follows from a call that failed raises a DependencyError, which names only that one.
    If the call has not been run there, or may be tried again, it runs here; `payload` is the batch
    of that one call and `values` its inputs. If these are lost, it raises an ArgumentLost.
    """
    entry = box.entries[index]
    if isinstance(entry, NotRun) or (isinstance(entry, Failed) and entry.retryable):
        entry = run_batch(payload, *values).entries[0]
    if not isinstance(entry, Blocked):
        return value_of(entry)
    order = Order.loaded(payload)
    (member,) = order.members
    name = order.functions[member.function].name
    if entry.root is None:
        raise ArgumentLost(
            name, "a value that it takes was lost with a worker, just then: compute this again"
        )
    key = call_key(name, order.run, member.number)
    raise DependencyError(key, entry.root.report.key, _rebuilt(entry.root))


class ArgumentLost(WorkerLost):
    """What a call takes was lost before the call got a key of its own; the kernel runs it again."""


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
        raise _rebuilt(entry)
    if isinstance(entry, Joined):
        return entry.in_place()
    raise RuntimeError(f"the call has no value: {entry!r}")


def _rebuilt(entry: Failed) -> BaseException:
    error = entry.record.rebuild()
    attach_report(error, entry)
    return error


def attach_report(error: BaseException, entry: Failed) -> None:
    """Put where it happened on an exception: attribute ``daskflow`` and a note."""
    error.daskflow = entry.report  # type: ignore[attr-defined] # the documented extra attribute
    error.add_note(str(entry.report))


def run_member(
    order: Order, member: Member, values: Sequence[object], entries: Sequence[object]
) -> object:
    """Run one member; `entries` are the outcomes of those before it."""
    spec = order.functions[member.function]
    packed = member.args if isinstance(member.args, bytes) else None
    args: list[object] = list(member.args) if packed is None else []
    kwargs: dict[str, object] = {} if member.kwargs is None else member.kwargs.copy()
    for task, index, place in member.refs:
        if task == SELF:
            entry = entries[index]
        elif task == CONSTANT:
            entry = order.constants[index]
        else:
            entry = _picked(values[task], index)
        if isinstance(entry, Outcome):
            return Blocked(_root_of(entry))
        if packed is not None:
            args.append(entry)
        elif type(place) is str:
            kwargs[place] = entry
        else:
            args[place] = entry  # type: ignore[index] # else it is an int
    arguments = partial(_arguments, spec, args, kwargs, packed)
    return run_call(spec, order.run, member.number, arguments, member.extras or NO_EXTRAS)


def _root_of(entry: Outcome) -> Failed | None:
    if isinstance(entry, Failed):
        return entry
    return entry.root if isinstance(entry, Blocked) else None


def _picked(source: object, member: int) -> object:
    if member == WHOLE:
        return source
    assert isinstance(source, Box)
    return source.entries[member]


def _arguments(
    spec: FunctionSpec, args: Sequence[object], kwargs: Mapping[str, object], packed: bytes | None
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Open the arguments of a call, afresh for each try; in `packed` they stand for `args`."""
    try:
        opened = [value.load() if type(value) is wire.Pickled else value for value in args]
        if packed is not None:
            positional, named = with_values(packed, opened)[:2]
            return positional, named
        named = {name: wire.opened(value) for name, value in kwargs.items()} if kwargs else kwargs
        return opened, named
    except Exception as error:
        raise DeserializationError(
            f"the arguments of app {spec.name!r} cannot be unpickled on this worker: "
            f"{type(error).__name__}: {error}"
        ) from error
