"""The value of a call under a key of its own, whatever has become of its batch."""

from __future__ import annotations

from typing import Any

import pytest

from daskflow import WorkerLost
from daskflow.graph.call import AppSpec, Call, Options, State
from daskflow.graph.lower import lower_exposed, new_batch
from daskflow.graph.specs import SpecMaker
from daskflow.worker.batch import ArgumentLost, expose
from daskflow.worker.outcome import Blocked, Box, NotRun

RUN = "0123456789abcdef"


def plus_one(x: int) -> int:
    return x + 1


def exposed(own: Box, before: Box) -> Any:
    """Return the value of the second of two calls, given the Boxes of their batches."""
    app = AppSpec("plus_one", "python", plus_one, Options())
    first = Call(0, app, (1,), None, (), app.options)
    second = Call(1, app, (first,), None, (first,), app.options)
    for number, call in enumerate((first, second)):
        call.state = State.SUBMITTED
        new_batch(RUN, number, [call])
    task = lower_exposed(second, "own-key", RUN, SpecMaker())
    return expose(*task.args[:2], own, before)


def test_a_value_is_taken_out_of_its_batch() -> None:
    assert exposed(Box([3]), Box([NotRun()])) == 3


def test_a_call_that_was_not_run_runs() -> None:
    assert exposed(Box([NotRun()]), Box([2])) == 3


@pytest.mark.parametrize("entry", [NotRun(), Blocked(None)])
def test_a_call_whose_argument_was_lost_says_so(entry: object) -> None:
    with pytest.raises(ArgumentLost, match="a value that it takes was lost") as caught:
        exposed(Box([entry]), Box([NotRun()]))
    assert isinstance(caught.value, WorkerLost)
