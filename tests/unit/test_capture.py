"""Capturing arguments: what is kept of them, what becomes a slot, and that it comes back as it was."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskflow import SerializationError, python_app
from daskflow.graph.arguments import Literal, Literals, Packed, capture
from daskflow.graph.call import Call
from daskflow.worker import wire
from daskflow.worker.attempt import with_values


@python_app
def number(n: int) -> int:
    return n


def opened(args: Any, kwargs: Any, captured: Any, named: Any) -> Any:
    """Return what a worker makes of captured arguments, each call's value being its number."""
    if not isinstance(captured, Packed):
        pairs = [a.args[0] if isinstance(a, Call) else a for a in captured]
        named_ = {k: a.args[0] if isinstance(a, Call) else a for k, a in (named or {}).items()}
        return tuple(pairs), named_
    values = [
        slot.args[0] if isinstance(slot, Call) else wire.Pickled(slot.data).load()
        for slot in captured.slots
    ]
    return with_values(captured.data, values)


def roundtrip(*args: Any, **kwargs: Any) -> Any:
    captured, named, parents = capture(args, kwargs, Literals())
    assert all(isinstance(parent, Call) for parent in parents)
    return opened(args, kwargs, captured, named)


@dataclasses.dataclass(frozen=True)
class Box:
    content: Any


class Mark:
    """In a made-up structure, stands for the future of the call `number(n)`."""

    def __init__(self, n: int):
        self.n = n

    def __repr__(self) -> str:
        return f"Mark({self.n})"


atoms = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5)
marks = st.integers(0, 5).map(Mark)
structures = st.recursive(
    atoms | marks,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.builds(Box, inner)
    ),
    max_leaves=12,
)


def with_marks(value: Any, replace: Any) -> Any:
    if isinstance(value, Mark):
        return replace(value.n)
    if isinstance(value, list | tuple):
        return type(value)(with_marks(part, replace) for part in value)
    if isinstance(value, dict):
        return {k: with_marks(part, replace) for k, part in value.items()}
    if isinstance(value, Box):
        return Box(with_marks(value.content, replace))
    return value


@settings(deadline=None)
@given(st.lists(structures, max_size=3), st.dictionaries(st.sampled_from("abc"), structures))
def test_whatever_holds_futures_comes_back_with_their_values(
    args: list[Any], kwargs: dict[str, Any]
) -> None:
    made: dict[int, Any] = {}

    def future(n: int) -> Any:
        return made.setdefault(n, number(n))

    given_args = [with_marks(a, future) for a in args]
    given_kwargs = {k: with_marks(a, future) for k, a in kwargs.items()}
    got_args, got_kwargs = roundtrip(*given_args, **given_kwargs)
    assert list(got_args) == [with_marks(a, lambda n: n) for a in args]
    assert got_kwargs == {k: with_marks(a, lambda n: n) for k, a in kwargs.items()}


def test_atoms_and_futures_are_kept_as_they_are() -> None:
    future = number(1)
    captured, named, parents = capture((1, "a", future), {"k": future}, Literals())
    assert captured == (1, "a", future.call)
    assert named == {"k": future.call}
    assert parents == (future.call, future.call)


def test_one_future_in_many_places_is_one_slot() -> None:
    future = number(1)
    captured, _, parents = capture(([future] * 10, {"k": future}), {}, Literals())
    assert isinstance(captured, Packed)
    assert parents == (future.call,)


def test_a_fold_of_very_many_futures_needs_no_recursion_and_no_quadratic_time() -> None:
    futures = number.map(range(20_000))
    (got,), _ = roundtrip(futures)
    assert got == list(range(20_000))


def test_an_array_that_many_calls_take_is_one_literal_until_it_changes() -> None:
    literals, array = Literals(), np.zeros(2**18)
    kept = [capture(([array], i), {}, literals)[0] for i in range(3)]
    slots = {slot for packed in kept for slot in packed.slots}
    assert len(slots) == 1
    array[0] = 1
    changed = capture((array,), {}, literals)[0]
    assert not slots & set(changed.slots)
    assert [type(slot) for slot in changed.slots] == [Literal]


def test_a_literal_goes_with_the_last_call_that_takes_it() -> None:
    literals, array = Literals(), np.zeros(2**18)
    packed = capture((array,), {}, literals)[0]
    assert len(literals._by_identity) == 1
    del packed
    assert len(literals._by_identity) == 0


def test_what_cannot_be_pickled_is_named_by_its_place() -> None:
    import threading

    class Holder:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    with pytest.raises(SerializationError, match=r"argument 1\['a'\]\.lock, a _thread\.lock"):
        capture((1, {"a": Holder()}), {}, Literals())
    with pytest.raises(SerializationError, match=r"argument 'key'\[0\]"):
        capture((), {"key": [threading.Lock()]}, Literals())
