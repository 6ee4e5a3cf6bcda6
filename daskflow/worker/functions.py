"""The function of an app on the wire, and how a worker gets hold of it.

A function that lies in a module travels as a reference (module, name, fingerprint of its code) and,
if the module is the user's own, also by value. The worker imports the reference; where the module is
missing there, or holds other code (an edited file), it takes the value.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType

from daskflow.errors import SerializationError
from daskflow.retries import Retry


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


def fingerprint(function: Callable[..., object]) -> str:
    """Return a hash of a function's code that does not depend on where its file lies."""
    code = getattr(function, "__code__", None)
    digest = hashlib.sha256()
    if code is not None:
        _feed(digest.update, code)
        digest.update(repr((function.__defaults__, function.__kwdefaults__)).encode())
    return digest.hexdigest()[:16]


def _feed(update: Callable[[bytes], None], code: CodeType) -> None:
    update(code.co_code)
    update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _feed(update, constant)
        elif isinstance(constant, frozenset):
            update(repr(sorted(map(repr, constant))).encode())
        else:
            update(repr(constant).encode())


def load_function(spec: FunctionSpec) -> Callable[..., object]:
    """Return the plain function of `spec`.

    Raises
    ------
    SerializationError
        It can neither be imported nor unpickled here.
    """
    identity = (spec.reference, spec.body)
    with _lock:
        function = _loaded.get(identity)
        if function is not None:
            _loaded.move_to_end(identity)
            return function
    function = _load(spec)
    with _lock:
        _loaded[identity] = function
        while len(_loaded) > _KEPT:
            _loaded.popitem(last=False)
    return function


def _load(spec: FunctionSpec) -> Callable[..., object]:
    problem: Exception | None = None
    if spec.reference is not None:
        try:
            return _imported(*spec.reference)
        except Exception as error:  # noqa: BLE001 # whatever importing raises
            problem = error
    if spec.body is not None:
        try:
            function: Callable[..., object] = pickle.loads(spec.body)
        except Exception as error:
            raise SerializationError(
                f"the function of app {spec.name!r} cannot be loaded on this worker: "
                f"{type(error).__name__}: {error}"
            ) from error
        return function
    raise SerializationError(
        f"the function of app {spec.name!r} cannot be imported on this worker: "
        f"{type(problem).__name__}: {problem}"
    ) from problem


def _imported(module: str, qualname: str, expected: str) -> Callable[..., object]:
    target: object = importlib.import_module(module)
    for part in qualname.split("."):
        target = getattr(target, part)
    function = getattr(target, "func", target)
    if not callable(function):
        raise TypeError(f"{module}.{qualname} is no function")
    if fingerprint(function) != expected:
        raise ImportError(f"{module}.{qualname} has other code on this worker")
    return function


_KEPT = 500
_lock = threading.Lock()
_loaded: OrderedDict[object, Callable[..., object]] = OrderedDict()
