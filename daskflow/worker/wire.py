"""How values travel: pickled once where they are made, opened afresh by each call that takes them.

A value that is immutable, or large and handled well by Dask itself (arrays), travels as it is; any
other becomes a `Pickled`, so that two calls on one worker never share a mutable object by accident
and a value that cannot be pickled is noticed where it was made, with its name.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from types import NoneType

import cloudpickle

from daskflow.errors import SerializationError

ATOMS = frozenset({int, float, bool, complex, str, bytes, NoneType})
LARGE_BYTES = 2**20
MESSAGE_BYTES = 2**18
"""Outcomes up to this size go home in a message by way of the scheduler, which passes it on."""
# Above this size an array is left to Dask, which moves its buffer without a copy.
_RAW_ARRAY_BYTES = 2**16


class Pickled:
    """A value as pickle bytes."""

    __slots__ = ("data",)

    def __init__(self, data: bytes):
        self.data = data

    def load(self) -> object:
        """Return a fresh copy of the value."""
        return pickle.loads(self.data)

    def __reduce__(self) -> tuple[type[Pickled], tuple[bytes]]:
        return Pickled, (self.data,)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + len(self.data)


def dumps(value: object) -> bytes:
    """Pickle `value`; functions and classes of ``__main__`` go by value (cloudpickle)."""
    try:
        data = pickle.dumps(value, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        data = b"__main__"
    if b"__main__" in data:
        data = cloudpickle.dumps(value, protocol=5)
    return data


def packed(value: object, what: str, pickled: Callable[[object], bytes] = dumps) -> object:
    """Return `value` in the form in which it travels; `what` names it in an error.

    Raises
    ------
    SerializationError
        `value`, or something in it, cannot be pickled.
    """
    if type(value) in ATOMS or is_raw(value):
        return value
    try:
        return Pickled(pickled(value))
    except Exception as error:
        raise unpicklable(value, what, error) from error


def opened(value: object) -> object:
    """Return the user's value from its travelling form."""
    return value.load() if type(value) is Pickled else value


def is_raw(value: object) -> bool:
    """Tell whether `value` is a large array, which Dask moves best."""
    size = getattr(value, "nbytes", None)
    if type(size) is not int or size < _RAW_ARRAY_BYTES or type(value) in (memoryview, bytearray):
        return False
    return not getattr(getattr(value, "dtype", None), "hasobject", True)


def size_bytes(value: object) -> int:
    """Estimate the size of a value in its travelling form, in bytes."""
    kind = type(value)
    if kind is int or kind is float:
        return 32
    if kind is Pickled:
        return len(value.data)  # type: ignore[attr-defined] # narrowed by type(), not isinstance
    if kind is str or kind is bytes:
        return len(value)  # type: ignore[arg-type] # narrowed by type(), not isinstance
    size = getattr(value, "nbytes", 32)
    return size if type(size) is int else 32


def unpicklable(value: object, what: str, error: Exception) -> SerializationError:
    """Describe which part of `value` (called `what`) cannot be pickled."""
    where, culprit = _culprit(value, what)
    return SerializationError(
        f"{where}, a {type(culprit).__module__}.{type(culprit).__qualname__}, cannot be pickled: "
        f"{type(error).__name__}: {error}"
    )


def _culprit(value: object, where: str, depth: int = 0) -> tuple[str, object]:
    if depth < 4:
        for name, part in _parts(value, where):
            try:
                dumps(part)
            except Exception:  # noqa: BLE001 # user code
                return _culprit(part, name, depth + 1)
    return where, value


def _parts(value: object, where: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield f"{where}[{key!r}]", part
    elif isinstance(value, list | tuple | set | frozenset):
        for index, part in enumerate(value):
            yield f"{where}[{index}]", part
    elif isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, type):
        for name, part in vars(value).items():
            yield f"{where}.{name}", part
