"""How a kernel ends: leaving the block, an exception, Ctrl-C, the end of the interpreter, kill -9."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import psutil
import pytest

import daskflow
from daskflow import Config, python_app

Configs = Callable[..., Config]


@python_app
def square(x: int) -> int:
    return x * x


@python_app
def told_and_held(started: str, gate: str) -> str:
    Path(started).write_text("")
    Path(gate).read_text()
    return "released"


def wait_for(path: str) -> None:
    Path(path).read_text()


def opened(gate: str) -> int:
    """Open a pipe once somebody wants to read from it, who waits then until it is closed."""
    while True:
        try:
            return os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            assert error.errno == errno.ENXIO  # noqa: PT017 # nobody is there yet
            time.sleep(0.01)


def test_leaving_the_block_runs_all_that_was_recorded(threads: Configs) -> None:
    with daskflow.load(threads()):
        futures = [square(x) for x in range(5)]
    assert [f.result() for f in futures] == [0, 1, 4, 9, 16]


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Let threads take turns so often that they meet in every order."""
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval_s)


def test_failures_that_somebody_has_seen_are_not_told_of_again(
    threads: Configs, capsys: pytest.CaptureFixture[str], hasty_threads: None
) -> None:
    failing = python_app(lambda x: x / 0)
    with daskflow.load(threads()):
        for _ in range(10):
            futures = [failing(x) for x in range(100)]
            assert {type(future.exception()) for future in futures} == {ZeroDivisionError}
        failing(0)
    told = capsys.readouterr().err
    assert told.startswith("daskflow: 1 call failed and nobody asked for the result")


def test_leaving_the_block_also_runs_what_callbacks_record(threads: Configs) -> None:
    later: list[Any] = []
    with daskflow.load(threads()):
        first = square(2)
        first.add_done_callback(lambda f: later.append(square(f.result())))
    assert later[0].result() == 16


def test_exit_mode_cancel_drops_what_has_not_started_and_says_how_many(threads: Configs) -> None:
    with pytest.warns(RuntimeWarning, match=r"3 calls .*exit_mode='cancel'"):
        with daskflow.load(threads(exit_mode="cancel")):
            futures = [square(x) for x in range(3)]
    assert all(f.cancelled() for f in futures)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_block_at_once_and_says_how_many_calls_it_cost(
    config: Configs, fifo: Callable[[str], str], error: type[BaseException]
) -> None:
    started, gate = fifo("started"), fifo("gate")
    with pytest.warns(RuntimeWarning, match=r"4 calls .*an exception left the with block"):
        with pytest.raises(error):
            with daskflow.load(config()):
                running = told_and_held(started, gate)
                daskflow.submit()
                wait_for(started)
                recorded = [square(x) for x in range(3)]
                left_at = time.monotonic()
                raise error
    assert time.monotonic() - left_at < 60  # it never waits for the gate
    for future in (running, *recorded):
        with pytest.raises(CancelledError):
            future.result()


def test_threads_do_not_keep_an_exception_in_the_block(
    threads: Configs, fifo: Callable[[str], str]
) -> None:
    started, gate = fifo("started"), fifo("gate")
    with pytest.warns(RuntimeWarning, match="1 call "):
        with pytest.raises(ValueError, match="out"):
            with daskflow.load(threads()):
                running = told_and_held(started, gate)
                daskflow.submit()
                wait_for(started)
                held = opened(gate)
                left_at = time.monotonic()
                raise ValueError("out")
    assert time.monotonic() - left_at < 60
    assert running.cancelled()
    os.close(held)  # and the thread ends


LEAVE = """
import os, sys, daskflow
from daskflow import Config, LocalExecutor

@daskflow.python_app
def square(x):
    return x * x

def main(how):
    config = Config(executors=[LocalExecutor(workers=1)], dashboard=False, log_level=None)
    futures = [square(x) for x in range(7)]
    if how == "kernel":
        daskflow.load(config)
        daskflow.wait_for_current_tasks()
        square.options()(5)
        [square(x) for x in range(11)]
    elif how == "block":
        with daskflow.load(config):
            [square(x) for x in range(11)]
    elif how == "error":
        daskflow.load(config)
        raise ValueError("the script failed")

if __name__ == "__main__":
    main(sys.argv[1])
"""


def test_an_interpreter_that_ends_with_a_kernel_warns_of_calls_never_run(scripts: Any) -> None:
    code, _out, err = scripts.run(LEAVE, "kernel")
    assert code == 0
    assert "12 calls were recorded and never run" in err
    assert "with daskflow.load()" in err


def test_an_interpreter_that_ends_without_a_kernel_warns_of_calls_never_run(scripts: Any) -> None:
    code, _out, err = scripts.run(LEAVE, "none")
    assert code == 0
    assert "7 calls were recorded and never run" in err


def test_an_interpreter_whose_block_ran_everything_is_silent(scripts: Any) -> None:
    assert scripts.run(LEAVE, "block") == (0, "", "")


def test_a_script_that_fails_ends_with_its_error_and_the_warning(scripts: Any) -> None:
    code, _out, err = scripts.run(LEAVE, "error")
    assert code == 1
    assert "ValueError: the script failed" in err
    assert "7 calls were recorded and never run" in err


BUSY = """
import os, sys, daskflow
from daskflow import Config, LocalExecutor, ThreadExecutor

@daskflow.python_app
def spin(pids):
    with open(pids, "w") as told:
        told.write(f"{os.getpid()} ")
    while True:
        pass

@daskflow.python_app
def spin_in_c(pids):
    import time
    with open(pids, "w") as told:
        told.write(f"{os.getpid()} ")
    time.sleep(1000)

@daskflow.bash_app
def sleep(pids):
    return f"trap '' TERM; sleep 1000 & echo $$ $! > {pids}; wait; sleep 1000"

@daskflow.python_app(isolate=True)
def isolated(pids):
    with open(pids, "w") as told:
        told.write(f"{os.getpid()} ")
    while True:
        pass

if __name__ == "__main__":
    kind = ThreadExecutor(max_threads=4) if sys.argv[1] == "threads" else LocalExecutor(workers=4)
    daskflow.load(Config(executors=[kind], dashboard=False))
    for path, app in zip(sys.argv[2:], [sleep, isolated, spin, spin_in_c]):
        app(path)
    daskflow.submit()
    print(os.getpid(), flush=True)
    sys.stdin.readline()
    print("leaving", flush=True)
"""


@pytest.fixture
def busy_script(scripts: Any, fifo: Callable[[str], str]) -> Iterator[Callable[[str, int], Any]]:
    """Start a script that runs never-ending calls; return it and the pids of all it started."""
    started: list[int] = []

    def start(executor: str, calls: int) -> tuple[Any, list[int]]:
        paths = [fifo(f"call{i}") for i in range(calls)]
        script = scripts.start(BUSY, executor, *paths, stdin=-1)
        pids: list[int] = []
        for path in paths:
            pids += map(int, Path(path).read_text().split())
        family = psutil.Process(int(script.stdout.readline())).children(recursive=True)
        started.extend({*pids, *(child.pid for child in family)} - {script.pid})
        return script, started

    yield start
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_killed_script_leaves_no_process_behind(
    busy_script: Callable[..., Any], ended: Callable[..., bool]
) -> None:
    script, pids = busy_script("local", 4)
    assert len(pids) > 8
    script.kill()
    script.wait()
    assert ended(pids)


def test_a_killed_script_with_threads_leaves_no_process_behind(
    busy_script: Callable[..., Any], ended: Callable[..., bool]
) -> None:
    script, pids = busy_script("threads", 2)
    script.kill()
    script.wait()
    assert ended(pids)


@pytest.mark.parametrize(("executor", "calls"), [("local", 4), ("threads", 4)])
def test_a_script_that_ends_while_calls_run_leaves_no_process_behind(
    busy_script: Callable[..., Any], ended: Callable[..., bool], executor: str, calls: int
) -> None:
    script, pids = busy_script(executor, calls)
    _out, err = script.communicate("go\n", timeout=30)
    assert script.returncode == 0
    assert f"{calls} calls were recorded and never run" in err
    assert ended(pids)


def test_a_terminated_script_leaves_no_process_behind(
    busy_script: Callable[..., Any], ended: Callable[..., bool]
) -> None:
    script, pids = busy_script("local", 3)
    os.kill(script.pid, signal.SIGTERM)
    script.wait()
    assert ended(pids)
