"""Calls under ``scheduler="processes"``: Dask's pool runs them, and the futures here have their values."""

from __future__ import annotations

from typing import Any

import dask
import pytest

from daskflow import python_app
from daskflow.graph.call import State


@python_app
def counted(x: Any, runs: Any) -> Any:
    runs.count(str(x))
    return x


@python_app
def together(x: int, y: int) -> int:
    return x + y


def computed(collection: Any) -> Any:
    return dask.compute(collection, scheduler="processes", num_workers=1)[0]


@pytest.mark.usefixtures("without_kernel")
def test_a_call_and_what_it_needs_are_resolved_and_run_once(runs: Any) -> None:
    one, two = counted(1, runs), counted(2, runs)
    three = together(one, two)
    assert computed(dask.delayed(float)(three)) == 3.0
    assert [f.call.state for f in (one, two, three)] == [State.DONE] * 3
    assert (one.result(), three.result(), computed(three)) == (1, 3, 3)
    assert runs.all() == {"1": 1, "2": 1}


@pytest.mark.usefixtures("without_kernel")
def test_a_call_that_fails_raises_and_is_left_open() -> None:
    bad = together(1, "x")
    with pytest.raises(TypeError, match="unsupported operand"):
        computed(bad)
    assert bad.task_status() == "recorded"


def test_under_a_kernel_the_kernel_runs_the_call(kernel: Any, runs: Any) -> None:
    one = counted(1, runs)
    assert computed(dask.delayed(float)(one)) == 1.0
    assert one.result() == 1
    assert runs.all() == {"1": 1}
