"""Every call ends: with kernels of its own, of other settings than the shared one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dask
import pytest

import daskflow
from daskflow import Config, LocalExecutor, python_app
from daskflow.worker.running import running_keys, was_cancelled


@python_app
def plus_one(x: Any) -> Any:
    return x + 1


@python_app
def same(x: Any) -> Any:
    return x


def small(tmp_path: Path, **settings: Any) -> Config:
    return Config(
        executors=[LocalExecutor(workers=1, memory_limit=0)],
        run_dir=str(tmp_path),
        dashboard=False,
        **settings,
    )


def test_a_collection_is_computed_by_each_kernel_it_is_given_to(tmp_path: Path) -> None:
    collection = dask.delayed(int)(41)
    for _ in range(2):
        with daskflow.load(small(tmp_path)):
            assert plus_one(collection).result(timeout=30) == 42


def test_items_of_a_future_may_have_another_priority_than_what_takes_them(tmp_path: Path) -> None:
    @python_app(priority=5)
    def urgent(*numbers: int) -> int:
        return sum(numbers)

    with daskflow.load(small(tmp_path, max_in_flight=1)):
        numbers = same([1, 2, 3])
        assert urgent(numbers[0], numbers[1], numbers[2]).result(timeout=30) == 6


def test_a_call_that_is_cancelled_while_its_batch_waits_never_runs(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    @python_app(batch=False)
    def holds_the_worker() -> None:
        fifo.read_text()

    @python_app(batch=10)
    def notes(x: int) -> int:
        (tmp_path / str(x)).touch()
        return x

    with daskflow.load(small(tmp_path / "runs")) as kernel:
        holding = holds_the_worker()
        daskflow.submit()
        while not any(kernel.client.run(running_keys).values()):
            continue
        futures = [notes(x) for x in range(10)]
        daskflow.submit()
        while not futures[3].running():
            continue  # a busy machine takes its time to send it
        assert futures[3].cancel()
        while not all(kernel.client.run(was_cancelled, futures[3].key).values()):
            continue  # the worker has yet to hear of it
        fifo.write_text("go on")
        daskflow.gather([f for f in futures if f is not futures[3]])
        assert holding.result(timeout=30) is None
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [
        0,
        1,
        2,
        4,
        5,
        6,
        7,
        8,
        9,
    ]


def test_the_executor_of_a_call_is_known_after_its_end(tmp_path: Path) -> None:
    executors = [LocalExecutor(label=name, workers=1, memory_limit=0) for name in ("a", "b")]
    config = Config(executors=executors, run_dir=str(tmp_path), dashboard=False)
    with daskflow.load(config):
        future = plus_one.options(executors=["b"])(1)
        assert future.result(timeout=30) == 2
        assert future.executor == "b"


def test_replacing_a_kernel_tells_of_the_calls_it_cancels(tmp_path: Path) -> None:
    daskflow.load(small(tmp_path))
    try:
        forgotten = plus_one(1)
        with pytest.warns(RuntimeWarning, match="1 call was recorded and never run"):
            daskflow.load(small(tmp_path, retries=1), replace=True)
        assert forgotten.cancelled()
    finally:
        daskflow.clear()
