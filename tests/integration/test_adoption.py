"""Calls recorded before a kernel is loaded become the kernel's, whatever was built on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import pytest

import daskflow
from daskflow import python_app


@pytest.fixture
def loaded(without_kernel: None, tmp_path: Path) -> Callable[[], Any]:
    @contextmanager
    def load() -> Iterator[Any]:
        config = daskflow.Config(
            executors=[daskflow.ThreadExecutor(max_threads=2)],
            run_dir=str(tmp_path / "runinfo"),
            dashboard=False,
        )
        with daskflow.load(config) as kernel:
            yield kernel

    return load


@pytest.fixture
def chain(runs: Any) -> Callable[[], Any]:
    """Make a future of three calls, one of them with a dask collection among its arguments."""

    @python_app
    def step(x: Any, *more: Any) -> Any:
        runs.count("step")
        return x + sum(more)

    def counted(x: int) -> int:
        runs.count("delayed")
        return x

    return lambda: step(step(step(1)), dask.delayed(counted)(2), da.arange(4, chunks=2).sum())


ONCE = {"step": 3, "delayed": 1}


def test_a_future_made_before_has_its_value_under_the_kernel(
    loaded: Any, chain: Any, runs: Any
) -> None:
    future = chain()
    with loaded():
        assert future.result() == 9
    assert future.result() == 9
    assert runs.all() == ONCE


def test_leaving_the_block_runs_what_was_recorded_before(
    loaded: Any, chain: Any, runs: Any
) -> None:
    future = chain()
    with loaded():
        pass
    assert future.result() == 9
    assert runs.all() == ONCE


@pytest.mark.parametrize(
    "build",
    [
        dask.delayed(lambda x: x),
        lambda f: dask.delayed(max)([f, f]),
        lambda f: da.from_delayed(f, (), dtype=int),
    ],
    ids=["delayed", "list", "array"],
)
def test_what_was_built_before_runs_each_call_once(
    build: Any, loaded: Any, chain: Any, runs: Any
) -> None:
    future = chain()
    built = build(future)
    dict(built.dask)
    with loaded():
        assert built.compute() == 9
        assert future.result() == 9
    assert runs.all() == ONCE


def test_what_was_computed_before_is_not_run_again(loaded: Any, chain: Any, runs: Any) -> None:
    future = chain()
    built = dask.delayed(lambda x: x + 1)(future)
    assert future.compute(scheduler="sync") == 9
    with loaded():
        assert built.compute() == 10
        assert python_app(lambda x: x)(future).result() == 9
    assert runs.all() == ONCE


def test_what_a_kernel_has_run_is_not_run_again_without_one(
    loaded: Any, chain: Any, runs: Any
) -> None:
    with loaded():
        future = chain()
        built = dask.delayed(lambda x: x + 1)(future)
        assert future.result() == 9
    assert built.compute(scheduler="sync") == 10
    assert built.compute(scheduler="threads") == 10
    assert runs.all() == ONCE


def test_another_kernel_takes_values_of_the_first(loaded: Any, chain: Any, runs: Any) -> None:
    with loaded():
        future = chain()
        assert future.result() == 9
    with loaded():
        assert python_app(lambda x: x + 1)(future).result() == 10
        assert dask.delayed(lambda x: x + 1)(future).compute() == 10
    assert runs.all() == ONCE
