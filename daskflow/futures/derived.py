"""Futures of items, attributes and operator results of another future's value.

Each is a call of a small app that runs only when somebody demands it.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from daskflow.futures.recording import process, recorder
from daskflow.graph.arguments import capture
from daskflow.graph.call import AppSpec, Call, Options

if TYPE_CHECKING:
    from daskflow.futures.appfuture import AppFuture

_OPTIONS = Options()
_BINARY = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and_",
    "or_",
    "xor",
    "matmul",
    "lt",
    "le",
    "gt",
    "ge",
]
_REFLECTED = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "lshift",
    "rshift",
    "and_",
    "or_",
    "xor",
    "matmul",
]
_UNARY = ["neg", "pos", "abs", "invert"]


def attribute(future: AppFuture, name: str) -> AppFuture:
    """Return the future of ``value.name``."""
    return _derived(_GETATTR, future, name)


def item(future: AppFuture, key: Any) -> AppFuture:
    """Return the future of ``value[key]``."""
    return _derived(_GETITEM, future, key)


def applied(future: AppFuture, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AppFuture:
    """Return the future of ``value(*args, **kwargs)``."""
    return _derived(_CALL, future, args, kwargs)


def bind_operators(cls: type[Any]) -> None:
    """Give `cls` the operators of numbers and arrays; ``==`` stays identity."""
    for name in _BINARY:
        spec = _spec(name.strip("_"), getattr(operator, name))
        setattr(cls, f"__{name.strip('_')}__", lambda self, other, s=spec: _derived(s, self, other))
    for name in _REFLECTED:
        spec = _spec(f"r{name.strip('_')}", getattr(operator, name))
        setattr(
            cls, f"__r{name.strip('_')}__", lambda self, other, s=spec: _derived(s, other, self)
        )
    for name in _UNARY:
        spec = _spec(name, getattr(operator, name))
        setattr(cls, f"__{name}__", lambda self, s=spec: _derived(s, self))


def nearly(name: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that is one edit (letter more, less, other, or swapped) from `name`."""
    return next((k for k in sorted(known) if _one_edit(name, k)), None)


def _one_edit(a: str, b: str) -> bool:
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    if len(a) == len(b):
        wrong = [i for i in range(len(a)) if a[i] != b[i]]
        if len(wrong) == 1:
            return True
        return (
            len(wrong) == 2  # two neighbours swapped
            and wrong[1] == wrong[0] + 1
            and a[wrong[0]] == b[wrong[1]]
            and a[wrong[1]] == b[wrong[0]]
        )
    shorter, longer = sorted((a, b), key=len)
    return any(longer[:i] + longer[i + 1 :] == shorter for i in range(len(longer)))


def _apply(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return func(*args, **kwargs)


def _spec(name: str, func: Callable[..., Any]) -> AppSpec:
    return AppSpec(name, "python", func, _OPTIONS, derived=True)


_GETATTR = _spec("getattr", builtins.getattr)
_GETITEM = _spec("getitem", operator.getitem)
_CALL = _spec("call", _apply)


def _derived(spec: AppSpec, *args: Any) -> AppFuture:
    from daskflow.futures.appfuture import AppFuture  # a cycle

    captured, kwargs, parents = capture(args, {}, process.literals)
    call = Call(next(process.numbers), spec, captured, kwargs, parents, spec.options)
    call.owner = recorder()
    return AppFuture(call)
