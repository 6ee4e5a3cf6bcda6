"""A collection made of futures waits for calls that their batch may hand back."""

from __future__ import annotations

import threading

import dask
import dask.bag as db

import daskflow
from daskflow import python_app


@python_app
def slow(x: int) -> int:
    # Long enough that the batch gives up what waits behind it.
    threading.Event().wait(0.02)
    return x


@python_app
def gathered(values: list[int]) -> list[int]:
    return list(values)


@python_app
def added_up(values: list[int]) -> int:
    return sum(values)


def test_as_the_argument_of_an_app(kernel: daskflow.DataFlowKernel) -> None:
    parts = [gathered([slow(n) for n in range(40)]) for _ in range(4)]
    assert added_up(db.from_delayed(parts)).result() == 4 * sum(range(40))


def test_in_dask_compute(kernel: daskflow.DataFlowKernel) -> None:
    parts = [gathered([slow(n) for n in range(40)]) for _ in range(4)]
    assert dask.compute(db.from_delayed(parts).sum()) == (4 * sum(range(40)),)
