"""The function of an app, made ready to travel (the other half of `daskflow.worker.functions`)."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
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
        return _FunctionPickler(name).pickled(func)
    except CapturedFutureError:
        raise
    except Exception as error:
        if where is not None:
            return None
        raise wire.unpicklable(func, f"the function of app {name!r}", error) from error


class _ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """Pickles a function or class by value, and all that it uses of the user's own modules.

    A module is registered with cloudpickle when something of it comes by: looking through all
    modules beforehand would take longer than a call's way to its worker.
    """

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._registered: list[ModuleType] = []
        super().__init__(self._buffer, protocol=5)

    def pickled(self, target: object) -> bytes:
        token = by_value.set(True)
        try:
            self.dump(target)
        finally:
            for module in self._registered:
                cloudpickle.unregister_pickle_by_value(module)
            by_value.reset(token)
        return self._buffer.getvalue()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, ModuleType):
            self._take_by_value(obj)
        elif isinstance(obj, type | FunctionType):
            self._take_by_value(sys.modules.get(obj.__module__))
        return super().reducer_override(obj)

    def _take_by_value(self, module: ModuleType | None) -> None:
        if (
            type(module) is ModuleType
            and module.__name__ != "__main__"
            and module.__name__ in sys.modules
            and is_users(module)
            and module.__name__ not in cloudpickle.list_registry_pickle_by_value()
        ):
            cloudpickle.register_pickle_by_value(module)
            self._registered.append(module)


class _FunctionPickler(_ByValuePickler):
    def __init__(self, name: str):
        super().__init__()
        self._name = name

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
            known = (*where, _ByValuePickler().pickled(target))
        except Exception:  # noqa: BLE001 # whatever a user's module holds; the reference may do
            return None
        _spares[target] = known
    return known


_spares: WeakKeyDictionary[Any, tuple[str, str, str, bytes]] = WeakKeyDictionary()


__all__ = ["Reference", "SerializationError", "by_value", "pickled", "reference", "travelling"]
