"""When calls are submitted, how many are on their way at once, and graphs of any depth."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest

import daskflow
from daskflow import Config, LocalExecutor, python_app
from tests.integration.jobqueue_sites.machine import until

Configs = Callable[..., Config]


@python_app
def add(x: int, y: int = 1) -> int:
    return x + y


@python_app
def total(values: list[int]) -> int:
    return sum(values)


@python_app
def told(started: str) -> str:
    Path(started).write_text(".")
    return "ran"


def ended(value: int) -> concurrent.futures.Future[int]:
    future: concurrent.futures.Future[int] = concurrent.futures.Future()
    future.set_result(value)
    return future


@pytest.fixture
def submissions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Watch a kernel's client: the number of tasks in each graph that is submitted."""
    sizes: list[int] = []
    from distributed import Client

    get = Client.get

    def watched(self: Any, graph: Any, *args: Any, **kwargs: Any) -> Any:
        sizes.append(len(dict(graph)))
        return get(self, graph, *args, **kwargs)

    monkeypatch.setattr(Client, "get", watched)
    return sizes


def test_nothing_is_submitted_before_somebody_demands_it(
    threads: Configs, submissions: list[int]
) -> None:
    with daskflow.load(threads()):
        futures = [add(x) for x in range(20)]
        for future in futures:
            assert "recorded" in repr(future)
            assert not future.running()
            assert hasattr(future, "result")
        assert submissions == []
        assert add(futures[3]).result() == 5
        assert len(submissions) >= 1


def test_one_demand_submits_all_that_was_recorded_as_one_graph(
    threads: Configs, submissions: list[int]
) -> None:
    with daskflow.load(threads(batch=False)):
        futures = [add(x) for x in range(50)]
        folded = total(futures)
        assert futures[7].result() == 8
        assert submissions == [51]
        assert folded.result() == sum(range(1, 51))
        assert daskflow.gather(futures) == list(range(1, 51))
        assert submissions == [51]


def test_recording_many_calls_submits_them_as_they_come(threads: Configs) -> None:
    ended = threading.Semaphore(0)
    with daskflow.load(threads(submit_every=100)):
        futures = [add(x) for x in range(250)]
        # Nobody has demanded anything: adding a callback to the first ones would be demand.
        until(lambda: {f.task_status() for f in futures[:200]} <= {"launched", "exec_done"})
        assert {f.task_status() for f in futures[200:]} == {"recorded"}
        for future in futures:
            future.add_done_callback(lambda _: ended.release())
        for _ in futures:
            assert ended.acquire(timeout=60)


def test_an_eager_kernel_runs_calls_that_nobody_demands(
    threads: Configs, fifo: Callable[[str], str]
) -> None:
    pipe = fifo("started")
    with daskflow.load(threads(submit="eager", max_threads=4)):
        with open(pipe, "r+b", buffering=0) as told_by:  # noqa: PTH123 # both ends: nobody waits
            futures = [told(pipe) for _ in range(30)]
            seen = 0
            while seen < 30:
                seen += len(told_by.read(30))
    assert {f.result() for f in futures} == {"ran"}


def test_never_more_tasks_are_in_flight_than_allowed(threads: Configs) -> None:
    most = 0

    def look(kernel: Any) -> None:
        nonlocal most
        most = max(most, len(kernel._dispatcher.outstanding))

    with daskflow.load(threads(max_in_flight=7, batch=False)) as kernel:
        futures = [add(x) for x in range(300)]
        for future in futures:
            future.add_done_callback(lambda _: look(kernel))
        assert daskflow.gather(futures) == list(range(1, 301))
    assert 1 <= most <= 7


@pytest.mark.parametrize("source", [ended, dask.delayed(int)], ids=["futures", "collections"])
def test_calls_with_arguments_of_others_keep_the_window_too(
    source: Callable[[int], Any], threads: Configs
) -> None:
    most = 0

    def look(kernel: Any) -> None:
        nonlocal most
        most = max(most, len(kernel._dispatcher.outstanding))

    with daskflow.load(threads(max_in_flight=7, batch=False)) as kernel:
        futures = [add(source(x)) for x in range(60)]
        for future in futures:
            future.add_done_callback(lambda _: look(kernel))
        assert daskflow.gather(futures) == list(range(1, 61))
    assert 1 <= most <= 7


def test_many_calls_pass_a_narrow_window(config: Configs) -> None:
    with daskflow.load(config(max_in_flight=50)) as kernel:
        futures = [add(x) for x in range(20_000)]
        daskflow.submit()
        assert len(kernel._dispatcher.outstanding) <= 50
        assert daskflow.gather(futures) == list(range(1, 20_001))


def test_what_is_no_future_cannot_be_submitted(threads: Configs) -> None:
    with daskflow.load(threads()):
        futures = [add(x) for x in range(3)]
        with pytest.raises(TypeError, match=r"submit\(\*futures\)"):
            daskflow.submit(futures)  # type: ignore[arg-type] # the mistake
        daskflow.submit(*futures)
        assert daskflow.gather(futures) == [1, 2, 3]


def test_a_graph_with_dependencies_passes_a_window_of_one(threads: Configs) -> None:
    with daskflow.load(threads(max_in_flight=1, batch=False)):
        layers = [[add(x) for x in range(10)]]
        for _ in range(3):
            layers.append([add(a, b) for a, b in zip(layers[-1], layers[-1][::-1], strict=True)])
        assert total(layers[-1]).result() == sum(range(1, 11)) * 8


@pytest.mark.parametrize("settings", [{}, {"max_in_flight": 50}, {"submit": "eager"}])
def test_a_chain_of_20000_calls_works_and_becomes_few_tasks(
    config: Configs, settings: dict[str, Any], tasks_sent: list[str]
) -> None:
    with daskflow.load(config(batch=True, **settings)):
        link = add(0)
        for _ in range(19_999):
            link = add(link)
        assert link.result() == 20_000
    # An eager kernel sends what there is: a few calls each time, where recording is slow.
    assert len(tasks_sent) < (10_000 if settings.get("submit") == "eager" else 2_000)


def test_a_deep_chain_that_never_ran_is_given_up_without_recursion(threads: Configs) -> None:
    kernel = daskflow.load(threads(submit_every=100_000))
    link = add(0)
    for _ in range(20_000):
        link = add(link)
    assert kernel.close() == 20_001
    del link


def test_a_fold_of_100000_futures_into_one_list_works(config: Configs) -> None:
    executors = [LocalExecutor(workers=2, memory_limit=0)]
    with daskflow.load(config(executors=executors, batch=True)):
        futures = [add(x) for x in range(100_000)]
        assert total(futures).result() == sum(range(1, 100_001))
