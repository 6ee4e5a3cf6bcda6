"""Fingerprints: the same code has the same, and any edit that matters has another."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from daskflow.worker.fingerprint import fingerprint, is_users

SOURCE = """
import dataclasses

FACTOR = 2
TABLE = {"a": [1]}

def helper(x):
    return FACTOR * x

class Base:
    def of(self, x):
        return helper(x)

class Thing(Base):
    @property
    def name(self):
        return "thing"

def f(x, scale=1):
    return Thing().of(x) * scale

def recursive(n):
    return recursive(n - 1) if n else helper(n)
"""


@pytest.fixture
def load() -> Iterator[Any]:
    made = []

    def make(source: str, file: str = "/home/user/made_up.py") -> ModuleType:
        module = ModuleType("made_up_for_fingerprints")
        module.__file__ = file
        sys.modules[module.__name__] = module
        exec(compile(source, file, "exec"), vars(module))
        made.append(module.__name__)
        return module

    yield make
    for name in made:
        sys.modules.pop(name, None)


def test_the_same_code_has_the_same_fingerprint_wherever_its_file_lies(load: Any) -> None:
    first = fingerprint(load(SOURCE).f)
    assert fingerprint(load("\n\n" + SOURCE, "/elsewhere/made_up.py").f) == first


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("scale=1", "scale=2"),
        ("* scale", "+ scale"),
        ("FACTOR = 2", "FACTOR = 3"),
        ("FACTOR * x", "x * FACTOR * 1.0"),
        ("return helper(x)", "return -helper(x)"),
        ('return "thing"', 'return "other"'),
    ],
)
def test_an_edit_of_what_a_function_uses_changes_its_fingerprint(
    before: str, after: str, load: Any
) -> None:
    first = fingerprint(load(SOURCE).f)
    assert fingerprint(load(SOURCE.replace(before, after)).f) != first


def test_an_edit_of_what_it_does_not_use_does_not(load: Any) -> None:
    first = fingerprint(load(SOURCE).f)
    assert fingerprint(load(SOURCE + "\ndef unrelated():\n    pass\n").f) == first


def test_classes_and_recursion_have_fingerprints(load: Any) -> None:
    module, other = load(SOURCE), None
    first = fingerprint(module.Thing), fingerprint(module.recursive)
    other = load(SOURCE.replace("FACTOR = 2", "FACTOR = 3"))
    assert fingerprint(other.Thing) != first[0]
    assert fingerprint(other.recursive) != first[1]


def test_what_is_installed_is_not_the_users() -> None:
    import json

    import dask

    import daskflow

    assert not is_users(json)
    assert not is_users(sys)
    assert not is_users(dask)
    assert not is_users(daskflow)
    assert is_users(sys.modules[__name__])


@pytest.mark.parametrize(
    "file",
    [
        "/home/me/.local/lib/python3.11/site-packages/{}",
        "/usr/lib/python3/dist-packages/{}",
        "{folder}/with-distributions/{}",
    ],
)
@pytest.mark.parametrize(
    ("name", "path"), [("one", "one.py"), ("pack", "pack/__init__.py"), ("pack.sub", "pack/sub.py")]
)
def test_what_is_installed_elsewhere_is_not_the_users(
    tmp_path: Path, file: str, name: str, path: str
) -> None:
    (tmp_path / "with-distributions" / "one-1.0.dist-info").mkdir(parents=True)
    module = ModuleType(name)
    module.__file__ = file.format(path, folder=tmp_path)
    assert not is_users(module)
    module.__file__ = str(tmp_path / "my-project" / path)
    assert is_users(module)


def test_builtins_have_fingerprints_too() -> None:
    assert fingerprint(len) == fingerprint(len)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/elsewhere/lib/python3.12/site-packages/package/part.py", False),
        ("/usr/lib/python3/dist-packages/package.py", False),
        ("/home/user/site-packages.py", True),
        ("/home/user/project/part.py", True),
    ],
)
def test_what_lies_in_any_folder_of_packages_is_installed(file: str, expected: bool) -> None:
    module = ModuleType("package")
    module.__file__ = file
    assert is_users(module) is expected
