"""cancel() and walltimes: calls that are to end before they have, and what ends with them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

import daskflow
from daskflow import AppTimeout, DependencyError, bash_app, join_app, python_app
from tests.integration.jobqueue_sites.machine import until

pytestmark = pytest.mark.usefixtures("kernel")
Fifo = Callable[[str], str]


@python_app
def square(x: int) -> int:
    return x * x


@python_app
def spins(started: str) -> None:
    Path(started).write_text(str(os.getpid()))
    while True:
        pass


@python_app
def spins_and_catches(started: str) -> None:
    Path(started).write_text(str(os.getpid()))
    while True:
        try:
            while True:
                pass
        except Exception:  # not what interrupts it
            continue


@python_app
def blocks_in_c(started: str, seconds: float) -> str:
    Path(started).write_text(str(os.getpid()))
    time.sleep(seconds)
    return "slept"


@bash_app
def sleeps(started: str, trap: str = "") -> str:
    return f"{trap} sleep 1000 & sleep 1001 & echo $$ $(jobs -p) > {started}; wait; wait"


@python_app(isolate=True)
def isolated(started: str) -> None:
    Path(started).write_text(str(os.getpid()))
    time.sleep(1000)


@pytest.fixture
def ran(tmp_path: Path) -> str:
    return str(tmp_path / "ran")


@python_app
def leaves_a_mark(path: str) -> None:
    Path(path).touch()


def occupy(fifo: Fifo) -> tuple[list[Any], str]:
    """Keep both workers busy until their futures are cancelled."""
    started = [fifo("busy0"), fifo("busy1")]
    busy = [spins.options(batch=False)(path) for path in started]
    daskflow.submit()
    for path in started:
        Path(path).read_text()
    return busy, started[0]


def test_a_recorded_call_that_is_cancelled_never_runs(ran: str) -> None:
    future = leaves_a_mark(ran)
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    assert future.cancel(), "again: it will deliver no result"
    with pytest.raises(CancelledError, match=future.key):
        future.result()
    with pytest.raises(CancelledError):
        future.exception()
    daskflow.wait_for_current_tasks()
    assert not Path(ran).exists()


def test_a_finished_call_cannot_be_cancelled() -> None:
    future = square(3)
    assert future.result() == 9
    assert not future.cancel()
    assert not future.cancelled()
    assert future.result() == 9


def test_a_failed_call_cannot_be_cancelled() -> None:
    future = python_app(lambda: 1 / 0)()
    assert isinstance(future.exception(), ZeroDivisionError)
    assert not future.cancel()


def test_a_queued_call_that_is_cancelled_never_runs(fifo: Fifo, ran: str) -> None:
    busy, _ = occupy(fifo)
    queued = [leaves_a_mark.options(batch=False)(ran + str(i)) for i in range(3)]
    daskflow.submit()
    until(queued[1].running)
    assert queued[1].cancel()
    for each in busy:
        assert each.cancel()
    daskflow.wait_for_current_tasks()
    assert queued[0].result() is queued[2].result() is None
    assert [Path(ran + str(i)).exists() for i in range(3)] == [True, False, True]


@pytest.mark.parametrize("app", [spins, spins_and_catches])
def test_running_python_code_is_interrupted_and_its_worker_goes_on(fifo: Fifo, app: Any) -> None:
    started = fifo("started")
    future = app(started)
    daskflow.submit()
    pid = int(Path(started).read_text())
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(timeout=60)
    worker = psutil.Process(pid)
    assert daskflow.gather([square(x) for x in range(50)]) == [x * x for x in range(50)]
    assert worker.is_running()


def test_code_in_c_is_interrupted_when_it_returns_but_the_future_is_cancelled_at_once(
    fifo: Fifo,
) -> None:
    started = fifo("started")
    future = blocks_in_c(started, 5.0)
    daskflow.submit()
    Path(started).read_text()
    asked_at = time.monotonic()
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    assert time.monotonic() - asked_at < 4.5
    assert daskflow.gather([square(x) for x in range(20)]) == [x * x for x in range(20)]


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
def test_a_running_command_is_ended_with_all_its_children(
    fifo: Fifo, ended: Callable[..., bool], trap: str
) -> None:
    started = fifo("started")
    future = sleeps(started, trap)
    daskflow.submit()
    pids = [int(pid) for pid in Path(started).read_text().split()]
    assert len(pids) == 3
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(timeout=60)
    assert ended(pids)


def test_a_running_isolated_call_is_ended_at_once_even_in_c(
    fifo: Fifo, ended: Callable[..., bool]
) -> None:
    started = fifo("started")
    future = isolated(started)
    daskflow.submit()
    pid = int(Path(started).read_text())
    assert future.cancel()
    assert ended([pid])
    with pytest.raises(CancelledError):
        future.result(timeout=60)


def test_a_cancelled_join_takes_its_inner_calls_with_it(
    fifo: Fifo, ended: Callable[..., bool]
) -> None:
    started = fifo("started")

    @join_app
    def joins(started: str) -> Any:
        return [sleeps(started), square(2)]

    future = joins(started)
    daskflow.submit()
    pids = [int(pid) for pid in Path(started).read_text().split()]
    assert future.running()
    assert future.cancel()
    assert future.cancelled()
    assert ended(pids)


@pytest.mark.parametrize("when", ["recorded", "running"])
def test_what_needs_a_cancelled_call_fails_with_dependency_error(fifo: Fifo, when: str) -> None:
    started = fifo("started")
    future = spins(started)
    below = square(future)
    far_below = square(below)
    other = square(5)
    if when == "running":
        daskflow.submit()
        Path(started).read_text()
    assert future.cancel()
    error = far_below.exception(timeout=60)
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, CancelledError)
    assert error.path == (below.key, future.key)
    assert below.task_status() == "dep_fail"
    assert not below.cancelled()
    assert other.result() == 25


def test_what_is_recorded_after_its_argument_was_cancelled_fails_too() -> None:
    future = square(3)
    assert future.cancel()
    error = square(future).exception()
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, CancelledError)


def test_waiting_ends_when_another_thread_cancels(fifo: Fifo) -> None:
    started = fifo("started")
    future = spins(started)
    seen: list[BaseException] = []

    def waits() -> None:
        try:
            future.result()
        except CancelledError as error:
            seen.append(error)

    waiting = threading.Thread(target=waits)
    waiting.start()
    Path(started).read_text()
    assert future.cancel()
    waiting.join(60)
    assert len(seen) == 1
    assert wait([future], timeout=60).done == {future}

    async def awaits() -> None:
        await future

    with pytest.raises((CancelledError, asyncio.CancelledError)):
        asyncio.run(awaits())


def test_cancelling_many_calls_at_once_leaves_the_others(fifo: Fifo) -> None:
    busy, _ = occupy(fifo)
    futures = [square(x) for x in range(300)]
    daskflow.submit()
    for future in futures[::3]:
        assert future.cancel()
    for each in busy:
        assert each.cancel()
    outcomes = daskflow.gather(futures, return_exceptions=True)
    for x, outcome in enumerate(outcomes):
        if x % 3 == 0:
            assert isinstance(outcome, CancelledError)
        else:
            assert outcome == x * x


def test_a_done_callback_of_a_cancelled_call_is_called() -> None:
    future = square(2)
    seen: list[Any] = []
    assert future.cancel()
    future.add_done_callback(seen.append)
    assert seen == [future]


# ---- walltimes ------------------------------------------------------------------------------


@python_app(walltime_s=0.3)
def loops() -> None:
    while True:
        pass


@python_app(walltime_s=1)
def sleeps_in_c(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@python_app(walltime_s=0.3)
def catches_everything() -> None:
    while True:
        try:
            while True:
                pass
        except Exception:  # not what interrupts it
            continue


@pytest.mark.parametrize("app", [loops, catches_everything])
def test_python_code_that_runs_longer_than_its_walltime_is_interrupted(app: Any) -> None:
    future = app()
    with pytest.raises(AppTimeout, match=r"walltime of 0\.3 s") as caught:
        future.result(timeout=60)
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.daskflow.key == future.key  # type: ignore[attr-defined]
    assert square(3).result() == 9


def test_a_call_that_blocks_in_c_is_timed_out_when_it_returns() -> None:
    begun = time.monotonic()
    with pytest.raises(AppTimeout):
        sleeps_in_c(2.0).result()
    assert time.monotonic() - begun >= 2.0
    assert sleeps_in_c(0.0).result() == "slept"


def test_calls_within_their_walltime_are_not_disturbed() -> None:
    @python_app(walltime_s=30)
    def quick(x: int) -> int:
        return sum(range(x))

    futures = [quick(x) for x in range(300)]
    assert daskflow.gather(futures) == [sum(range(x)) for x in range(300)]


def test_a_walltime_hits_its_own_call_and_not_the_one_after() -> None:
    @python_app
    def long_enough(x: int) -> int:
        end = time.monotonic() + 0.02
        while time.monotonic() < end:
            pass
        return x

    mixed = [loops.options(walltime_s=0.05)() if x % 5 == 0 else long_enough(x) for x in range(50)]
    outcomes = daskflow.gather(mixed, return_exceptions=True)
    for x, outcome in enumerate(outcomes):
        if x % 5 == 0:
            assert isinstance(outcome, AppTimeout)
        else:
            assert outcome == x


def test_the_walltime_of_a_call_overrides_that_of_its_app() -> None:
    begun = time.monotonic()
    patient = loops.options(walltime_s=600)
    with pytest.raises(AppTimeout, match=r"0\.2 s"):
        patient(walltime=0.2).result(timeout=60)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
def test_a_command_that_runs_too_long_is_ended_with_its_whole_group(
    fifo: Fifo, ended: Callable[..., bool], trap: str
) -> None:
    started = fifo("started")
    future = sleeps.options(walltime_s=5)(started, trap)
    daskflow.submit()
    pids = [int(pid) for pid in Path(started).read_text().split()]
    with pytest.raises(AppTimeout):
        future.result(timeout=60)
    assert ended(pids)


def test_the_walltime_of_an_isolated_call_is_exact_even_in_c(fifo: Fifo) -> None:
    started = fifo("started")
    future = isolated.options(walltime_s=5)(started)
    daskflow.submit()
    pid = int(Path(started).read_text())
    begun = time.monotonic()
    with pytest.raises(AppTimeout):
        future.result(timeout=60)
    assert time.monotonic() - begun < 20
    assert not psutil.pid_exists(pid)


def test_an_isolated_call_that_ignores_term_is_killed(fifo: Fifo, ended: Any) -> None:
    @python_app(isolate=True, walltime_s=5)
    def ignores(started: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(started).write_text(str(os.getpid()))
        while True:
            time.sleep(100)

    started = fifo("started")
    future = ignores(started)
    daskflow.submit()
    pid = int(Path(started).read_text())
    with pytest.raises(AppTimeout):
        future.result(timeout=60)
    assert ended([pid])


def test_what_needs_a_call_that_timed_out_fails_with_dependency_error() -> None:
    error = square(loops()).exception()
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, AppTimeout)
