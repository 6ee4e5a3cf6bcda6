"""The function of an app, made ready to travel (the other half of `daskflow.worker.functions`)."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle

from daskflow.errors import CapturedFutureError, SerializationError
from daskflow.graph.call import CallReference
from daskflow.worker import wire
from daskflow.worker.fingerprint import fingerprint, is_users
from daskflow.worker.functions import found_or

Reference = tuple[str, str, str]
by_value: ContextVar[bool] = ContextVar("by_value", default=False)
"""Set while a function is pickled for workers that may not have its module."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """A function that is not unpickled here: what a worker needs to get hold of it."""

    reference: Reference | None
    body: bytes | None

    def __call__(self, *_args: object, **_kwargs: object) -> object:
        """Refuse: it only passes through this process."""
        raise TypeError("this function only passes through this process")


def reference(func: Callable[..., Any]) -> Reference | None:
    """Return (module, qualified name, fingerprint) if a worker could import `func`, else None.

    The name may stand for an app whose function is `func`.
    """
    module, qualname = getattr(func, "__module__", None), getattr(func, "__qualname__", "<none>")
    if not module or module == "__main__" or "<" in qualname:
        return None
    target: Any = sys.modules.get(module)
    if target is None or getattr(target, "__spec__", None) is None:
        return None
    for part in qualname.split("."):
        target = getattr(target, part, None)
    if target is not func and getattr(target, "func", None) is not func:
        return None
    return module, qualname, fingerprint(func)


def travelling(func: Callable[..., Any], name: str, where: Reference | None) -> bytes | None:
    """Return the pickle of `func` by value, or None if its `reference` alone will do.

    Raises
    ------
    CapturedFutureError
        It holds an AppFuture in its closure or a global.
    SerializationError
        It cannot be pickled, and there is no reference either.
    """
    if where is not None and not is_users(sys.modules.get(where[0])):
        return None
    try:
        with _modules_by_value():
            return _FunctionPickler(name).pickled(func)
    except CapturedFutureError:
        raise
    except Exception as error:
        if where is not None:
            return None
        raise wire.unpicklable(func, f"the function of app {name!r}", error) from error


class _FunctionPickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    def __init__(self, name: str):
        self._buffer = io.BytesIO()
        super().__init__(self._buffer, protocol=5)
        self._name = name

    def pickled(self, func: Callable[..., Any]) -> bytes:
        self.dump(func)
        return self._buffer.getvalue()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, CallReference):
            raise CapturedFutureError(
                f"the function of app {self._name!r} uses the future of a call of "
                f"{obj.call.app.name!r} from its closure or a global: pass it as an argument"
            )
        return super().reducer_override(obj)


class UsersPickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """Pickles values so that they open where the modules of their functions and classes are missing."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type | FunctionType) and (spare := _spare(obj)) is not None:
            return found_or, spare
        return super().reducer_override(obj)


def pickled(value: object) -> bytes:
    """Return the pickle of a value by a `UsersPickler`."""
    buffer = io.BytesIO()
    UsersPickler(buffer, protocol=5).dump(value)
    return buffer.getvalue()


def _spare(target: Any) -> tuple[str, str, str, bytes] | None:
    """Return where a function or class of the user's is to be found, and its pickle by value.

    None for any other, and if it has no pickle by value.
    """
    if by_value.get() or not is_users(sys.modules.get(target.__module__)):
        return None
    known = _spares.get(target)
    if known is None and (where := reference(target)) is not None:
        try:
            with _modules_by_value():
                known = (*where, cloudpickle.dumps(target, protocol=5))
        except Exception:  # noqa: BLE001 # whatever a user's module holds; the reference may do
            return None
        _spares[target] = known
    return known


_spares: WeakKeyDictionary[Any, tuple[str, str, str, bytes]] = WeakKeyDictionary()


@contextmanager
def _modules_by_value() -> Iterator[None]:
    """Let cloudpickle take everything in the user's own modules by value."""
    modules = [
        module
        for name, module in list(sys.modules.items())
        if type(module) is ModuleType
        and name != "__main__"
        and is_users(module)
        and name not in cloudpickle.list_registry_pickle_by_value()
    ]
    token = by_value.set(True)
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)
        by_value.reset(token)


__all__ = ["Reference", "SerializationError", "by_value", "pickled", "reference", "travelling"]
