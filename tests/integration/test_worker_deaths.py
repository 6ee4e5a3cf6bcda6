"""Workers that die under cheap calls: each result is right, and little is run again."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import get_worker

import daskflow
from daskflow import Config, DataFlowKernel, LocalExecutor, WorkerLost, python_app
from daskflow.worker.board import FOLDER
from tests.integration.jobqueue_sites.machine import until


class Log:
    """Which calls ran, in which Dask task: each process appends to a file of its own."""

    def __init__(self, folder: Path):
        folder.mkdir()
        self.folder = str(folder)

    def note(self, number: int) -> None:
        path = f"{self.folder}/{os.getpid()}"
        descriptor = _open.get(path)
        if descriptor is None:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            _open[path] = descriptor
        os.write(descriptor, f"{number} {_task()}\n".encode())

    def _lines(self) -> Iterator[tuple[int, str]]:
        for path in Path(self.folder).iterdir():
            for line in path.read_text().splitlines():
                number, task = line.split()
                yield int(number), task

    def runs(self) -> Counter[int]:
        """How often each call ran."""
        return Counter(number for number, _ in self._lines())

    def tasks(self) -> set[str]:
        """In which tasks calls ran."""
        return {task for _, task in self._lines()}

    def tasks_of(self, number: int) -> set[str]:
        """In which tasks a call ran."""
        return {task for each, task in self._lines() if each == number}

    def calls_of(self, tasks: Collection[str]) -> Counter[int]:
        """How often each call ran in one of `tasks`."""
        return Counter(number for number, task in self._lines() if task in tasks)


def _task() -> str:
    try:
        return str(get_worker().get_current_task())
    except ValueError:
        return f"child-{os.getpid()}"


_open: dict[str, int] = {}


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[DataFlowKernel]:
    config = Config(
        executors=[LocalExecutor(workers=2, memory_limit=0)],
        run_dir=str(tmp_path / "runinfo"),
        dashboard=False,
        batch=True,
    )
    kernel = daskflow.load(config)
    yield kernel
    kernel.close()  # leaving a block would wait for what a test that failed has left


def test_a_killer_among_ten_thousand_fails_alone_and_takes_its_batch_mates_with_it_once(
    two_workers: DataFlowKernel, tmp_path: Path
) -> None:
    log = Log(tmp_path / "log")
    killer = 4321

    @python_app
    def kills(x: int) -> int:
        log.note(x)
        if x == killer:
            os._exit(7)
        return x

    futures = [kills(x) for x in range(10_000)]
    for x, future in enumerate(futures):
        if x != killer:
            assert future.result() == x
    error = futures[killer].exception()
    assert isinstance(error, WorkerLost)
    assert "exit code 7" in str(error)
    runs = log.runs()
    assert runs[killer] == 3, "in a batch, alone, and in a child of a worker"
    assert all(1 <= runs[x] <= 3 for x in range(10_000)), "at most once more for each death"
    tasks = log.tasks_of(killer)
    assert len(tasks) == 3
    mates = log.calls_of(tasks)
    del mates[killer]
    assert set(mates.values()) <= {1}, "they were not in a task with it again"
    assert len(log.tasks()) < 5_000, "calls were in batches"


@pytest.mark.usefixtures("two_workers")
def test_a_call_that_kills_its_worker_even_from_a_child_fails_in_the_end() -> None:
    worker_of = os.getppid  # in a child process

    @python_app
    def kills_worker() -> None:
        is_child = "daskflow.worker.suspects:serve" in sys.orig_argv
        os.kill(worker_of() if is_child else os.getpid(), signal.SIGKILL)
        threading.Event().wait()

    killer = kills_worker()
    with pytest.raises(WorkerLost, match="each worker that ran it died"):
        killer.result()
    assert python_app(abs)(-1).result() == 1


def test_ten_workers_killed_from_outside_cost_no_result_among_100_000(
    two_workers: DataFlowKernel, tmp_path: Path
) -> None:
    log = Log(tmp_path / "log")
    deaths = 10
    victims = range(500, 100_000, 100_000 // deaths)
    begun = str(tmp_path / "begun")
    os.mkfifo(begun)

    @python_app
    def same(x: int) -> int:
        log.note(x)
        if x in victims:
            try:
                Path(f"{begun}-{x}").mkdir()
            except FileExistsError:
                return x
            Path(begun).write_text(f"{os.getpid()}\n")
            threading.Event().wait()  # for ever, the first time
        return x

    futures = same.map(range(100_000))
    daskflow.submit()
    killed: list[int] = []
    with os.fdopen(os.open(begun, os.O_RDWR), buffering=1) as pids:
        while len(killed) < deaths:
            killed.append(int(pids.readline()))
            os.kill(killed[-1], signal.SIGKILL)
    assert len(set(killed)) == deaths
    assert daskflow.gather(futures) == list(range(100_000))
    runs = log.runs()
    assert set(runs) == set(range(100_000))
    assert max(runs.values()) <= 1 + deaths
    assert all(runs[x] >= 2 for x in victims)


@pytest.mark.usefixtures("two_workers")
def test_what_came_before_a_call_whose_worker_died_is_not_run_again(tmp_path: Path) -> None:
    @python_app(batch=False)
    def link(x: int, folder: str) -> int:
        Path(folder, f"{x}-{time.monotonic_ns()}").touch()
        if x == 5:
            try:
                descriptor = os.open(f"{folder}/begun", os.O_WRONLY)
            except FileNotFoundError:  # the second time
                return x + 1
            os.write(descriptor, f"{os.getpid()}\n".encode())
            os.close(descriptor)
            threading.Event().wait()
        return x + 1

    for again in range(4):  # which values are lost with the worker differs
        folder = tmp_path / str(again)
        folder.mkdir()
        begun = folder / "begun"
        os.mkfifo(begun)
        last = link(0, str(folder))
        for _ in range(7):
            last = link(last, str(folder))
        daskflow.submit(last)
        pid = int(begun.read_text())
        begun.unlink()
        os.kill(pid, signal.SIGKILL)
        assert last.result() == 8
        runs = Counter(path.name.split("-")[0] for path in folder.iterdir())
        assert runs == {str(x): 1 + (x == 5) for x in range(8)}


@pytest.mark.usefixtures("two_workers")
@pytest.mark.parametrize("deaths", [2, 99])
def test_a_large_value_is_lost_only_if_worker_after_worker_dies_of_making_it_again(
    deaths: int, tmp_path: Path
) -> None:
    runs, size = tmp_path / "runs", 4_000_000

    @python_app
    def large() -> bytes:
        with runs.open("a") as file:
            print(os.getpid(), file=file)
        if 1 < len(runs.read_text().split()) <= 1 + deaths:
            os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()
        return bytes(size)

    value = large()
    assert value.exception() is None
    os.kill(int(runs.read_text()), signal.SIGKILL)
    taker = python_app(len)(value)
    if deaths == 2:
        assert taker.result() == size
        assert value.result() == bytes(size)
    else:
        with pytest.raises(WorkerLost, match="a value that it takes was lost with a worker"):
            taker.result()
        with pytest.raises(WorkerLost, match="was large, stayed on a worker, and was lost"):
            value.result()
    assert len(runs.read_text().split()) == (4 if deaths == 2 else 5)


def test_what_a_large_value_was_made_from_is_kept_for_it(tmp_path: Path) -> None:
    """Its worker is lost first, then the large value's; a third call, held up, still needs it."""
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)

    @python_app(batch=False, executors=["a"])
    def small() -> int:
        return 7

    @python_app(batch=False, executors=["b"])
    def large(x: int) -> bytes:
        return bytes([x]) * 4_000_000

    @python_app(batch=False, executors=["c"])
    def held() -> int:
        with Path(gate).open("rb"):
            return 1

    @python_app(batch=False, executors=["c"])
    def total(*numbers: int) -> int:
        return sum(numbers)

    executors = [LocalExecutor(label=label, workers=1) for label in "abc"]
    config = Config(executors=executors, run_dir=str(tmp_path / "runinfo"), dashboard=False)
    with daskflow.load(config) as kernel:
        first, last = small(), held()
        value, both = large(first), total(first, last)
        daskflow.submit(value, both)
        assert value.exception() is None
        client = kernel.client
        names = {w["name"]: a for a, w in client.scheduler_info()["workers"].items()}
        pids = client.run(os.getpid)

        (key,) = (key for key in client.who_has() if str(key).startswith("small-"))

        def where() -> set[str]:
            return set(client.who_has()[key])

        def drop(dask_scheduler: Any) -> None:  # as Dask does with one of two copies when it looks
            dask_scheduler.request_remove_replicas(names["b-0"], [key], stimulus_id="test")

        until(lambda: len(where()) == 2)
        client.run_on_scheduler(drop)
        until(lambda: where() == {names["a-0"]})
        os.kill(pids[names["a-0"]], signal.SIGKILL)
        until(lambda: names["a-0"] not in where())
        os.kill(pids[names["b-0"]], signal.SIGKILL)
        assert value.result() == bytes([7]) * 4_000_000
        Path(gate).write_bytes(b"")
        assert both.result() == 8


def test_boards_are_where_only_their_owner_can_read_them_and_go_with_the_kernel(
    tmp_path: Path,
) -> None:
    config = Config(
        executors=[LocalExecutor(workers=1, memory_limit=0)],
        run_dir=str(tmp_path / "runinfo"),
        dashboard=False,
    )
    with daskflow.load(config) as kernel:
        assert daskflow.gather(python_app(abs).map(range(100))) == list(range(100))
        (folder,) = kernel.client.run(os.getenv, FOLDER).values()
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert len(list(Path(folder).iterdir())) == 1
    assert not Path(folder).exists()
