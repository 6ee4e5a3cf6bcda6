"""Calls without a kernel: Dask's own schedulers run them, resolve their futures, and load nothing."""

from __future__ import annotations

import concurrent.futures
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import numpy as np
import pytest

import daskflow
from daskflow import bash_app, join_app, python_app

Pair = namedtuple("Pair", "left right")


@pytest.fixture(params=["sync", "threads"], autouse=True)
def scheduler(request: pytest.FixtureRequest, without_kernel: None) -> Any:
    with dask.config.set(scheduler=request.param):
        yield request.param


@python_app
def same(x: Any, **kwargs: Any) -> Any:
    return x


@python_app
def add(x: int, y: int) -> int:
    return x + y


@python_app
def fail(text: str) -> None:
    raise ValueError(text)


def finished(value: Any) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_result(value)
    return future


SOURCES = {
    "AppFuture": lambda: add(1, 2),
    "item": lambda: same([1, 2, 3])[2],
    "plain future": lambda: finished(3),
    "Delayed": lambda: dask.delayed(int)(3),
    "Array": lambda: da.arange(3, chunks=2).sum(),
    "Bag": lambda: db.from_sequence([1, 2], npartitions=2).sum(),
    "large literal": lambda: np.full(2**20, 3)[:1].repeat(2**18),
}


@pytest.mark.parametrize("source", SOURCES)
def test_arguments_of_all_kinds_arrive_computed(source: str) -> None:
    value = SOURCES[source]()
    got = same([{"k": (value,)}]).compute()[0]["k"][0]
    assert np.all(np.asarray(got) == 3)


def test_a_foreign_argument_survives_that_a_graph_was_looked_at(runs: Any) -> None:
    def counted() -> int:
        runs.count()
        return 3

    future = same([dask.delayed(counted)()])
    assert len(future.__dask_graph__()) == 2
    assert future.compute() == [3]
    assert future.result() == [3]
    assert runs["run"] == 1


def test_computing_resolves_the_future_and_all_before_it() -> None:
    first = add(1, 2)
    second = add(first, first)
    assert dask.compute(second) == (6,)
    assert (first.task_status(), second.task_status()) == ("exec_done", "exec_done")
    assert (first.result(), second.result(), second.exception()) == (3, 6, None)
    assert second.done()


def test_a_failure_is_the_exception_of_its_call_and_a_dependency_error_downstream() -> None:
    failed = fail("why")
    after = add(failed, 1)
    last = same([after])
    with pytest.raises(ValueError, match="why"):
        last.compute()
    error = last.exception()
    assert isinstance(error, daskflow.DependencyError)
    assert isinstance(error.__cause__, ValueError)
    assert error.path == (after.key, failed.key)
    with pytest.raises(ValueError, match="why") as own:
        failed.result()
    assert own.value.daskflow.app == "fail"
    assert after.task_status() == "dep_fail"
    with pytest.raises(daskflow.DependencyError):
        last.compute()


def test_a_plain_future_that_failed_is_a_failed_dependency() -> None:
    theirs: concurrent.futures.Future[int] = concurrent.futures.Future()
    theirs.set_exception(OSError("theirs"))
    future = same(theirs)
    with pytest.raises(daskflow.DependencyError):
        future.compute()
    assert future.task_status() == "dep_fail"


def test_a_call_is_tried_again_as_its_app_says(runs: Any) -> None:
    @python_app(retries=2)
    def flaky() -> int:
        runs.count()
        if runs["run"] < 3:
            raise OSError("again")
        return runs["run"]

    assert flaky().compute() == 3


def test_a_bash_app_runs_here(tmp_path: Any) -> None:
    @bash_app
    def echo(text: str, stdout: Any = None) -> str:
        return f"echo {text}"

    assert echo("hello", stdout=str(tmp_path / "out")).compute() == 0
    assert (tmp_path / "out").read_text() == "hello\n"


@join_app
def fib(n: int) -> Any:
    return same(n) if n < 2 else add(fib(n - 1), fib(n - 2))


def test_a_recursive_join_runs_here() -> None:
    assert fib(9).compute() == 34


@join_app
def through(x: Any) -> Any:
    return same(x)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda: same(1), 1),
        (lambda: [same(1), same(2)], [1, 2]),
        (lambda: (same(1), same(2)), (1, 2)),
        (lambda: {"a": same(1), "b": [same(2)]}, {"a": 1, "b": [2]}),
        (lambda: [*()], []),
        (lambda: same([7])[0] + 1, 8),
        (lambda: same(dask.delayed(int)(3)), 3),
        (lambda: through(5), 5),
    ],
    ids=["one", "list", "tuple", "dict", "empty", "derived", "delayed", "nested"],
)
def test_a_join_runs_what_its_body_returns(body: Any, expected: Any) -> None:
    future = join_app(body)()
    assert future.compute() == expected
    assert future.result() == expected


def test_a_join_fails_with_its_inner_call() -> None:
    with pytest.raises(daskflow.JoinError) as caught:
        join_app(lambda: [same(1), fail("inner")])().compute()
    assert isinstance(caught.value.__cause__, ValueError)


def test_join_bodies_count_once(runs: Any) -> None:
    @python_app
    def part(x: int) -> int:
        runs.count("part")
        return x

    @join_app
    def body() -> Any:
        runs.count("body")
        return [part(1), part(2)]

    joined = body()
    total = same(joined)
    assert dask.compute(joined, total, dask.delayed(len)(joined)) == ([1, 2], [1, 2], 2)
    assert runs.all() == {"body": 1, "part": 2}


def test_a_cancelled_call_never_runs(runs: Any) -> None:
    @python_app
    def counted() -> None:
        runs.count()

    future = counted()
    after = same(future)
    assert future.cancel()
    assert future.cancelled()
    for demanded in (future.result, future.compute, after.compute):
        with pytest.raises(concurrent.futures.CancelledError):
            demanded()
    assert isinstance(after.exception(), daskflow.DependencyError)
    assert runs.all() == {}
    done = same(1)
    assert done.compute() == 1
    assert not done.cancel()


def test_a_running_call_can_be_cancelled(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    @python_app
    def spin() -> None:
        fifo.write_text("running")
        while True:
            pass

    future = spin()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        computing = pool.submit(future.compute)
        assert fifo.read_text() == "running"
        assert future.running()
        assert future.cancel()
        assert isinstance(computing.exception(60), concurrent.futures.CancelledError)
    assert future.task_status() == "cancelled"


def test_demanding_a_future_inside_a_call_names_join_app() -> None:
    @python_app
    def impatient() -> Any:
        return add(1, 2).result()

    with pytest.raises(daskflow.NoDataFlowKernelError, match="join_app"):
        impatient().compute()


def test_processes_run_calls_too() -> None:
    @python_app
    def pid(_: Any) -> int:
        return os.getpid()

    assert pid(same(1)).compute(scheduler="processes", num_workers=1) != os.getpid()
