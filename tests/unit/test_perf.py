"""The standard workloads on an engine without processes, and what is said of measurements."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from daskflow.errors import WrongResult
from daskflow.perf import report
from daskflow.perf.measure import CpuTime, Measurement, Surroundings
from daskflow.perf.workloads import WORKLOADS, Run, Workload, independent

WHERE = Surroundings(python="3.12.1", versions=(("dask", "2026.8.0"),), cores=4, slots=2, workers=2)


class Inline:
    """Runs each call at once, here; a call's future is its value or exception."""

    slots = 1

    def app(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except ValueError as error:
                return error

        return call

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> Sequence[Any]:
        return list(map(self.app(function), items))

    def outcomes(self, futures: Sequence[Any]) -> list[Any]:
        return list(futures)


class Wrong(Inline):
    """Gets the last value wrong."""

    def outcomes(self, futures: Sequence[Any]) -> list[Any]:
        return [*futures[:-1], -1]


SMALL = [w for w in WORKLOADS if w.name != "large-array"]


@pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)
def test_a_workload_takes_right_results_and_counts_its_calls(workload: Workload) -> None:
    size = workload.scaled(0.001)
    run = workload.run(Inline(), size)
    assert run.calls >= size // 2
    assert run.seconds > 0
    assert json.loads(json.dumps(run.as_json()))["calls"] == run.calls


@pytest.mark.parametrize("workload", [w for w in SMALL if w.name != "arrays"], ids=lambda w: w.name)
def test_a_workload_notices_a_wrong_result(workload: Workload) -> None:
    with pytest.raises(WrongResult, match=repr(workload.name)):
        workload.run(Wrong(), workload.scaled(0.001))


def test_a_wrong_result_is_told_by_the_name_of_its_workload_and_shortly() -> None:
    with pytest.raises(WrongResult, match=r"^workload 'independent': \[0, 1.* instead of ") as told:
        independent(Wrong(), 1000)
    assert len(str(told.value)) < 300


def test_names_are_different_and_titles_say_something() -> None:
    names = [workload.name for workload in WORKLOADS]
    assert len(set(names)) == len(names)
    assert all(workload.title for workload in WORKLOADS)


@pytest.mark.parametrize(("factor", "size"), [(1, 1000), (0.5, 500), (1e-9, 2), (3, 3000)])
def test_a_size_is_scaled_down_to_the_least_that_makes_sense(factor: float, size: int) -> None:
    workload = Workload(name="a", title="b", size=1000, unit="calls", run=independent, least=2)
    assert workload.scaled(factor) == size


def measurement(run: Run | None, cpu: CpuTime | None = None, why_not: str = "") -> Measurement:
    workload = Workload(name="a", title="all", size=1, unit="calls", run=independent)
    return Measurement(workload=workload, run=run, cpu=cpu, why_not=why_not)


def test_a_row_has_rate_and_cpu_time_of_a_call() -> None:
    run = Run(calls=1000, seconds=0.5)
    cpu = CpuTime(client=0.02, scheduler=0.003, workers=None)
    row = report.row(measurement(run, cpu))
    assert len(row) == len(report.COLUMNS)
    assert row == ("a", "1,000", "0.50", "2,000", "20", "3.0", "in client", "")


def test_a_workload_that_could_not_run_says_why_in_table_and_json() -> None:
    missing = measurement(None, why_not="needs numpy")
    assert report.row(missing) == ("a", *[""] * 6, "needs numpy")
    told = report.as_json([missing], None, WHERE)["workloads"]
    assert told == [{"name": "a", "title": "all", "why_not": "needs numpy"}]


@pytest.mark.parametrize(
    ("run", "remark"),
    [
        (Run(calls=10, seconds=2.0), ""),
        (Run(calls=10, seconds=2.0, ideal_s=1.9), "95% of ideal"),
        (Run(calls=10, seconds=2.0, round_trip_s=0.0041), "median 4.1 ms"),
        (Run(calls=10, seconds=2.0, held_bytes=3_000_000), "client grew 3 MB"),
        (
            Run(calls=1000, seconds=2.0, held_bytes=900_000, left_bytes=2_000_000),
            "0.9 kB held for a call, 2 MB left",
        ),
    ],
)
def test_a_remark_tells_what_the_rate_does_not(run: Run, remark: str) -> None:
    assert report.remark(run) == remark


def test_json_has_what_is_known_and_nothing_else() -> None:
    run = Run(calls=10, seconds=2.0, ideal_s=1.0)
    cpu = CpuTime(client=1.0, scheduler=None, workers=0.5)
    told = report.as_json([measurement(run, cpu)], 1.5, WHERE)
    first, startup = json.loads(json.dumps(told))["workloads"]
    assert first == {
        "name": "a",
        "title": "all",
        "calls": 10,
        "seconds": 2.0,
        "calls_per_s": 5.0,
        "efficiency": 0.5,
        "cpu_us_per_call": {"client": 1e5, "scheduler": None, "workers": 5e4},
    }
    assert (startup["name"], startup["seconds"]) == ("startup", 1.5)
    assert (told["cores"], told["workers"], told["slots"]) == (4, 2, 2)


def test_the_time_of_a_worker_that_has_gone_is_not_negative() -> None:
    before = CpuTime(client=1.0, scheduler=2.0, workers=3.0)
    after = CpuTime(client=1.5, scheduler=2.5, workers=1.0)
    assert after.since(before) == CpuTime(client=0.5, scheduler=0.5, workers=0.0)
