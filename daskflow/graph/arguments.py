"""The arguments of a call, captured when it is called.

Whatever happens to the caller's lists afterwards, the call gets what they held then. Atoms and
futures are kept as they are; anything else becomes one pickle, in which a numbered slot stands for
each future, dask collection and large literal, wherever it lies: in lists, dict keys, dataclasses,
objects of the user's classes.

::

    f(2, other)          args (2, <Call other>)                parents (other,)
    f([other, big])      Packed(pickle, (other, Literal))      parents (other,)
"""

from __future__ import annotations

import concurrent.futures
import io
import pickle
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any
from weakref import WeakValueDictionary

from dask import is_dask_collection

from daskflow.errors import SerializationError
from daskflow.graph.call import Call, CallReference
from daskflow.graph.functions import UsersPickler
from daskflow.worker import wire
from daskflow.worker.attempt import argument


class Literal:
    """A large argument, pickled once for all calls that take it."""

    __slots__ = ("__weakref__", "data", "number", "remote")

    def __init__(self, data: bytes, number: int):
        self.data = data
        self.number = number
        self.remote: Any = None


class Foreign:
    """An argument that is somebody else's future or a dask collection.

    `resolved` is what the kernel made of it, `local` what it is in a graph without a kernel: each a
    `Bound` value.
    """

    __slots__ = ("local", "resolved", "source")

    def __init__(self, source: Any):
        self.source = source
        self.resolved: Any = None
        self.local: Any = None

    @property
    def is_future(self) -> bool:
        """Whether it is a plain future, whose value is to come in this process."""
        return isinstance(self.source, concurrent.futures.Future)

    @property
    def is_dask_future(self) -> bool:
        """Whether it is a future of distributed."""
        return _is_dask_future(self.source)


Slot = Call | Literal | Foreign


class Packed:
    """Arguments as one pickle with slots."""

    __slots__ = ("data", "slots")

    def __init__(self, data: bytes, slots: tuple[Slot, ...]):
        self.data = data
        self.slots = slots


class Literals:
    """The large arguments that recorded calls hold, found again by identity and content."""

    def __init__(self) -> None:
        self._by_identity: WeakValueDictionary[int, Literal] = WeakValueDictionary()
        self._count = 0

    def shared(self, value: object, data: bytes) -> Literal:
        """Return the literal for `value`, whose pickle is `data`.

        The content is compared, so an object that was changed between two calls counts as another.
        """
        literal = self._by_identity.get(id(value))
        if literal is None or literal.data != data:
            self._count += 1
            literal = Literal(data, self._count)
            self._by_identity[id(value)] = literal
        return literal


def capture(
    args: tuple[Any, ...], kwargs: dict[str, Any], literals: Literals, also: object = ()
) -> tuple[tuple[Any, ...] | Packed, dict[str, Any] | None, tuple[Call, ...]]:
    """Return the arguments of a call as they are kept, and the calls they need.

    What is in `also` must be there before the call runs, but does not reach its function.

    Raises
    ------
    SerializationError
        An argument cannot be pickled; it is named by position or keyword.
    """
    parents: list[Call] = []
    if (
        not also
        and _all_simple(args, parents)
        and (not kwargs or _all_simple(kwargs.values(), parents))
    ):
        if parents:
            args = tuple([a.call if isinstance(a, CallReference) else a for a in args])
            kwargs = {k: a.call if isinstance(a, CallReference) else a for k, a in kwargs.items()}
        return args, kwargs or None, tuple(parents)
    packed = _pack(args, kwargs, literals, also)
    return packed, None, tuple([slot for slot in packed.slots if type(slot) is Call])


def _all_simple(values: Iterable[Any], parents: list[Call]) -> bool:
    """Tell whether each value is an atom or a future, and collect the calls of the futures."""
    for value in values:
        kind = type(value)
        if kind in wire.ATOMS:
            if (kind is str or kind is bytes) and len(value) >= wire.LARGE_BYTES:
                return False
        elif isinstance(value, CallReference) and value.means_value:
            parents.append(value.call)
        else:
            return False
    return True


def _pack(
    args: tuple[Any, ...], kwargs: dict[str, Any], literals: Literals, also: object
) -> Packed:
    pickler = _ArgumentPickler(literals)
    try:
        data = pickler.pickled((args, kwargs, also) if also else (args, kwargs))
    except Exception as error:
        raise _blame(args, kwargs, literals, error) from error
    if len(data) < wire.LARGE_BYTES:
        return Packed(data, tuple(pickler.slots))
    # Something large that is no array: find it among the arguments, so that it is shipped once.
    pickler = _ArgumentPickler(literals)
    lighter_args = tuple(_lightened(a, literals, pickler) for a in args)
    lighter_kwargs = {k: _lightened(a, literals, pickler) for k, a in kwargs.items()}
    return Packed(pickler.pickled((lighter_args, lighter_kwargs, also)), tuple(pickler.slots))


def _lightened(value: object, literals: Literals, pickler: _ArgumentPickler) -> object:
    alone = _ArgumentPickler(literals)
    data = alone.pickled(value)
    if alone.slots or len(data) < wire.LARGE_BYTES:
        return value
    return pickler.slot(literals.shared(value, data))


class _SlotMark:
    __slots__ = ("index",)

    def __init__(self, index: int):
        self.index = index

    def __reduce__(self) -> tuple[Callable[[int], object], tuple[int]]:
        return argument, (self.index,)


def _second(_first: object, second: object) -> object:
    return second


class _ArgumentPickler(UsersPickler):
    """Pickles arguments; futures, collections and large arrays become slots."""

    def __init__(self, literals: Literals):
        self._buffer = io.BytesIO()
        super().__init__(self._buffer, protocol=5)
        self._literals = literals
        self.slots: list[Slot] = []

    def pickled(self, value: object) -> bytes:
        self.dump(value)
        return self._buffer.getvalue()

    def slot(self, content: Slot) -> _SlotMark:
        for index, known in enumerate(self.slots[-64:], max(0, len(self.slots) - 64)):
            if known is content:
                return _SlotMark(index)
        self.slots.append(content)
        return _SlotMark(len(self.slots) - 1)

    def reducer_override(self, obj: Any) -> Any:
        # Small arrays are common and pickle themselves; cloudpickle's look at their parts costs most.
        home = obj.__module__ if type(obj) is FunctionType else type(obj).__module__
        if (home == "numpy" or (home or "").startswith("numpy.")) and not wire.is_raw(obj):
            return NotImplemented
        if isinstance(obj, CallReference):
            mark = self.slot(obj.call)
            if obj.means_value:
                return mark.__reduce__()
            return _second, (mark, obj.substitute())
        if isinstance(obj, concurrent.futures.Future) or _is_dask_future(obj):
            return self.slot(Foreign(obj)).__reduce__()
        if _is_collection(obj):
            return self.slot(Foreign(obj)).__reduce__()
        if wire.is_raw(obj) and obj.nbytes >= wire.LARGE_BYTES:
            literal = self._literals.shared(obj, pickle.dumps(obj, protocol=5))
            return self.slot(literal).__reduce__()
        return super().reducer_override(obj)


def _is_dask_future(obj: object) -> bool:
    kind = type(obj)
    return kind.__name__ == "Future" and kind.__module__ == "distributed.client"


def _is_collection(obj: object) -> bool:
    return hasattr(type(obj), "__dask_graph__") and is_dask_collection(obj)


def _blame(
    args: tuple[Any, ...], kwargs: dict[str, Any], literals: Literals, error: Exception
) -> SerializationError:
    named = [(f"argument {i}", a) for i, a in enumerate(args)]
    named += [(f"argument {k!r}", a) for k, a in kwargs.items()]
    for name, value in named:
        try:
            _ArgumentPickler(literals).pickled(value)
        except Exception as own:  # noqa: BLE001 # blamed on the argument
            return wire.unpicklable(value, name, own)
    return SerializationError(f"the arguments cannot be pickled: {error}")
