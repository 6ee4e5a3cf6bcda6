"""Packing calls into few Dask tasks changes nothing that a user can see but speed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import daskflow
from daskflow import Config, DataFlowKernel, LocalExecutor, WorkerLost, python_app
from daskflow.worker.handback import TOPIC
from daskflow.worker.news import NEWS_TOPIC


@pytest.fixture(scope="module", params=[True, 3, False], ids=["learned", "three", "off"])
def batching(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DataFlowKernel]:
    config = Config(
        executors=[LocalExecutor(workers=2)],
        batch=request.param,
        run_dir=str(tmp_path_factory.mktemp("runs")),
        dashboard=False,
    )
    with daskflow.load(config) as kernel:
        yield kernel


@python_app
def same(x: int) -> int:
    return x


@python_app
def noted(x: int, folder: str) -> int:
    descriptor = os.open(f"{folder}/{x}", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, b"x")
    os.close(descriptor)
    return x


@python_app
def fails_at(x: int, bad: int) -> int:
    if x == bad:
        raise ValueError(f"{x} is bad")
    return x


@python_app
def segfaults_at(x: int, bad: int) -> int:
    if x == bad:
        import ctypes

        ctypes.string_at(0)
    return x


@pytest.mark.usefixtures("batching")
def test_one_failing_call_among_many_fails_alone() -> None:
    futures = [fails_at(i, 77) for i in range(300)]
    dependents = [same(f) for f in futures]
    errors = {i: f.exception() for i, f in enumerate(futures) if f.exception() is not None}
    assert list(errors) == [77]
    assert isinstance(errors[77], ValueError)
    assert errors[77].daskflow.key == futures[77].key  # type: ignore[attr-defined] # documented
    assert isinstance(dependents[77].exception(), daskflow.DependencyError)
    assert [d.result() for i, d in enumerate(dependents) if i != 77] == [
        i for i in range(300) if i != 77
    ]


@pytest.mark.usefixtures("batching")
def test_a_call_that_kills_its_worker_among_many_fails_alone() -> None:
    futures = [segfaults_at(i, 123) for i in range(300)]
    for i, future in enumerate(futures):
        if i == 123:
            with pytest.raises(WorkerLost, match="signal 11"):
                future.result()
        else:
            assert future.result() == i


@pytest.mark.usefixtures("batching")
def test_a_cancelled_call_among_many_delivers_nothing_and_the_others_do() -> None:
    futures = [same(i) for i in range(100)]
    assert futures[50].cancel()
    assert [f.result() for i, f in enumerate(futures) if i != 50] == [
        i for i in range(100) if i != 50
    ]
    assert futures[50].cancelled()


def test_what_waits_behind_a_long_call_is_not_held_up(
    batching: DataFlowKernel, tmp_path: Path
) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    @python_app
    def one_is_long(x: int) -> int:
        if x == 3:
            with Path(fifo).open():
                return x
        return x

    futures = [one_is_long(i) for i in range(100)]
    assert [f.result() for i, f in enumerate(futures) if i != 3] == [
        i for i in range(100) if i != 3
    ]
    assert not futures[3].done()
    os.close(os.open(fifo, os.O_WRONLY))
    assert futures[3].result() == 3


def kept_messages(dask_scheduler: Any) -> int:
    topics = dask_scheduler.get_events().items()
    return sum(len(events) for topic, events in topics if topic.startswith((TOPIC, NEWS_TOPIC)))


def test_the_scheduler_keeps_no_message_of_what_was_handed_back(
    batching: DataFlowKernel, tmp_path: Path
) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    @python_app
    def one_is_long(x: int) -> bytes:
        if x == 3:
            return Path(fifo).read_bytes()
        return b"large" * 1000

    futures = [one_is_long.options(batch=True)(i) for i in range(8)]
    others = [f for i, f in enumerate(futures) if i != 3]
    assert daskflow.gather(others) == [b"large" * 1000] * 7
    assert batching.client.run_on_scheduler(kept_messages) == 0
    Path(fifo).write_bytes(b"end")
    assert futures[3].result() == b"end"


def test_what_was_reported_finished_is_not_run_again_when_its_worker_dies(
    batching: DataFlowKernel, tmp_path: Path
) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    @python_app
    def total_after_fifo(numbers: list[int]) -> int:
        try:
            os.close(os.open(fifo, os.O_RDONLY))
        except FileNotFoundError:
            return sum(numbers)
        return -1

    first = [noted(i, str(tmp_path)) for i in range(40)]
    total = total_after_fifo(first)
    daskflow.submit(total)
    assert daskflow.gather(first) == list(range(40))
    workers = batching.client.run(os.getpid).values()
    Path(fifo).unlink()  # the second time it is not there
    for worker_pid in workers:
        os.kill(worker_pid, signal.SIGKILL)
    assert total.result() == sum(range(40))
    assert {(tmp_path / str(i)).stat().st_size for i in range(40)} == {1}


def test_what_a_long_batch_reported_is_not_run_again_when_its_worker_dies(
    batching: DataFlowKernel, tmp_path: Path
) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    @python_app
    def notes_and_one_blocks(x: int, folder: str) -> int:
        if x == 5:
            try:
                os.close(os.open(fifo, os.O_RDONLY))
            except FileNotFoundError:
                return x
        descriptor = os.open(f"{folder}/{x}", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"x")
        os.close(descriptor)
        return x

    futures = [notes_and_one_blocks(x, str(tmp_path)) for x in range(40)]
    others = [f for x, f in enumerate(futures) if x != 5]
    daskflow.gather(others)
    workers = batching.client.run(os.getpid).values()
    Path(fifo).unlink()  # the second time it is not there
    for worker_pid in workers:
        os.kill(worker_pid, signal.SIGKILL)
    assert futures[5].result() == 5
    assert {(tmp_path / str(x)).stat().st_size for x in range(40) if x != 5} == {1}
