"""Arguments that are not ours, in numbers: calls that take them are packed and held as any others."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.bag as db
import pytest
from distributed import get_worker

import daskflow
from daskflow import Config, DataFlowKernel, DependencyError, LocalExecutor, python_app

CALLS = 300


@pytest.fixture(scope="module")
def packing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFlowKernel]:
    config = Config(
        executors=[LocalExecutor(workers=1, threads_per_worker=4, memory_limit=0)],
        batch=True,
        run_dir=str(tmp_path_factory.mktemp("runinfo")),
        dashboard=False,
    )
    with daskflow.load(config) as kernel:
        # What the first call in a process costs says nothing of the others.
        for _ in range(12):
            daskflow.gather([with_task.options(batch=False)(None) for _ in range(4)])
        yield kernel


@python_app
def with_task(value: Any) -> tuple[Any, str]:
    """Return the value, and the Dask task in which this call ran."""
    return value, get_worker().get_current_task()


@python_app
def same(value: Any) -> Any:
    return value


def ended(value: Any) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_result(value)
    return future


def test_calls_with_plain_futures_share_tasks(packing: DataFlowKernel) -> None:
    results = daskflow.gather([with_task(ended(i)) for i in range(CALLS)])
    assert [value for value, _ in results] == list(range(CALLS))
    assert len({task for _, task in results}) <= CALLS / 10


def test_calls_whose_plain_futures_end_later_share_tasks(packing: DataFlowKernel) -> None:
    theirs: list[concurrent.futures.Future[int]] = [
        concurrent.futures.Future() for _ in range(CALLS)
    ]
    ours = [with_task([future, theirs[0]]) for future in theirs]
    daskflow.submit(*ours)
    for i, future in enumerate(theirs):
        future.set_result(i)
    results = daskflow.gather(ours)
    assert [value for value, _ in results] == [[i, 0] for i in range(CALLS)]
    assert len({task for _, task in results}) <= CALLS / 2


def test_calls_with_one_collection_share_tasks(packing: DataFlowKernel) -> None:
    bag = db.from_sequence(range(4), npartitions=2).sum()
    results = daskflow.gather([with_task([bag, i]) for i in range(CALLS)])
    assert [value for value, _ in results] == [[6, i] for i in range(CALLS)]
    assert len({task for _, task in results}) <= CALLS / 10


def test_calls_with_collections_of_every_kind_get_each_its_own(packing: DataFlowKernel) -> None:
    bags = [db.from_sequence([i, 1], npartitions=1).sum() for i in range(20)]
    delayed = [dask.delayed(int)(i) for i in range(20)]
    pairs = [same([b, d]) for b, d in zip(bags, delayed, strict=True)]
    assert daskflow.gather(pairs) == [[i + 1, i] for i in range(20)]


def test_one_collection_that_cannot_travel_fails_its_own_calls_alone(
    packing: DataFlowKernel,
) -> None:
    bad = dask.delayed(id)(threading.Lock())
    calls = [same(dask.delayed(int)(i)) for i in range(5)]
    failing = same(bad)
    with pytest.raises(DependencyError):
        failing.result()
    assert daskflow.gather(calls) == list(range(5))


def test_a_call_waits_for_its_own_collections_only(packing: DataFlowKernel, tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    def blocked(path: str) -> str:
        return Path(path).read_text()

    slow = same(dask.delayed(blocked)(fifo))
    fast = [same(dask.delayed(int)(i)) for i in range(10)]
    daskflow.submit(slow)
    assert daskflow.gather(fast) == list(range(10))
    assert not slow.done()
    Path(fifo).write_text("go")
    assert slow.result() == "go"


def test_a_collection_begins_while_calls_that_it_is_built_on_run(
    packing: DataFlowKernel, tmp_path: Path
) -> None:
    gate, begun = str(tmp_path / "gate"), str(tmp_path / "begun")
    os.mkfifo(gate)
    os.mkfifo(begun)

    @python_app
    def opened(path: str | None) -> str:
        return Path(path).read_text() if path is not None else "nothing"

    def tell(text: str, path: str | None) -> str:
        if path is not None:
            Path(path).write_text("begun")
        return text

    calls = [opened(gate), *(opened(None) for _ in range(11))]
    told = [*[None] * 11, begun]
    whole = same([dask.delayed(tell)(*each) for each in zip(calls, told, strict=True)])
    daskflow.submit(whole)
    assert Path(begun).read_text() == "begun"  # or this would wait for ever: the gate is shut
    Path(gate).write_text("through")
    assert whole.result() == ["through", *["nothing"] * 11]


def test_a_collection_built_on_many_new_calls_runs_each_once(
    packing: DataFlowKernel, runs: Any
) -> None:
    @python_app
    def part(i: int) -> list[int]:
        runs.count(str(i))
        return [i]

    parts = [part(same(i)) for i in range(60)]
    total = same(db.from_delayed(parts).sum())
    assert total.result() == sum(range(60))
    assert daskflow.gather(parts) == [[i] for i in range(60)]
    assert set(runs.all().values()) == {1}


def test_a_collection_built_on_calls_that_fail_and_are_tried_again_has_their_values(
    packing: DataFlowKernel, runs: Any
) -> None:
    @python_app(retries=daskflow.Retry(attempts=3, backoff_s=0.01))
    def flaky(i: int) -> int:
        runs.count(str(i))
        if runs[str(i)] < 3:
            raise OSError("again")
        return i

    @python_app
    def after(i: int) -> int:
        return i

    total = same(dask.delayed(sum)([after(flaky(i)) for i in range(4)]))
    assert total.result() == 6
    assert set(runs.all().values()) == {3}


def test_what_needs_a_call_that_cannot_be_sent_does_not_run_without_it(
    packing: DataFlowKernel,
) -> None:
    broken = same(ended(threading.Lock()))
    alone = same.options(batch=False)(1)
    both = same([broken, alone])  # a batch of its own
    with pytest.raises(daskflow.SerializationError):
        broken.result()
    with pytest.raises(DependencyError):
        both.result()


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_collection_survives_the_worker_of_a_call_that_it_is_built_on(
    where: str, packing: DataFlowKernel, tmp_path: Path
) -> None:
    died = str(tmp_path / "died")

    @python_app
    def dies_once(value: int, here: bool) -> int:
        if here and not Path(died).exists():
            Path(died).write_text("once")
            os._exit(1)
        return value

    @python_app
    def follows(value: int, here: bool) -> int:
        if here and not Path(died).exists():
            Path(died).write_text("once")
            os._exit(1)
        return value + 1

    calls = [follows(dies_once(i, where == "before"), where == "after") for i in range(1)]
    whole = same(dask.delayed(sum)(calls))
    assert whole.result(timeout=60) == 1
    assert daskflow.gather(calls) == [1]
