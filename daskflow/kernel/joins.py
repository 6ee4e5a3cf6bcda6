"""Join apps: what a body recorded travels home, and becomes calls of the kernel there.

::

    worker: run_body ──► the body calls apps ──► Joined(description)
    client: rebuilt  ──► inner calls, recorded as any other; the outer call has the values of those
                         that the body returned

Nothing waits on a worker: not for the inner calls, nor for the body's thread.
"""

from __future__ import annotations

import io
import itertools
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import cloudpickle

from daskflow.errors import CapturedFutureError, JoinError, NoDataFlowKernelError
from daskflow.futures.appfuture import AppFuture
from daskflow.futures.local import run_here
from daskflow.futures.recording import key_of, process, recording_in
from daskflow.graph.arguments import Foreign, Literal, Packed
from daskflow.graph.call import AppSpec, Call, CallReference, State
from daskflow.graph.functions import Shipped, reference, travelling
from daskflow.worker.attempt import AUTO_FOLDER
from daskflow.worker.outcome import Joined


class Inner(NamedTuple):
    """Stands for inner call `place` in a description."""

    place: int


@dataclass(frozen=True, slots=True)
class Description:
    """What a join body recorded: its calls, parents first, and the futures it returned.

    Each call is (which of `apps`, which of `options`, are the arguments packed, they, keywords, extras).
    Apps and options are pickles: the same bytes for all calls with the same, which are opened once.
    """

    apps: tuple[bytes, ...]
    options: tuple[bytes, ...]
    calls: tuple[tuple[Any, ...], ...]
    returned: Any


def run_body(body: Callable[[], object]) -> Joined:
    """Run a join app's body and describe what it recorded (on a worker)."""
    recorder = _BodyRecorder()
    with recording_in(recorder):
        returned = body()
    _check_returned(returned)
    return Joined(recorder.described(returned), expand_in_place)


def _check_returned(returned: object, inside: str = "") -> None:
    if isinstance(returned, AppFuture):
        return
    if isinstance(returned, list | tuple):
        parts: list[object] = list(returned)
    elif isinstance(returned, dict):
        parts = list(returned.values())
    else:
        raise TypeError(
            "the body of a join app must return a future, or a list, tuple or dict of futures, "
            f"not {inside}{type(returned).__name__}"
        )
    for part in parts:
        _check_returned(part, f"a {type(returned).__name__} with ")


class _BodyRecorder:
    """Records the calls of one join body."""

    def __init__(self) -> None:
        self._calls: list[Call] = []

    def record(self, call: Call) -> None:
        call.owner = self
        self._calls.append(call)

    def adopt(self, call: Call) -> None:
        self.record(call)

    def demand(self, call: Call) -> None:
        self.check_may_wait()

    def check_may_wait(self) -> None:
        raise NoDataFlowKernelError(
            "a future is demanded inside a join app's body, which only says what is to run: "
            "return the future, or give it to another app"
        )

    def cancel(self, call: Call) -> bool:
        return False

    def fetch(self, call: Call) -> Any:
        raise NoDataFlowKernelError("a join app's body has no values")

    def wire_task(self, call: Call) -> Any:
        raise NoDataFlowKernelError("the futures of a join app's body belong to no dask graph")

    def was_shown(self, error: BaseException) -> None:
        """Nothing fails while a body records."""

    def log_folder(self) -> str:
        return AUTO_FOLDER

    def described(self, returned: object) -> bytes:
        """Return the pickled `Description`."""
        calls = list(_with_unrecorded(self._calls, returned))
        places = {id(call): Inner(index) for index, call in enumerate(calls)}
        apps: dict[bytes, int] = {}
        options: dict[bytes, int] = {}
        records = []
        for call in calls:
            app = apps.setdefault(_shipped(call.app), len(apps))
            chosen = options.setdefault(_shipped_options(call), len(options))
            records.append((app, chosen, *_captured(call, places), call.extras))
        described = Description(tuple(apps), tuple(options), tuple(records), returned)
        buffer = io.BytesIO()
        _DescriptionPickler(buffer, places).dump(described)
        return buffer.getvalue()


def _with_unrecorded(calls: list[Call], returned: object) -> Iterator[Call]:
    """Yield all calls, parents first; futures of items and attributes are not recorded when made."""
    seen: set[int] = set()
    roots = [*calls, *(future.call for future in _futures_in(returned))]
    for root in roots:
        stack = [root]
        while stack:
            call = stack[-1]
            missing = [p for p in call.parents if id(p) not in seen and id(p) != id(call)]
            if id(call) in seen or not missing:
                stack.pop()
                if id(call) not in seen:
                    seen.add(id(call))
                    yield call
            else:
                stack.extend(missing)


def _futures_in(returned: Any) -> Iterator[AppFuture]:
    if isinstance(returned, AppFuture):
        yield returned
    elif isinstance(returned, dict):
        for part in returned.values():
            yield from _futures_in(part)
    else:
        for part in returned:
            yield from _futures_in(part)


def _captured(call: Call, places: dict[int, Inner]) -> tuple[bool, Any, dict[str, Any] | None]:
    def placed(value: Any) -> Any:
        if type(value) is not Call:
            return value
        if id(value) not in places:
            raise CapturedFutureError(
                f"a call of {call.app.name!r} in a join body takes the future of a call of "
                f"{value.app.name!r} that was made outside it"
            )
        return places[id(value)]

    if isinstance(call.args, Packed):
        slots = tuple((s.data,) if isinstance(s, Literal) else placed(s) for s in call.args.slots)
        return True, (call.args.data, slots), None
    kwargs = {k: placed(a) for k, a in call.kwargs.items()} if call.kwargs else None
    return False, tuple([placed(a) for a in call.args]), kwargs


def _shipped(app: AppSpec) -> bytes:
    """Return the pickle of `app`, its function as bytes in it, so that it need not be opened on its way."""
    known = _shipped_apps.get(app)
    if known is None:
        func = app.func
        if not isinstance(func, Shipped):
            where = reference(func)
            func = Shipped(where, travelling(func, app.name, where))
        shipped = AppSpec(app.name, app.kind, func, app.options, app.runner, app.derived)
        known = _shipped_apps[app] = cloudpickle.dumps(shipped, protocol=5)
    return known


def _shipped_options(call: Call) -> bytes:
    """Return the pickle of the options of a call, b"" if they are its app's."""
    return (
        cloudpickle.dumps(call.options, protocol=5) if call.options is not call.app.options else b""
    )


_shipped_apps: WeakKeyDictionary[AppSpec, bytes] = WeakKeyDictionary()


@lru_cache(maxsize=1000)
def _opened(data: bytes) -> Any:
    """Open the pickle of an app or of options: one object for all bodies, so calls may share tasks."""
    return pickle.loads(data)


class _DescriptionPickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    def __init__(self, buffer: io.BytesIO, places: dict[int, Inner]):
        super().__init__(buffer, protocol=5)
        self._places = places

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, CallReference):
            return Inner, tuple(self._places[id(obj.call)])
        if isinstance(obj, Foreign):
            if isinstance(obj.source, Future):
                raise CapturedFutureError(
                    "a join body gives a plain future to an app: it cannot travel"
                )
            return Foreign, (obj.source,)
        return super().reducer_override(obj)


def rebuilt(
    description: bytes, number_of: Callable[[int], int] | None = None
) -> tuple[list[Call], Any]:
    """Make the inner calls of a description, and return them with what the body returned.

    `number_of` numbers them by their place; by default they are numbered as any other calls.
    """
    described: Description = pickle.loads(description)
    apps = [_opened(data) for data in described.apps]
    chosen = [_opened(data) if data else None for data in described.options]
    calls: list[Call] = []
    for place, (app, options, is_packed, args, kwargs, extras) in enumerate(described.calls):
        number = number_of(place) if number_of is not None else next(process.numbers)
        captured, named, parents = _rebuilt_arguments(calls, is_packed, args, kwargs)
        call = Call(
            number, apps[app], captured, named, parents, chosen[options] or apps[app].options
        )
        call.extras = extras
        AppFuture(call)
        calls.append(call)
    return calls, map_leaves(described.returned, lambda leaf: calls[leaf.place])


def _rebuilt_arguments(
    calls: Sequence[Call], is_packed: bool, args: Any, kwargs: dict[str, Any] | None
) -> tuple[Any, dict[str, Any] | None, tuple[Call, ...]]:
    def called(value: Any) -> Any:
        return calls[value.place] if type(value) is Inner else value

    if is_packed:
        data, slots = args
        opened = tuple(
            Literal(slot[0], next(_literal_numbers)) if type(slot) is tuple else called(slot)
            for slot in slots
        )
        return Packed(data, opened), None, tuple([s for s in opened if type(s) is Call])
    made = tuple([called(a) for a in args])
    named = {k: called(a) for k, a in kwargs.items()} if kwargs else None
    parents = tuple([a for a in (*made, *(named or {}).values()) if type(a) is Call])
    return made, named, parents


# Literals of join bodies are numbered apart from those of the process.
_literal_numbers = itertools.count(2**40)


def map_leaves(structure: Any, leaf: Callable[[Any], Any]) -> Any:
    """Return what a body returned with ``leaf(call)`` in place of each of its calls."""
    if type(structure) in (Inner, Call):
        return leaf(structure)
    if isinstance(structure, dict):
        return {k: map_leaves(part, leaf) for k, part in structure.items()}
    if isinstance(structure, tuple) and hasattr(structure, "_fields"):
        return type(structure)(*(map_leaves(part, leaf) for part in structure))
    if isinstance(structure, tuple):
        return tuple(map_leaves(part, leaf) for part in structure)
    return [map_leaves(part, leaf) for part in structure]


def leaves(returned: Any) -> list[Call]:
    """Return the calls whose values make up a join's value."""
    found: list[Call] = []
    map_leaves(returned, found.append)
    return found


def join_value(returned: Any, value_of: Callable[[Call], object]) -> object:
    """Return the value of a join from the values of its `leaves`."""
    return map_leaves(returned, value_of)


def join_failure(key: str, inner: list[Call]) -> JoinError | None:
    """Return the error of a join some of whose inner calls failed, None if all succeeded."""
    failed = [call for call in inner if call.state is not State.DONE]
    if not failed:
        return None
    first = failed[0]
    return JoinError(key, key_of(first), first.value, others=len(failed) - 1)


def expand_in_place(description: bytes) -> object:
    """Run what a join body recorded, here and now (without a kernel); return the join's value."""
    calls, returned = rebuilt(description)
    for call in calls:
        call.owner = process.pool
    for call in calls:
        try:
            run_here(call, {})
        except Exception:  # it is the call's own failure, found below  # noqa: BLE001 # it becomes the call's own failure
            continue
    failure = join_failure("(in place)", leaves(returned))
    if failure is not None:
        raise failure
    return join_value(returned, user_value)


def user_value(call: Call) -> object:
    """Return the value of a call that has ended well."""
    return AppFuture(call).result()
