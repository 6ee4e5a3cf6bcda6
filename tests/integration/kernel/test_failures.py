"""What a user sees of a call that failed: the error as it was, where, and what it took with it."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import psutil
import pytest

import daskflow
from daskflow import (
    DependencyError,
    RemoteException,
    SerializationError,
    WorkerLost,
    bash_app,
    join_app,
    python_app,
)

pytestmark = pytest.mark.usefixtures("kernel")


class Odd(Exception):
    """Its __init__ does not take its own args."""

    def __init__(self, code: int, *, reason: str):
        super().__init__(f"{reason} ({code})")
        self.code = code
        self.reason = reason


class Mute(Exception):
    """It fails when it is shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Holding(Exception):
    """It holds what cannot travel."""

    def __init__(self, words: str):
        super().__init__(words)
        self.lock = threading.Lock()


@python_app
def square(x: int) -> int:
    return x * x


@python_app
def add(x: int, y: int = 1) -> int:
    return x + y


@python_app
def total(values: list[int]) -> int:
    return sum(values)


def deep_down(words: str) -> None:
    raise KeyError(words)


@python_app
def fail(words: str = "no luck") -> int:
    deep_down(words)
    return 0


def test_the_error_has_its_type_and_shows_the_users_function_and_line(kernel: Any) -> None:
    with pytest.raises(KeyError, match="no luck") as caught:
        fail().result()
    text = "".join(traceback.format_exception(caught.value))
    assert "in fail" in text
    assert "deep_down(words)" in text
    assert "raise KeyError(words)" in text
    assert Path(__file__).name in text


def test_the_error_says_which_call_failed_where_and_in_which_attempt(kernel: Any) -> None:
    future = fail()
    error = future.exception()
    report = error.daskflow  # type: ignore[union-attr]
    assert (report.app, report.key, report.attempt) == ("fail", future.key, 1)
    assert report.host == socket.gethostname()
    assert report.worker in ("local-0", "local-1")
    assert "raise KeyError(words)" in report.traceback
    text = "".join(traceback.format_exception(error))
    for words in ("app 'fail'", future.key, "attempt 1", report.worker, report.host):
        assert words in text


def test_asking_again_gives_the_same_error_with_the_same_notes(kernel: Any) -> None:
    future = fail()
    first = future.exception()
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            future.result()
        assert caught.value is first
    assert len(first.__notes__) == 1  # type: ignore[union-attr]


def test_an_exception_whose_init_takes_other_arguments_arrives_whole(kernel: Any) -> None:
    @python_app
    def odd() -> None:
        raise Odd(7, reason="strange")

    with pytest.raises(Odd, match=r"strange \(7\)") as caught:
        odd().result()
    assert (caught.value.code, caught.value.reason) == (7, "strange")


def test_cause_and_context_arrive(kernel: Any) -> None:
    @python_app
    def caused() -> None:
        try:
            deep_down("root")
        except KeyError as error:
            raise ValueError("on top") from error

    @python_app
    def during() -> None:
        try:
            deep_down("root")
        except KeyError:
            raise ValueError("on top")  # noqa: B904 # the context is what is tested

    error = caused().exception()
    assert isinstance(error, ValueError)
    assert isinstance(error.__cause__, KeyError)
    text = "".join(traceback.format_exception(error))
    assert "direct cause" in text
    assert "in deep_down" in text
    error = during().exception()
    assert isinstance(error.__context__, KeyError)  # type: ignore[union-attr]


def test_an_exception_that_cannot_travel_arrives_as_its_text(kernel: Any) -> None:
    @python_app
    def holding() -> None:
        raise Holding("with a lock")

    with pytest.raises(RemoteException, match="with a lock") as caught:
        holding().result()
    assert caught.value.type_name.endswith("Holding")
    assert "in holding" in "".join(traceback.format_exception(caught.value))


def test_an_exception_that_cannot_be_shown_fails_its_call_only(kernel: Any) -> None:
    @python_app
    def mute() -> None:
        raise Mute

    failed, good = mute(), square(3)
    assert isinstance(failed.exception(), (Mute, RemoteException))
    assert good.result() == 9


def test_an_exception_group_arrives(kernel: Any) -> None:
    @python_app
    def many() -> None:
        raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])

    error = many().exception()
    assert isinstance(error, ExceptionGroup)
    assert [type(e) for e in error.exceptions] == [ValueError, KeyError]


def test_a_result_that_cannot_travel_fails_its_call_and_names_the_object(kernel: Any) -> None:
    @python_app
    def holding() -> dict[str, list[Any]]:
        return {"inner": [1, threading.Lock()]}

    failed, good = holding(), square(3)
    with pytest.raises(SerializationError, match=r"result of app 'holding'\['inner'\]\[1\].*lock"):
        failed.result()
    assert good.result() == 9


def test_an_argument_that_cannot_travel_fails_its_call_and_names_the_object(kernel: Any) -> None:
    good = square(3)
    with pytest.raises(SerializationError, match="lock"):
        total([1, threading.Lock()]).result()  # type: ignore[list-item]
    with pytest.raises(SerializationError, match="lock"):
        square(threading.Lock()).result()  # type: ignore[arg-type]
    assert good.result() == 9


class Unloadable:
    """It cannot be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


def test_an_argument_that_cannot_be_unpickled_fails_its_call_only(kernel: Any) -> None:
    good = square(3)
    with pytest.raises(daskflow.DeserializationError, match="'total'"):
        total([Unloadable()]).result()  # type: ignore[list-item]
    assert good.result() == 9


def test_a_dependent_fails_with_the_path_to_the_root_cause(kernel: Any) -> None:
    first = fail("root")
    second = square(first)
    third = add(second)
    assert isinstance(first.exception(), KeyError)
    with pytest.raises(DependencyError) as caught:
        third.result()
    error = caught.value
    assert error.key == third.key
    assert error.path == (second.key, first.key)
    assert error.__cause__ is first.exception()
    assert second.exception().path == (first.key,)  # type: ignore[union-attr]
    for words in (first.key, second.key, third.key, "KeyError", "root"):
        assert words in str(error)
    assert "in deep_down" in "".join(traceback.format_exception(error))
    assert third.task_status() == "dep_fail"
    assert first.task_status() == "failed"


def test_a_fan_in_names_one_path_and_counts_the_others(kernel: Any) -> None:
    parts = [fail("a"), square(2), fail("b"), fail("c")]
    error = total(parts).exception()
    assert isinstance(error, DependencyError)
    assert error.path == (parts[0].key,)
    assert error.others == 2
    assert isinstance(error.__cause__, KeyError)
    assert parts[1].result() == 4


def test_a_diamond_fails_once_for_each_call(kernel: Any) -> None:
    top = fail("top")
    left, right = square(top), add(top)
    bottom = add(left, right)
    error = bottom.exception()
    assert isinstance(error, DependencyError)
    assert error.path == (left.key, top.key)
    assert error.__cause__ is top.exception()


def test_calls_that_do_not_depend_on_a_failed_one_run_on(kernel: Any) -> None:
    futures = [fail(str(x)) if x % 10 == 0 else square(x) for x in range(200)]
    below = [add(f) for f in futures]
    outcomes = daskflow.gather(below, return_exceptions=True)
    assert [x for x, o in enumerate(outcomes) if isinstance(o, DependencyError)] == list(
        range(0, 200, 10)
    )
    assert [o for o in outcomes if isinstance(o, int)] == [x * x + 1 for x in range(200) if x % 10]


def test_a_chain_of_5000_dependents_of_a_failed_call_all_fail(kernel: Any) -> None:
    root = fail("root")
    links = [square(root)]
    for _ in range(4999):
        links.append(add(links[-1]))
    error = links[-1].exception()
    assert isinstance(error, DependencyError)
    assert len(error.path) == 5000
    assert error.path[-1] == root.key
    assert error.__cause__ is root.exception()
    assert len(str(error)) < 2000
    assert {f.task_status() for f in links} == {"dep_fail"}


def test_a_call_recorded_after_its_argument_failed_fails_too(kernel: Any) -> None:
    root = fail("root")
    assert root.exception() is not None
    late = square(root)
    assert isinstance(late.exception(), DependencyError)


def test_an_app_that_raises_a_dependency_error_itself_has_failed_by_itself(kernel: Any) -> None:
    @python_app
    def pretend() -> None:
        raise DependencyError("me", "you", ValueError("not so"))

    future = pretend()
    assert isinstance(future.exception(), DependencyError)
    assert future.task_status() == "failed"


def test_a_join_fails_with_the_path_to_the_root_cause(kernel: Any) -> None:
    @join_app
    def joins() -> list[Any]:
        return [square(2), add(fail("deep"))]

    future = joins()
    below = square(future)
    error = future.exception()
    assert isinstance(error, daskflow.JoinError)
    assert isinstance(error.__cause__, KeyError)
    assert len(error.path) == 2
    assert isinstance(below.exception(), DependencyError)
    assert below.exception().__cause__ is error.__cause__  # type: ignore[union-attr]


def test_the_error_of_a_failed_command_shows_exit_code_and_last_stderr(kernel: Any) -> None:
    @bash_app
    def broken() -> str:
        return "echo first >&2; echo the reason >&2; exit 3"

    error = broken().exception()
    assert isinstance(error, daskflow.BashExitFailure)
    assert (error.exitcode, error.app_name) == (3, "broken")
    assert "the reason" in error.stderr_tail
    assert "exit code 3" in str(error)
    assert error.daskflow.app == "broken"  # type: ignore[attr-defined]


# ---- calls that end their process -----------------------------------------------------------


def mark(folder: str, name: object) -> None:
    with Path(folder, str(name)).open("a") as counted:
        counted.write(".")


@python_app
def counted(folder: str, number: int) -> int:
    mark(folder, number)
    return number


@python_app
def ends(how: str, folder: str) -> None:
    mark(folder, how)
    if how == "SystemExit":
        sys.exit(7)
    if how == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if how == "os._exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    if how == "abort":
        os.abort()


@pytest.fixture
def marks(tmp_path: Path) -> tuple[str, Callable[[object], int]]:
    folder = tmp_path / "marks"
    folder.mkdir()

    def count(name: object) -> int:
        path = folder / str(name)
        return path.stat().st_size if path.exists() else 0

    return str(folder), count


@pytest.mark.parametrize(
    ("how", "kind", "evidence"),
    [
        ("SystemExit", SystemExit, "7"),
        ("KeyboardInterrupt", KeyboardInterrupt, ""),
        ("os._exit", WorkerLost, "exit code 7"),
        ("segfault", WorkerLost, "signal 11"),
        ("abort", WorkerLost, "signal 6"),
    ],
)
def test_a_call_that_ends_its_process_fails_and_no_other(
    marks: Any, how: str, kind: type[BaseException], evidence: str
) -> None:
    folder, count = marks
    before = [counted(folder, x) for x in range(10)]
    assert daskflow.gather(before) == list(range(10))
    neighbours = [counted(folder, x) for x in range(10, 30)]
    killer = ends(how, folder)
    after = [counted(folder, x) for x in range(30, 50)]
    below = square(killer)
    error = killer.exception(timeout=60)
    assert type(error) is kind
    assert evidence in str(error)
    assert error.daskflow.app == "ends"  # type: ignore[union-attr]
    assert isinstance(below.exception(), DependencyError)
    assert daskflow.gather(neighbours + after) == list(range(10, 50))
    assert [count(x) for x in range(10)] == [1] * 10, "what was reported is not run again"
    assert all(count(x) in (1, 2, 3) for x in range(10, 50))
    assert square(3).result() == 9, "the kernel goes on"


def test_what_was_reported_is_not_run_again_for_a_later_dependent(marks: Any) -> None:
    folder, count = marks
    values = [counted(folder, x) for x in range(20)]
    assert daskflow.gather(values) == list(range(20))
    killer = ends("os._exit", folder)
    sums = [add(v) for v in values]
    assert isinstance(killer.exception(timeout=60), WorkerLost)
    assert daskflow.gather(sums) == list(range(1, 21))
    assert [count(x) for x in range(20)] == [1] * 20


def test_several_killers_are_each_found(marks: Any) -> None:
    folder, _count = marks
    futures = [
        ends("os._exit" if x % 10 else "segfault", folder) if x % 5 == 0 else counted(folder, x)
        for x in range(30)
    ]
    outcomes = daskflow.gather(futures, return_exceptions=True)
    for x, outcome in enumerate(outcomes):
        if x % 5:
            assert outcome == x
        else:
            assert isinstance(outcome, WorkerLost)
            assert ("exit code 7" if x % 10 else "signal 11") in str(outcome)


@python_app
def slow_pid(started: str, folder: str, number: int) -> tuple[int, int]:
    mark(folder, number)
    if number == 0 and Path(folder, "0").stat().st_size == 1:
        Path(started).write_text(str(os.getpid()))
        threading.Event().wait()  # for ever, the first time
    return number, os.getpid()


def test_a_worker_killed_from_outside_costs_no_result_and_no_retry(
    marks: Any, fifo: Callable[[str], str]
) -> None:
    folder, count = marks
    started = fifo("started")
    futures = [slow_pid.options(retries=0)(started, folder, x) for x in range(40)]
    daskflow.submit()
    victim = int(Path(started).read_text())
    os.kill(victim, 9)
    outcomes = daskflow.gather(futures)
    assert [number for number, _pid in outcomes] == list(range(40))
    assert outcomes[0][1] != victim
    assert count(0) == 2


@python_app(isolate=True)
def isolated(how: str, folder: str) -> tuple[int, int]:
    mark(folder, how)
    if how == "fine":
        return os.getpid(), os.getppid()
    if how == "raises":
        deep_down("isolated")
    ctypes.string_at(0)
    return 0, 0


def test_an_isolated_call_runs_in_a_child_of_the_worker_and_its_crash_harms_nobody(
    marks: Any,
) -> None:
    folder, count = marks
    pid, parent = isolated("fine", folder).result()
    worker = psutil.Process(parent)
    assert pid != parent
    error = isolated("crash", folder).exception()
    assert isinstance(error, WorkerLost)
    assert "signal 11" in str(error)
    assert count("crash") == 1
    error = isolated("raises", folder).exception()
    assert isinstance(error, KeyError)
    assert "in deep_down" in "".join(traceback.format_exception(error))
    assert error.daskflow.app == "isolated"  # type: ignore[attr-defined]
    assert worker.is_running()


def test_a_cancelled_error_raised_by_an_app_is_its_own_failure(kernel: Any) -> None:
    @python_app
    def raises() -> None:
        raise CancelledError("by the app")

    future = raises()
    with pytest.raises(CancelledError, match="by the app"):
        future.result()
    assert not future.cancelled()
