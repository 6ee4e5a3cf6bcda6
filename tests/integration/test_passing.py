"""Large values that only the next call can see go once it has taken them; all others stay."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import dask
import numpy as np
import pytest

import daskflow
from daskflow import AppFuture, Config, DataFlowKernel, LocalExecutor, Retry, python_app
from daskflow.kernel.collector import Collector
from daskflow.worker.handback import HandBack


class Large:
    """Something that is large by its own account, and knows how many like it there are in its process."""

    alive: ClassVar[weakref.WeakSet[Large]] = weakref.WeakSet()
    most = 0
    nbytes = 2**21
    dtype = np.dtype("u1")  # so it is left as it is, as an array would be

    def __init__(self, number: int):
        self.number = number
        Large.alive.add(self)
        Large.most = max(Large.most, len(Large.alive))

    def __reduce__(self) -> Any:
        return Large, (self.number,)


@python_app
def make(number: int = 0, act: Callable[[], None] | None = None) -> Large:
    if act is not None:
        act()
    return Large(number)


@python_app
def step(large: Large, act: Callable[[], None] | None = None) -> Large:
    if act is not None:
        act()
    return Large(large.number + 1)


@python_app
def look(large: Large) -> int:
    return large.number


@pytest.fixture(scope="module", params=[True, 3, False], ids=["learned", "three", "off"])
def kernel(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DataFlowKernel]:
    config = Config(
        executors=[LocalExecutor(workers=2, memory_limit=0)],
        batch=request.param,
        run_dir=str(tmp_path_factory.mktemp("runinfo")),
        dashboard=False,
    )
    kernel = daskflow.load(config)
    assert look(step(make())).result() == 1  # what they cost is known from now on
    yield kernel
    kernel.close()


def stepped(large: AppFuture, steps: int) -> AppFuture:
    for _ in range(steps):
        large = step(large)
    return large


def test_a_chain_is_one_task_and_holds_two_values_at_a_time(
    kernel: DataFlowKernel, tasks_sent: list[str]
) -> None:
    def begin_anew() -> bool:
        Large.most = 0
        return not Large.alive

    while not all(kernel.client.run(begin_anew).values()):
        pass  # what the kernel was told before goes soon
    last = look(stepped(make(), 8))  # an assert would keep futures
    assert last.result() == 8
    if kernel.config.batch is True:
        assert len(tasks_sent) == 1
        assert max(kernel.client.run(lambda: Large.most).values()) == 2


@pytest.mark.usefixtures("kernel")
def test_what_somebody_holds_is_still_there() -> None:
    futures = [make(10)]
    for _ in range(8):
        futures.append(step(futures[-1]))
    assert look(futures[-1]).result() == 18
    assert [f.result().number for f in futures] == list(range(10, 19))


@pytest.mark.usefixtures("kernel")
def test_what_an_item_or_a_collection_is_made_of_is_still_there() -> None:
    large = make(20)
    number = large.number
    after = dask.delayed(lambda each: each.number + 1)(step(large))
    second = step(large)
    del large
    assert look(stepped(second, 3)).result() == 24
    assert number.result() == 20
    assert after.compute() == 22


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_graph_with_such_values_in_it_is_run_anywhere(scheduler: str) -> None:
    last = look(stepped(make(), 3))
    graph = last.dask
    assert last.result() == 3
    assert dask.get(graph, last.key) == 3
    again = look(stepped(make(), 3))
    assert again.compute(scheduler=scheduler) == 3


@pytest.mark.usefixtures("kernel")
def test_a_step_that_is_tried_again_finds_its_value(runs: Any) -> None:
    def fails_twice() -> None:
        runs.count("step")
        if runs["step"] < 3:
            raise OSError("not yet")

    retry = Retry(attempts=3, backoff_s=0.01)
    large = step.options(retries=retry)(make(0, lambda: runs.count("make")), fails_twice)
    assert look(stepped(large, 2)).result() == 3
    assert runs.all() == {"make": 1, "step": 3}


@pytest.mark.usefixtures("kernel")
def test_a_step_that_fails_for_good_fails_what_follows() -> None:
    def fails() -> None:
        raise ValueError("no")

    failing = step(stepped(make(), 2), fails)
    last = look(stepped(failing, 2))
    assert isinstance(last.exception(), daskflow.DependencyError)
    assert isinstance(failing.exception(), ValueError)


def test_what_a_long_step_hands_back_finds_its_value(
    kernel: DataFlowKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_told = threading.Event()
    hand_back = Collector.hand_back

    def heard(collector: Collector, told: HandBack) -> None:
        hand_back(collector, told)
        is_told.set()

    monkeypatch.setattr(Collector, "hand_back", heard)
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    def blocks() -> None:
        os.close(os.open(fifo, os.O_RDONLY))

    last = look(stepped(step(stepped(make(), 2), blocks), 4))
    daskflow.submit(last)
    if kernel.config.batch:
        assert is_told.wait(60)
    os.close(os.open(fifo, os.O_WRONLY))
    assert last.result() == 7


@pytest.mark.usefixtures("kernel")
def test_a_chain_whose_worker_dies_is_run_again(tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    def blocks() -> None:
        try:
            descriptor = os.open(fifo, os.O_WRONLY)
        except FileNotFoundError:  # the second time
            return
        os.write(descriptor, f"{os.getpid()}\n".encode())
        os.close(descriptor)
        threading.Event().wait()

    last = look(stepped(step(stepped(make(), 2), blocks), 4))
    daskflow.submit(last)
    pid = int(Path(fifo).read_text())
    Path(fifo).unlink()
    os.kill(pid, signal.SIGKILL)
    assert last.result() == 7


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("failing", [False, True])
def test_a_value_that_is_lost_with_its_worker_is_made_again(failing: bool, tmp_path: Path) -> None:
    """It takes longer the second time, and a step that had failed does not then."""
    again = tmp_path / "again"

    def act() -> None:
        if again.exists():
            time.sleep(0.3)  # longer than a batch may go on otherwise
        elif failing:
            raise ValueError("the first time")

    small = python_app(lambda: 0)()
    before = stepped(make(small), 2)
    last = step(step(before, act))
    if failing:
        with pytest.raises(daskflow.DependencyError):
            last.result()
        kept, number = before, 2
    else:
        assert last.exception() is None
        kept, number = last, 4
    again.touch()
    for each in set(daskflow.dfk().client.run(os.getpid).values()):
        os.kill(each, signal.SIGKILL)
    assert look(kept).result() == number
    assert kept.result().number == number


@pytest.mark.usefixtures("kernel")
def test_many_chains_at_once_are_all_right() -> None:
    lasts = [look(stepped(make(i), 5)) for i in range(40)]
    assert daskflow.gather(lasts) == [i + 5 for i in range(40)]
