"""Fingerprints: whether a function or class is the same here and in another process.

A worker may hold a module as it was before the user edited it. The fingerprint covers the code, its
defaults, and what it refers to in the user's own modules: functions, classes and plain constants.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

_INSTALLED = tuple(
    {
        path
        for name in ("stdlib", "platstdlib", "purelib", "platlib")
        if (path := sysconfig.get_paths().get(name))
    }
)
_INSTALLED_FOLDERS = ("/site-packages/", "/dist-packages/")
_OURS = ("daskflow", "jobqueue_sites")
_PLAIN = (int, float, complex, bool, str, bytes, type(None))
_MOST_ITEMS = 1000


def is_users(module: ModuleType | None) -> bool:
    """Tell whether a module is the user's own code, not something installed."""
    if module is None:
        return True
    if module.__name__.split(".")[0] in _OURS:
        return False
    file = vars(module).get("__file__")
    if file is None:
        return vars(module).get("__spec__") is None
    return isinstance(file, str) and not _is_installed(file, module.__name__)


@functools.cache
def _is_installed(file: str, name: str) -> bool:
    """Tell whether a module's file was put there by an installer, also for another prefix.

    Packages may lie in the user's own site-packages, in those of another interpreter that PYTHONPATH
    names, or in any folder that ``pip install --target`` was given.
    """
    if file.startswith(_INSTALLED) or any(folder in file for folder in _INSTALLED_FOLDERS):
        return True
    path = Path(file)
    steps = name.count(".") + (path.stem == "__init__")
    if steps >= len(path.parents):
        return False
    try:
        with os.scandir(path.parents[steps]) as entries:
            return any(entry.name.endswith(".dist-info") for entry in entries)
    except OSError:
        return False


def fingerprint(target: Any) -> str:
    """Return a hash of a function or class that does not depend on where its file lies."""
    digest = hashlib.sha256()
    seen: set[int] = set()
    stack = [target]
    while stack:
        each = stack.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, type):
            parts = _parts_of_class(each)
            digest.update(repr([name for name, _ in parts]).encode())
            stack.extend(part for _, part in parts)
        elif isinstance(code := getattr(each, "__code__", None), CodeType):
            names = set(_feed(digest.update, code))
            digest.update(repr((each.__defaults__, each.__kwdefaults__)).encode())
            stack.extend(_referred(each, names, digest.update))
    return digest.hexdigest()[:16]


def _parts_of_class(cls: type) -> list[tuple[str, Any]]:
    found = []
    for name, value in vars(cls).items():
        parts = [value, *(getattr(value, at, None) for at in ("fget", "fset", "__func__"))]
        found += [(name, part) for part in parts if isinstance(part, FunctionType)]
    bases = [("<base>", base) for base in cls.__bases__ if _is_users_own(base)]
    return sorted(found, key=lambda part: part[0]) + bases


def _feed(update: Callable[[bytes], None], code: CodeType) -> Iterator[str]:
    """Hash a code object and those in it; yield the global names that they use."""
    update(code.co_code)
    update(repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _feed(update, constant)
        elif isinstance(constant, frozenset):
            update(repr(sorted(map(repr, constant))).encode())
        else:
            update(repr(constant).encode())


def _referred(function: Any, names: set[str], update: Callable[[bytes], None]) -> Iterator[Any]:
    """Hash the constants that a function uses; yield the user's functions and classes."""
    spaces = [getattr(function, "__globals__", {})]
    spaces += [
        vars(value)
        for name in names
        if isinstance(value := spaces[0].get(name), ModuleType) and is_users(value)
    ]
    for space in spaces:
        for name in sorted(names & space.keys()):
            value = space[name]
            value = getattr(value, "func", value) if _is_users_own(value) else value
            if _is_constant(value):
                update(f"{name}={_text(value)}".encode())
            elif isinstance(value, type | FunctionType) and _is_users_own(value):
                yield value


def _is_users_own(value: Any) -> bool:
    module = getattr(value, "__module__", None)
    return isinstance(module, str) and is_users(sys.modules.get(module))


def _is_constant(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset | dict):
        parts = [*value, *value.values()] if isinstance(value, dict) else [*value]
        return len(parts) <= _MOST_ITEMS and all(isinstance(part, _PLAIN) for part in parts)
    return isinstance(value, _PLAIN)


def _text(value: Any) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, set | frozenset) else repr(value)
