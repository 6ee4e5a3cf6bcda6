"""Calls that only some workers may run: few of them are on the scheduler at once, all of them end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daskflow import Config, DataFlowKernel, LocalExecutor, load, python_app
from tests.conftest import Runs


@pytest.fixture
def two_executors(tmp_path: Path) -> Iterator[DataFlowKernel]:
    config = Config(
        executors=[
            LocalExecutor(label="a", workers=1, memory_limit=0, resources={"GPU": 1}),
            LocalExecutor(label="b", workers=1, memory_limit=0),
        ],
        batch=False,
        run_dir=str(tmp_path / "runinfo"),
        dashboard=False,
    )
    with load(config) as kernel:
        yield kernel


def held(runs: Runs, gate: str) -> int:
    runs.count("begun")
    while not Path(gate).exists():
        time.sleep(0.01)
    return 1


def begun(runs: Runs) -> int:
    return runs["begun"]


def tasks_on_scheduler(kernel: DataFlowKernel) -> int:
    def count(dask_scheduler: Any) -> int:
        return sum(str(key).startswith("held-") for key in dask_scheduler.tasks)

    counted: int = kernel.client.run_on_scheduler(count)
    return counted


@pytest.mark.parametrize("option", [{"executors": ["a"]}, {"resources": {"GPU": 1}}])
def test_few_calls_of_a_label_or_a_resource_are_on_the_scheduler(
    two_executors: DataFlowKernel, runs: Runs, tmp_path: Path, option: dict[str, Any]
) -> None:
    gate = tmp_path / "gate"
    app = python_app(held, **option)
    futures = [app(runs, str(gate)) for _ in range(100)]
    two_executors.submit()
    while not runs["begun"]:
        time.sleep(0.01)
    assert 0 < tasks_on_scheduler(two_executors) <= 8

    # Others are not held up by them, nor are those of higher priority.
    assert python_app(abs, executors=["b"])(-3).result() == 3
    urgent = python_app(begun, priority=5, **option)(runs)
    two_executors.submit()
    gate.touch()
    assert urgent.result() < 100
    assert [future.result() for future in futures] == [1] * 100
    assert runs["begun"] == 100


def test_calls_of_two_labels_that_need_each_other_all_end(two_executors: DataFlowKernel) -> None:
    @python_app(executors=["a"])
    def first(number: int) -> int:
        return number

    @python_app(executors=["b"])
    def second(number: int) -> int:
        return number + 1

    values = [second(first(second(number))) for number in range(60)]
    assert [future.result() for future in values] == [number + 2 for number in range(60)]
