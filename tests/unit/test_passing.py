"""Which values nobody but the next call can ask for."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest

from daskflow.futures.appfuture import AppFuture
from daskflow.graph.arguments import Packed
from daskflow.graph.call import AppSpec, Call, Options, State
from daskflow.graph.passing import passed_on


def plain(*_args: Any) -> None:
    """Do nothing."""


STEP = AppSpec("step", "python", plain, Options())
JOIN = AppSpec("join", "join", plain, Options())
OTHER = AppSpec("other", "python", plain, Options())


def recorded(number: int, *args: Any, app: AppSpec = STEP, **kwargs: Any) -> AppFuture:
    values = [*args, *kwargs.values()]
    parents = tuple(dict.fromkeys(v.call for v in values if isinstance(v, AppFuture)))
    call = Call(
        number,
        app,
        tuple(a.call if isinstance(a, AppFuture) else a for a in args),
        {k: v.call if isinstance(v, AppFuture) else v for k, v in kwargs.items()} or None,
        parents,
        app.options,
    )
    return AppFuture(call)


def numbers(calls: list[Call], *apps: AppSpec) -> list[int]:
    return sorted(call.number for call in passed_on(calls, set(apps or (STEP,))))


def chain(length: int, **more: Any) -> tuple[list[Call], AppFuture]:
    """Return the calls of a chain of which only the last future is held, and that one."""
    last = recorded(0)
    calls = [last.call]
    for number in range(1, length):
        last = recorded(number, last, **more)
        calls.append(last.call)
    return calls, last


def test_of_a_chain_all_but_the_last_are_passed_on() -> None:
    calls, last = chain(5)
    assert numbers(calls) == [0, 1, 2, 3]
    assert last.call is calls[-1]


def test_so_is_a_keyword_and_what_is_taken_twice() -> None:
    calls = [recorded(0).call]
    calls.append(recorded(1, calls[0].future, again=calls[0].future).call)
    calls.append(recorded(2, x=calls[1].future).call)
    assert numbers(calls) == [0, 1]


def test_and_what_is_in_a_list() -> None:
    first = recorded(0)
    calls = [first.call, Call(1, STEP, None, None, (first.call,), Options())]
    calls[1].args = Packed(b"", (first.call,))
    del first
    assert numbers(calls) == [0]


def keep_future(call: Call) -> Any:
    return call.future


def keep_call(call: Call) -> Any:
    return [call]


def keep_weakly(call: Call) -> Any:
    return weakref.ref(call.future)


def add_callback(call: Call) -> Any:
    call.future.callbacks = [print]


def use_elsewhere(call: Call) -> Any:
    return recorded(100, call.future)


def ask_for_an_item(call: Call) -> Any:
    return Call(100, OTHER, (call, "item"), None, (call,), Options())


def build_a_graph(call: Call) -> Any:
    return call.future.dask


@pytest.mark.parametrize(
    ("ask", "others"),
    [
        (keep_future, [0, 2]),
        (keep_call, [0, 2]),
        (keep_weakly, [0, 2]),
        (add_callback, [0, 2]),
        (use_elsewhere, [0, 2]),
        (ask_for_an_item, [0, 2]),
        (build_a_graph, [2]),  # which has in it what comes before
    ],
)
def test_what_somebody_else_can_ask_for_is_not(
    ask: Callable[[Call], Any], others: list[int]
) -> None:
    calls, _last = chain(4)
    kept = ask(calls[1])
    assert numbers(calls) == others
    del kept


def test_nor_what_two_calls_take() -> None:
    calls, _last = chain(3)
    calls.append(recorded(3, calls[0].future).call)
    assert numbers(calls) == [1]


def test_nor_if_the_next_call_is_sent_another_time() -> None:
    calls, _last = chain(4)
    later = calls.pop()
    assert numbers(calls) == [0, 1]
    assert later.number == 3


@pytest.mark.parametrize(("state", "found"), [(State.DONE, [0]), (State.SUBMITTED, [])])
def test_nor_if_that_waits_for_something_else(state: State, found: list[int]) -> None:
    other = recorded(10, app=OTHER)
    other.call.state = state
    calls = [recorded(0).call]
    calls.append(recorded(1, calls[0].future, other).call)
    assert numbers(calls) == found


def test_nor_a_join_nor_another_app() -> None:
    calls = [recorded(0, app=JOIN).call]
    calls.append(recorded(1, calls[0].future, app=OTHER).call)
    calls.append(recorded(2, calls[1].future).call)
    assert numbers(calls, STEP, JOIN) == []


def test_nor_what_has_no_future_any_more() -> None:
    calls, _last = chain(2)
    calls[0].future = None
    assert numbers(calls) == []
