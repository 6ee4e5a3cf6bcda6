"""What recording a call costs, beside `dask.delayed`, in the same run.

    python tests/benchmarks/recording.py [--calls 20000] [--json]

Prints µs per recorded call (median of five rounds, garbage collection off as in timeit) and bytes per
future that is held, for calls with two scalars and with three futures.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from dask import delayed

from daskflow import python_app


def add(*numbers: int) -> int:
    return sum(numbers)


def median_us(record: Callable[[int], Any], calls: int) -> float:
    rounds = []
    for _ in range(5):
        gc.collect()
        gc.disable()
        start_s = time.perf_counter()
        kept = [record(i) for i in range(calls)]
        rounds.append((time.perf_counter() - start_s) / calls * 1e6)
        gc.enable()
        del kept
    return statistics.median(rounds)


def bytes_per_future(record: Callable[[int], Any], calls: int) -> float:
    record(0)
    gc.collect()
    tracemalloc.start()
    kept = [record(i) for i in range(calls)]
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return held / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    app, lazy = python_app(add), delayed(add)
    ours, theirs = app(1, 2), lazy(1, 2)
    kinds: dict[str, tuple[Callable[[int], Any], Callable[[int], Any]]] = {
        "two scalars": (lambda i: app(i, 2), lambda i: lazy(i, 2)),
        "three futures": (lambda _: app(ours, ours, ours), lambda _: lazy(theirs, theirs, theirs)),
    }
    table = {}
    for name, (record, record_delayed) in kinds.items():
        table[name] = {
            "daskflow_us": median_us(record, options.calls),
            "delayed_us": median_us(record_delayed, options.calls),
            "daskflow_bytes": bytes_per_future(record, options.calls),
        }
    if options.json:
        print(json.dumps(table, indent=2))
        return
    print(f"{'':15}{'daskflow':>12}{'delayed':>12}{'ratio':>8}{'bytes/future':>14}")
    for name, row in table.items():
        print(
            f"{name:15}{row['daskflow_us']:>9.2f} µs{row['delayed_us']:>9.2f} µs"
            f"{row['delayed_us'] / row['daskflow_us']:>7.1f}x{row['daskflow_bytes']:>14.0f}"
        )


if __name__ == "__main__":
    main()
