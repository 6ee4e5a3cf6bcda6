"""Apps on worker processes: options and annotations do there what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import pytest

import daskflow
from daskflow import python_app


@python_app
def same(x: Any) -> Any:
    return x


def test_map_records_thousands_of_calls_that_all_run(kernel: Any) -> None:
    futures = same.map(range(5_000))
    assert {f.task_status() for f in futures[:10]} == {"recorded"}
    assert daskflow.gather(futures) == list(range(5_000))


def test_methods_run_with_the_instance_as_it_was(kernel: Any) -> None:
    class Scaled:
        def __init__(self, factor: int):
            self.factor = factor

        @python_app
        def times(self, x: int) -> int:
            return self.factor * x

    scaled = Scaled(3)
    future = scaled.times(5)
    scaled.factor = 4
    assert (future.result(), scaled.times(5).result()) == (15, 20)


def test_an_annotation_around_a_call_says_how_often_it_is_tried(kernel: Any, runs: Any) -> None:
    @python_app
    def flaky() -> int:
        runs.count()
        if runs["run"] < 3:
            raise OSError("again")
        return runs["run"]

    with dask.annotate(retries=2):
        future = flaky()
    assert future.result() == 3


def test_calls_of_higher_priority_run_sooner(kernel: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @python_app
    def note(letter: str) -> None:
        with log.open("a") as file:
            file.write(letter)

    low = [note.options(priority=-5)("l") for _ in range(100)]
    with dask.annotate(priority=5):
        high = [note("h") for _ in range(100)]
    daskflow.gather([*low, *high])
    order = log.read_text()
    assert len(order) == 200
    mean = {letter: sum(i for i, c in enumerate(order) if c == letter) / 100 for letter in "lh"}
    assert mean["h"] < mean["l"]


def test_resources_that_no_worker_has_are_an_error_at_the_call(kernel: Any) -> None:
    with pytest.raises(daskflow.InvalidResourceSpecification, match="GPU"):
        same.options(resources={"GPU": 1})(1)
    with (
        dask.annotate(resources={"GPU": 1}),
        pytest.raises(daskflow.InvalidResourceSpecification, match="GPU"),
    ):
        same(1)
    with pytest.raises(daskflow.UnknownExecutor, match=r"'nowhere'.*'local'"):
        same.options(executors=["nowhere"])(1)


def test_an_annotation_names_the_worker(kernel: Any) -> None:
    @python_app
    def worker() -> str:
        from distributed import get_worker

        return str(get_worker().name)

    kernel.client.wait_for_workers(2)  # Dask takes a name that it does not know for a host's
    for name in ("local-0", "local-1"):
        with dask.annotate(workers=[name]):
            futures = [worker() for _ in range(5)]
        assert set(daskflow.gather(futures)) == {name}


def test_the_walltime_of_a_call_overrides_that_of_its_app(kernel: Any) -> None:
    @python_app(walltime_s=0.05)
    def spin(until_s: float) -> str:
        import time

        end = time.monotonic() + until_s
        while time.monotonic() < end:
            pass
        return "done"

    with pytest.raises(daskflow.AppTimeout, match=r"0\.05 s"):
        spin(60).result()
    assert spin(0.2, walltime=60).result() == "done"


def test_isolated_calls_run_in_a_process_of_their_own(kernel: Any) -> None:
    @python_app
    def pid() -> int:
        import os

        return os.getpid()

    kernel.client.wait_for_workers(2)
    workers = set(kernel.client.run(lambda: __import__("os").getpid()).values())
    assert pid().result() in workers
    assert pid.options(isolate=True)().result() not in workers
