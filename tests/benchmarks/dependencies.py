"""Whether dependencies cost more than linear time: calls that each depend on the previous ten.

    python tests/benchmarks/dependencies.py [--calls 10000]

Prints the seconds from recording to the last value for n/2, n and 2n calls (median of three rounds), and
the ratios: twice the calls should take about twice the time.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import daskflow
from daskflow import Config, python_app


@python_app
def total(*numbers: int) -> int:
    return sum(numbers) % 1000


def seconds(calls: int) -> float:
    start_s = time.perf_counter()
    futures = [total(1) for _ in range(10)]
    for _ in range(calls):
        futures.append(total(*futures[-10:]))
    values = daskflow.gather(futures)
    elapsed_s = time.perf_counter() - start_s
    assert values[10] == 10
    assert values[-1] == sum(values[-11:-1]) % 1000
    return elapsed_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as run_dir, daskflow.load(Config(run_dir=run_dir)):
        seconds(100)
        before = None
        for count in (calls // 2, calls, 2 * calls):
            now = statistics.median(seconds(count) for _ in range(3))
            ratio = "" if before is None else f"   {now / before:.2f}x the time of half as many"
            print(f"{count:7} calls {now:7.3f} s{ratio}", flush=True)
            before = now


if __name__ == "__main__":
    main()
