"""A call's way to its worker and back waits for nothing that the kernel can help."""

from __future__ import annotations

import gc
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import distributed
import pytest

import daskflow
from daskflow import Config, LocalExecutor, ThreadExecutor, python_app
from daskflow.executors.prompt import INTERVAL_S
from daskflow.futures.recording import process
from daskflow.worker.news import NEWS_TOPIC


@python_app
def same(x: Any) -> Any:
    return x


def intervals_of_scheduler(dask_scheduler: Any) -> list[float]:
    streams = [*dask_scheduler.stream_comms.values(), *dask_scheduler.client_comms.values()]
    return [stream.interval for stream in streams]


def interval_of_worker(dask_worker: Any) -> float:
    interval: float = dask_worker.batched_stream.interval
    return interval


def test_all_streams_of_a_kernels_own_processes_send_soon(config: Callable[..., Config]) -> None:
    executors = [
        LocalExecutor(workers=2, memory_limit=0),
        ThreadExecutor(label="threads", max_threads=1),
    ]
    with daskflow.load(config(executors=executors)) as kernel:
        client = kernel.client
        client.wait_for_workers(3)
        found = [
            client.scheduler_comm.interval,
            *client.run_on_scheduler(intervals_of_scheduler),
            *client.run(interval_of_worker).values(),
        ]
    assert found == [INTERVAL_S] * (1 + 4 + 3)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_and_client_of_others_are_left_as_they_are(config: Callable[..., Config]) -> None:
    with (
        distributed.LocalCluster(
            n_workers=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        before = client.scheduler_comm.interval, intervals_of_scheduler(cluster.scheduler)
        with daskflow.load(config(executors=[daskflow.ExistingExecutor(client)])):
            assert same(1).result() == 1
            now = client.scheduler_comm.interval, intervals_of_scheduler(cluster.scheduler)
    assert now == before


def listeners(dask_scheduler: Any, topic: str) -> int:
    return len(dask_scheduler._broker._topics[topic].subscribers)


def test_small_outcomes_come_as_news_and_large_ones_are_fetched(kernel: Any) -> None:
    news: list[str] = []
    own = kernel.client
    with distributed.Client(own.scheduler.address, security=own.security) as listener:
        topic = NEWS_TOPIC + process.run
        listener.subscribe_topic(topic, lambda event: news.append(pickle.loads(event[1])[0]))
        until(lambda: own.run_on_scheduler(listeners, topic=topic) == 2)
        assert len(same("x" * 300_000).result()) == 300_000
        assert same("small").result() == "small"
        with pytest.raises(ZeroDivisionError):
            python_app(lambda: 1 / 0)().result()
        until(lambda: len(news) == 2)
    assert [key.split("-")[0] for key in news] == ["same", "lambda"]


@python_app
def zeros(length: int) -> Any:
    import numpy as np

    return np.zeros(length)


@python_app
def length_of(values: Any) -> int:
    return len(values)


def bytes_kept(dask_worker: Any) -> int:
    return sum(value.__sizeof__() for value in dask_worker.data.values())


def test_a_large_value_leaves_its_worker_once_nobody_can_ask_for_it(kernel: Any) -> None:
    """Not only when the garbage collector finds a cycle."""
    gc.disable()
    try:
        array = zeros(200_000)
        for _ in range(3):
            array = same(array)
        length = length_of(array)
        assert length.result() == 200_000
        until(lambda: sum(kernel.client.run(bytes_kept).values()) < 2_000_000)
        assert len(array.result()) == 200_000
        del array
        until(lambda: sum(kernel.client.run(bytes_kept).values()) < 200_000)
    finally:
        gc.enable()


def until(is_so: Callable[[], bool], within_s: float = 20) -> None:
    end_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end_s, "it did not come to that"
        time.sleep(0.02)


@python_app
def read(path: str) -> str:
    return Path(path).read_text()


def test_a_call_is_sent_while_the_end_of_its_argument_is_just_being_noted(
    kernel: Any, fifo: Callable[[str], str]
) -> None:
    """All that came in while the kernel's thread was held up is handled in one go."""
    is_held, may_go_on = threading.Event(), threading.Event()

    def hold(_: Any) -> None:
        is_held.set()
        may_go_on.wait(20)

    apart = {"batch": False}
    first, second = same.options(**apart)("first"), read.options(**apart)(path := fifo("second"))
    first.add_done_callback(hold)
    assert is_held.wait(20)
    Path(path).write_text("second")
    dispatcher, thirds = kernel._dispatcher, []

    def record_and_send() -> None:
        thirds.append(same.options(**apart)(second))
        dispatcher.flush()

    came_in = dispatcher.completions._queue
    until(lambda: came_in.qsize() == 2)  # its outcome, and that it has ended
    dispatcher.completions.call_soon(record_and_send)
    may_go_on.set()
    until(lambda: bool(thirds))
    assert thirds[0].result(timeout=20) == "second"
