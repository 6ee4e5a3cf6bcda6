"""Retries: per app, per Config, by a handler; what heals is never seen."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import pytest

import daskflow
from daskflow import Config, DependencyError, LocalExecutor, Retry, bash_app, join_app, python_app

Configs = Callable[..., Config]


def attempt(folder: str, name: str = "run") -> int:
    """Count one more attempt; return its number."""
    with Path(folder, name).open("a") as counted:
        counted.write(".")
        return counted.tell()


@python_app
def heals(folder: str, after: int, name: str = "run", kind: str = "ValueError") -> str:
    number = attempt(folder, name)
    if number <= after:
        raise {"ValueError": ValueError, "OSError": OSError, "SystemExit": SystemExit}[kind](
            f"attempt {number}"
        )
    return f"healed in attempt {number}"


@python_app
def shout(words: str) -> str:
    return words.upper()


@pytest.fixture
def folder(tmp_path: Path) -> str:
    made = tmp_path / "attempts"
    made.mkdir()
    return str(made)


def attempts(folder: str, name: str = "run") -> int:
    path = Path(folder, name)
    return path.stat().st_size if path.exists() else 0


def test_an_app_is_tried_as_often_as_it_says(kernel: Any, folder: str) -> None:
    assert heals.options(retries=2)(folder, 2).result() == "healed in attempt 3"
    error = heals.options(retries=2)(folder, 99, "other").exception()
    assert str(error) == "attempt 3"
    assert error.daskflow.attempt == 3  # type: ignore[union-attr]
    assert attempts(folder, "other") == 3


def test_without_retries_a_call_is_tried_once(kernel: Any, folder: str) -> None:
    assert isinstance(heals(folder, 1).exception(), ValueError)
    assert attempts(folder) == 1


def test_dependents_never_see_a_failure_that_a_retry_heals(kernel: Any, folder: str) -> None:
    for retries in (3, Retry(attempts=4, backoff_s=0.01)):
        name = f"run{type(retries).__name__}"
        healed = heals.options(retries=retries)(folder, 3, name)
        below = [shout(healed) for _ in range(20)]
        assert set(daskflow.gather(below)) == {"HEALED IN ATTEMPT 4"}
        assert attempts(folder, name) == 4


def test_what_needs_a_call_whose_retries_run_out_sees_the_last_error(
    kernel: Any, folder: str
) -> None:
    for retries in (1, Retry(attempts=2, backoff_s=0.01)):
        name = f"run{type(retries).__name__}"
        failing = heals.options(retries=retries)(folder, 99, name)
        error = shout(failing).exception()
        assert isinstance(error, DependencyError)
        assert str(error.__cause__) == "attempt 2"


def test_on_and_unless_choose_what_is_tried_again(kernel: Any, folder: str) -> None:
    only_os = heals.options(retries=Retry(attempts=5, on=OSError))
    assert only_os(folder, 2, "a", "OSError").result() == "healed in attempt 3"
    assert isinstance(only_os(folder, 2, "b", "ValueError").exception(), ValueError)
    assert attempts(folder, "b") == 1
    not_os = heals.options(retries=Retry(attempts=5, unless=lambda e: isinstance(e, OSError)))
    assert not_os(folder, 2, "c").result() == "healed in attempt 3"
    assert isinstance(not_os(folder, 2, "d", "OSError").exception(), OSError)
    assert attempts(folder, "d") == 1


class Busy(Exception):
    pass


def test_an_own_exception_type_may_be_named(kernel: Any, folder: str) -> None:
    @python_app(retries=Retry(attempts=4, on=Busy))
    def busy(folder: str) -> str:
        number = attempt(folder)
        if number < 3:
            raise Busy
        return f"healed in attempt {number}"

    assert busy(folder).result() == "healed in attempt 3"


def test_an_app_that_wants_to_exit_is_not_tried_again_unless_asked(
    kernel: Any, folder: str
) -> None:
    assert isinstance(
        heals.options(retries=3)(folder, 1, "a", "SystemExit").exception(), SystemExit
    )
    assert attempts(folder, "a") == 1
    wanted = heals.options(retries=Retry(attempts=3, on=SystemExit))
    assert wanted(folder, 1, "b", "SystemExit").result() == "healed in attempt 2"


def test_a_filter_that_raises_fails_the_call_with_its_error(kernel: Any, folder: str) -> None:
    def broken(_error: BaseException) -> bool:
        raise RuntimeError("the filter is broken")

    for name, pause_s in (("a", 0.0), ("b", 0.01)):
        policy = Retry(attempts=3, on=broken, backoff_s=pause_s)
        error = heals.options(retries=policy)(folder, 1, name).exception(timeout=30)
        assert "the filter is broken" in str(error)


def test_a_back_off_pauses_longer_each_time_and_holds_no_worker(kernel: Any, folder: str) -> None:
    policy = Retry(attempts=4, backoff_s=0.2, jitter=0.1)
    begun = time.monotonic()
    pausing = [heals.options(retries=policy)(folder, 3, f"p{i}") for i in range(20)]
    others = [shout("x") for _ in range(50)]
    assert set(daskflow.gather(others)) == {"X"}
    assert {f.result() for f in pausing} == {"healed in attempt 4"}
    # 0.2 + 0.4 + 0.8 s; twenty calls on two workers would take ten times that if they held them.
    assert 1.4 <= time.monotonic() - begun < 12


def test_bash_apps_and_join_apps_are_tried_again_too(kernel: Any, folder: str) -> None:
    @bash_app(retries=2)
    def command(folder: str) -> str:
        return f"printf . >> {folder}/bash; test $(wc -c < {folder}/bash) = 3"

    assert command(folder).result() == 0
    assert attempts(folder, "bash") == 3

    @join_app(retries=2)
    def joins(folder: str) -> Any:
        if attempt(folder, "join") < 3:
            raise ValueError("not yet")
        return shout("joined")

    assert joins(folder).result() == "JOINED"
    assert attempts(folder, "join") == 3


@python_app(retries=2, isolate=True)
def isolated_heals(folder: str) -> str:
    number = attempt(folder)
    if number == 1:
        os._exit(3)
    if number == 2:
        raise ValueError("second")
    return f"healed in attempt {number}"


def test_an_isolated_call_is_tried_again_also_after_a_crash(kernel: Any, folder: str) -> None:
    assert isolated_heals(folder).result() == "healed in attempt 3"


@python_app(retries=2, walltime_s=1)
def slow_at_first(folder: str) -> str:
    number = attempt(folder)
    while number < 3:
        pass
    return f"healed in attempt {number}"


def test_each_attempt_has_the_whole_walltime(kernel: Any, folder: str) -> None:
    assert slow_at_first(folder).result() == "healed in attempt 3"


@python_app(retries=1)
def dies_and_fails(folder: str, started: str) -> str:
    number = attempt(folder)
    if number == 1:
        Path(started).write_text(str(os.getpid()))
        threading.Event().wait()
    if number == 2:
        raise ValueError("the first failure of its own")
    return f"healed in attempt {number}"


def test_the_loss_of_a_worker_is_not_charged(
    kernel: Any, folder: str, fifo: Callable[[str], str]
) -> None:
    started = fifo("started")
    future = dies_and_fails(folder, started)
    daskflow.submit()
    os.kill(int(Path(started).read_text()), 9)
    assert future.result() == "healed in attempt 3"


class TestWithOwnKernels:
    """Settings of a Config; no other kernel may be loaded meanwhile."""

    @pytest.fixture(autouse=True)
    def _without_the_modules_kernel(self, tmp_path: Path) -> None:
        daskflow.clear()

    def settings(self, tmp_path: Path, **more: Any) -> Config:
        return Config(
            executors=[LocalExecutor(workers=1, memory_limit=0)],
            run_dir=str(tmp_path / "runinfo"),
            dashboard=False,
            **more,
        )

    def test_a_config_says_it_for_all_apps_that_do_not(self, tmp_path: Path, folder: str) -> None:
        with daskflow.load(self.settings(tmp_path, retries=2)):
            assert heals(folder, 2, "a").result() == "healed in attempt 3"
            assert isinstance(heals.options(retries=0)(folder, 1, "b").exception(), ValueError)

    def test_a_handler_prices_each_failure(self, tmp_path: Path, folder: str) -> None:
        seen: list[tuple[str, str]] = []

        def handler(error: BaseException, call: Any) -> float:
            seen.append((str(error), call.app.name))
            return 0.5

        with daskflow.load(self.settings(tmp_path, retries=1, retry_handler=handler)):
            healed = heals(folder, 2, "a")
            assert shout(healed).result() == "HEALED IN ATTEMPT 3"
            assert seen == [("attempt 1", "heals"), ("attempt 2", "heals")]
            assert str(heals(folder, 99, "b").exception()) == "attempt 3"
            assert attempts(folder, "b") == 3

    def test_a_price_of_nothing_is_never_used_up(self, tmp_path: Path, folder: str) -> None:
        def free(_error: BaseException, _call: Any) -> float:
            return 0.0

        with daskflow.load(self.settings(tmp_path, retry_handler=free)):
            assert heals(folder, 7).result() == "healed in attempt 8"

    def test_a_handler_that_raises_ends_the_call_with_its_error(
        self, tmp_path: Path, folder: str
    ) -> None:
        def handler(_error: BaseException, _call: Any) -> float:
            raise RuntimeError("the handler is broken")

        with daskflow.load(self.settings(tmp_path, retries=5, retry_handler=handler)):
            error = heals(folder, 1).exception(timeout=30)
            assert str(error) == "the handler is broken"
            assert isinstance(error.__context__, ValueError)  # type: ignore[union-attr]
            assert shout("on").result() == "ON"
            assert attempts(folder) == 1

    def test_filters_work_without_a_kernel_too(self, folder: str) -> None:
        for name, filters in (
            ("a", {"on": lambda e: "attempt" in str(e)}),
            ("b", {"on": ValueError}),
        ):
            policy = Retry(attempts=3, **filters)
            future = heals.options(retries=policy)(folder, 2, name)
            assert dask.compute(future, scheduler="sync") == ("healed in attempt 3",)
