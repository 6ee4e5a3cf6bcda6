"""A call's way to its worker and back waits for nothing that the kernel can help."""

from __future__ import annotations

import pickle
from collections.abc import Callable
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


def test_small_outcomes_come_as_news_and_large_ones_are_fetched(kernel: Any) -> None:
    small, large = same("small"), same("x" * 10_000)
    failing = python_app(lambda: 1 / 0)()
    assert [len(v) for v in daskflow.gather([small, large])] == [5, 10_000]
    with pytest.raises(ZeroDivisionError):
        failing.result()
    news = [pickle.loads(m)[0] for _, m in kernel.client.get_events(NEWS_TOPIC + process.run)]
    assert len(news) == len(set(news))
    names = [key.split("-")[0] for key in news]
    assert "lambda" in names
    assert same("again").result() == "again"
    after = kernel.client.get_events(NEWS_TOPIC + process.run)
    assert len(after) == len(news) + 1
