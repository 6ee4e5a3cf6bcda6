"""The function of an app on the wire, and how a worker gets hold of it.

A function that lies in a module travels as a reference (module, name, fingerprint of its code) and,
if the module is the user's own, also by value. The worker imports the reference; where the module is
missing there, or holds other code (an edited file), it takes the value.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from daskflow.errors import SerializationError
from daskflow.retries import Retry
from daskflow.worker.fingerprint import fingerprint


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """What a worker must know of an app.

    `name` is the app's name in keys, `reference` is (module, qualified name, fingerprint), `body`
    the pickled function; `retry` the policy for tries on the worker, `ask_home` whether the kernel
    decides about a further try instead. `runner`, if there is one, is called with the function's
    call as argument and runs it (a join app's body is recorded so).
    """

    name: str
    kind: str
    reference: tuple[str, str, str] | None
    body: bytes | None
    retry: Retry | None = None
    ask_home: bool = False
    walltime_s: float | None = None
    isolate: bool = False
    runner: Callable[[Callable[[], object]], object] | None = None


def load_function(spec: FunctionSpec) -> Callable[..., object]:
    """Return the plain function of `spec`.

    Raises
    ------
    SerializationError
        It can neither be imported nor unpickled here.
    """
    try:
        return _loaded(spec.reference, spec.body)
    except Exception as error:
        how = "imported" if spec.body is None else "loaded"
        raise SerializationError(
            f"the function of app {spec.name!r} cannot be {how} on this worker: "
            f"{type(error).__name__}: {error}"
        ) from error


@lru_cache(maxsize=500)
def _loaded(reference: tuple[str, str, str] | None, body: bytes | None) -> Callable[..., object]:
    if reference is not None:
        try:
            return _imported(*reference)
        except Exception:  # whatever importing raises
            if body is None:
                raise
    assert body is not None
    function: Callable[..., object] = pickle.loads(body)
    return function


def found_or(module: str, qualname: str, expected: str, body: bytes) -> Any:
    """Return a function or class of a module; where that is missing or differs, that of `body`."""
    try:
        return _found(module, qualname, expected)
    except Exception:  # noqa: BLE001 # importing the user's module may fail in any way
        return pickle.loads(body)


def _imported(module: str, qualname: str, expected: str) -> Callable[..., object]:
    function: Callable[..., object] = _found(module, qualname, expected)
    if not callable(function):
        raise TypeError(f"{module}.{qualname} is no function")
    return function


def _found(module: str, qualname: str, expected: str) -> Any:
    target: Any = importlib.import_module(module)
    for part in qualname.split("."):
        target = getattr(target, part)
    if not isinstance(target, type):
        target = getattr(target, "func", target)
    if fingerprint(target) != expected:
        raise ImportError(f"{module}.{qualname} has other code on this worker")
    return target
