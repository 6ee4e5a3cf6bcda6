"""What a batch keeps of values that only one of its members can see."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from daskflow.graph.call import AppSpec, Call, Options, State
from daskflow.graph.lower import lower_batch, new_batch
from daskflow.graph.specs import SpecMaker
from daskflow.worker.batch import run_batch, run_batch_again
from daskflow.worker.handback import LONG_S, Claims, HandBack
from daskflow.worker.outcome import TAKEN, Box, Failed, LargeBox, NotRun

RUN = "0123456789abcdef"


def load(number: int) -> Any:
    return np.full(2**21, number, dtype="u1")


def step(array: Any) -> Any:
    return array + 1


def look(array: Any) -> int:
    return int(array[0])


def fail(_array: Any) -> None:
    raise ValueError("no")


def make_call(number: int, func: Any, arg: Any) -> Call:
    parents = (arg,) if isinstance(arg, Call) else ()
    app = AppSpec(func.__name__, "python", func, Options())
    call = Call(number, app, (arg,), None, parents, app.options)
    call.state = State.SUBMITTED
    return call


def payload_of(calls: list[Call], passed: list[Call]) -> bytes:
    batch = new_batch(RUN, 0, calls)
    payload: bytes = lower_batch(batch, RUN, SpecMaker(), set(passed)).args[0]
    return payload


def kinds(box: Box) -> list[str]:
    return [type(entry).__name__ for entry in box.entries]


def chain(*functions: Any) -> list[Call]:
    calls = [make_call(0, load, 3)]
    for number, func in enumerate(functions, 1):
        calls.append(make_call(number, func, calls[-1]))
    return calls


def test_a_value_goes_once_it_was_taken() -> None:
    calls = chain(step, step)
    box = run_batch(payload_of(calls, calls[:-1]))
    assert box.entries[:2] == [TAKEN, TAKEN]
    assert look(box.entries[2]) == 5
    assert type(box) is LargeBox
    calls = chain(step, step, look)
    assert run_batch(payload_of(calls, calls[:-1])).entries == [TAKEN, TAKEN, TAKEN, 5]


def test_a_value_stays_if_what_took_it_failed() -> None:
    calls = chain(step, fail, look)
    box = run_batch(payload_of(calls, calls[:-1]))
    assert kinds(box) == ["Taken", "ndarray", "Failed", "NotRun"]


def test_values_that_wait_for_their_turn_are_kept_and_end_the_batch() -> None:
    loads = [make_call(i, load, i) for i in range(5)]
    looks = [make_call(5 + i, look, each) for i, each in enumerate(loads)]
    box = run_batch(payload_of([*loads, *looks], loads))
    assert kinds(box) == ["ndarray", *["NotRun"] * 9]


def test_a_lost_batch_is_run_to_its_end_and_keeps_all() -> None:
    calls = chain(step, step, step)
    box = run_batch_again(payload_of(calls, calls[:-1]))
    assert [look(entry) for entry in box.entries] == [3, 4, 5, 6]


def test_that_a_value_was_taken_is_told_together_with_what_took_it() -> None:
    told: list[HandBack] = []
    entries: list[object] = [1, TAKEN, 2]
    claims = Claims(
        key="batch",
        entries=entries,
        members=6,
        app_of=lambda _: "app",
        spent=dict,
        tell=lambda message: told.append(pickle.loads(message[1])),
        shown=memoryview(bytearray(8)).cast("q"),
    )
    assert claims.begin(3, 0.0)
    assert not claims.look(2 * LONG_S)
    assert [(each.first, each.ended, each.revoked_from) for each in told] == [(0, (1,), 4)]


def test_marks_are_one_object_wherever_they_come_from() -> None:
    assert pickle.loads(pickle.dumps([TAKEN])) == [TAKEN]
    assert not isinstance(TAKEN, NotRun | Failed)
