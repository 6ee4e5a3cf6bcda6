"""Calls per second of standard workloads: packed by learned cost, and one Dask task each.

    python tests/benchmarks/workloads.py [--scale 1.0]

Every result is checked. Packed and unpacked runs alternate, on the same two workers.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import daskflow
from daskflow import App, Config, LocalExecutor, python_app


def same(x: int) -> int:
    return x


def total(numbers: list[int]) -> int:
    return sum(numbers)


def pause(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


class Workloads:
    """The workloads for apps with one setting of `batch`."""

    def __init__(self, batch: bool, scale: float):
        self.same: App[[int], int] = python_app(same).options(batch=batch)
        self.total: App[[list[int]], int] = python_app(total).options(batch=batch)
        self.pause: App[[float], float] = python_app(pause).options(batch=batch)
        self.scale = scale

    def independent(self) -> int:
        calls = int(4000 * self.scale)
        assert daskflow.gather(self.same.map(range(calls))) == list(range(calls))
        return calls

    def chain(self) -> int:
        calls = int(200 * self.scale)
        future = self.same(7)
        for _ in range(calls):
            future = self.same(future)
        assert future.result() == 7
        return calls

    def map_and_reduce(self) -> int:
        maps = int(2000 * self.scale)
        mapped = self.same.map(range(maps))
        sums = [self.total(mapped[i : i + 100]) for i in range(0, maps, 100)]
        assert self.total(sums).result() == sum(range(maps))
        return maps + len(sums) + 1

    def ten_milliseconds(self) -> int:
        calls = int(200 * self.scale)
        daskflow.gather(self.pause.map([0.01] * calls))
        return calls

    def round_trips(self) -> int:
        calls = int(30 * self.scale)
        for i in range(calls):
            assert self.same(i).result() == i
        return calls


def rate(workload: Callable[[], int]) -> float:
    start_s = time.perf_counter()
    calls = workload()
    return calls / (time.perf_counter() - start_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    scale = parser.parse_args().scale
    packed, single = Workloads(True, scale), Workloads(False, scale)
    print(f"{'':18}{'packed':>12}{'one task each':>16}{'ratio':>8}   (calls/s, median of 3)")
    config = Config(executors=[LocalExecutor(workers=2)], dashboard=False)
    with tempfile.TemporaryDirectory() as run_dir:
        with daskflow.load(Config(**{**vars(config), "run_dir": run_dir})):
            for name in (
                "independent",
                "chain",
                "map_and_reduce",
                "ten_milliseconds",
                "round_trips",
            ):
                rounds = [
                    (rate(getattr(packed, name)), rate(getattr(single, name))) for _ in range(3)
                ]
                ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
                print(f"{name:18}{ours:12.0f}{theirs:16.0f}{ours / theirs:8.1f}", flush=True)


if __name__ == "__main__":
    main()
