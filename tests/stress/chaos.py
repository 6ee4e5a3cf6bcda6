"""Random workflows on workers that are killed: each value must be right, and nothing may hang.

    python tests/stress/chaos.py                 ten rounds with a seed that is printed
    python tests/stress/chaos.py 17 --rounds 3   the graphs of seed 17; the moments of the deaths are others

It takes what the tests do not: hours, if you have them. Ends with 1 if something was wrong. Without deaths
(``--kills 0``) no call may have run twice, either.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np

import daskflow
from daskflow import Config, DataFlowKernel, LocalExecutor, join_app, python_app

_MODULUS = 1_000_003
_STUCK_S = 120.0


def number(value: Any) -> int:
    """Return the number that stands for a value: a call's is made of those of its arguments."""
    return int(np.asarray(value).sum()) % _MODULUS


def run_of(log: str, name: str) -> None:
    """Note that a call runs."""
    descriptor = os.open(f"{log}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"x")
    os.close(descriptor)


@python_app
def cheap(log: str, name: str, *values: Any) -> int:
    run_of(log, name)
    return 1 + sum(map(number, values))


@python_app
def slow(log: str, name: str, seconds: float, *values: Any) -> int:
    run_of(log, name)
    time.sleep(seconds)
    return 2 + sum(map(number, values))


@python_app
def large(log: str, name: str, size: int, *values: Any) -> Any:
    run_of(log, name)
    return np.full(size, sum(map(number, values)) % 7)


@python_app(retries=1)
def flaky(log: str, name: str, *values: Any) -> int:
    is_first = not Path(log, name).exists()
    run_of(log, name)
    if is_first:
        raise RuntimeError("only the first time")
    return 3 + sum(map(number, values))


@python_app
def failing(log: str, name: str, *_values: Any) -> None:
    run_of(log, name)
    raise ValueError(name)


@join_app
def spread(log: str, name: str, width: int, *values: Any) -> Any:
    run_of(log, name)
    return [cheap(log, f"{name}.{i}", i, *values) for i in range(width)]


@python_app
def total(log: str, name: str, values: Sequence[Any]) -> int:
    run_of(log, name)
    return sum(map(number, values))


@dataclass(frozen=True)
class Node:
    """A future, and the value that it must have; None if it must fail."""

    future: Any
    value: Any


class Round:
    """One random graph. Each call takes the values of some of the fifty before it."""

    def __init__(self, rng: random.Random, log: str):
        self._rng = rng
        self._log = log
        self.nodes: list[Node] = []
        kinds: list[tuple[int, Callable[..., Node]]] = [
            (50, self._cheap),
            (6, self._slow),
            (8, self._large),
            (4, self._chain),
            (4, self._flaky),
            (1, self._failing),
            (3, self._spread),
            (3, self._collection),
            (3, self._dask_future),
        ]
        weights, makers = zip(*kinds, strict=True)
        for index in range(rng.choice([50, 300, 1000])):
            recent = self.nodes[-50:]
            taken = rng.sample(recent, min(rng.choice([0, 1, 1, 1, 2, 3]), len(recent)))
            values = [node.value for node in taken]
            known = None if any(v is None for v in values) else sum(map(number, values))
            (make,) = rng.choices(makers, weights)
            self.nodes.append(make(str(index), [node.future for node in taken], known))

    def _cheap(self, name: str, futures: list[Any], known: int | None) -> Node:
        return Node(cheap(self._log, name, *futures), None if known is None else 1 + known)

    def _slow(self, name: str, futures: list[Any], known: int | None) -> Node:
        seconds = self._rng.choice([0, 0.01, 0.05, 0.3])
        return Node(slow(self._log, name, seconds, *futures), None if known is None else 2 + known)

    def _large(self, name: str, futures: list[Any], known: int | None) -> Node:
        size = self._rng.choice([1_000, 200_000, 600_000])
        value = None if known is None else np.full(size, known % 7)
        return Node(large(self._log, name, size, *futures), value)

    def _chain(self, name: str, futures: list[Any], known: int | None) -> Node:
        size = 300_000
        future = large(self._log, name, size, *futures)
        value = None if known is None else np.full(size, known % 7)
        for step in range(5):
            future = large(self._log, f"{name}-{step}", size, future)
            value = None if value is None else np.full(size, number(value) % 7)
        return Node(future, value)

    def _flaky(self, name: str, futures: list[Any], known: int | None) -> Node:
        future = flaky(self._log, f"{name}-flaky", *futures)
        return Node(future, None if known is None else 3 + known)

    def _failing(self, name: str, futures: list[Any], _known: int | None) -> Node:
        return Node(failing(self._log, name, *futures), None)

    def _spread(self, name: str, futures: list[Any], known: int | None) -> Node:
        width = self._rng.choice([1, 3, 20])
        whole = total(self._log, f"{name}-total", spread(self._log, name, width, *futures))
        return Node(
            whole, None if known is None else sum(number(1 + i + known) for i in range(width))
        )

    def _collection(self, name: str, futures: list[Any], known: int | None) -> Node:
        inside: Any = futures[0] if futures and known is not None else 7
        value = number(self._value_of(inside))
        return Node(cheap(self._log, name, dask.delayed(number)(inside)), 1 + value)

    def _dask_future(self, name: str, futures: list[Any], known: int | None) -> Node:
        inside: Any = futures[0] if futures and known is not None else 7
        value = number(self._value_of(inside))
        future = daskflow.dfk().client.compute(dask.delayed(number)(inside))
        return Node(cheap(self._log, name, future), 1 + value)

    def _value_of(self, inside: Any) -> Any:
        return next((node.value for node in self.nodes if node.future is inside), inside)


def wrongs(nodes: Sequence[Node]) -> list[str]:
    """Wait for all futures and say what is wrong with them."""
    found = []
    for node in nodes:
        key = node.future.key
        try:
            value = node.future.result(timeout=_STUCK_S)
        except TimeoutError:
            found.append(f"{key} hangs")
            break
        except Exception as error:  # whatever it is
            if node.value is not None:
                found.append(f"{key} raised {error!r}")
            continue
        if node.value is None:
            found.append(f"{key} should have failed, and is {value!r}")
        elif not np.array_equal(value, node.value):
            found.append(f"{key} is {value!r}, not {node.value!r}")
    return found


def wrong_collections(rng: random.Random, nodes: Sequence[Node]) -> list[str]:
    """Have Dask compute something that is built on calls, and say what is wrong with it."""
    good = [node for node in nodes if node.value is not None]
    chosen = rng.sample(good, min(5, len(good)))
    try:
        values = dask.compute(*[dask.delayed(number)(node.future) for node in chosen])
    except Exception as error:  # whatever it is
        return [f"dask.compute raised {error!r}"]
    expected = tuple(number(node.value) for node in chosen)
    return [] if values == expected else [f"dask.compute gave {values}, not {expected}"]


def kill_a_worker(rng: random.Random, kernel: DataFlowKernel) -> None:
    """Kill a worker, unless all are dead already."""
    time.sleep(rng.random() / 2)
    with suppress(OSError, IndexError):  # one that just died does not answer
        os.kill(rng.choice(list(kernel.client.run(os.getpid).values())), signal.SIGKILL)


def ran_twice(log: str) -> list[str]:
    """Return the calls that ran more often than they had to."""
    often = {path.name: path.stat().st_size for path in Path(log).iterdir()}
    return [f"{n} ran {k} times" for n, k in often.items() if k > 1 + n.endswith("-flaky")]


def main() -> int:
    """Run the rounds; return 1 if something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=random.randrange(1_000_000))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--kills", type=int, default=3, help="workers killed in each round")
    chosen = parser.parse_args()
    rng = random.Random(chosen.seed)
    print(f"seed {chosen.seed}", flush=True)
    executor = LocalExecutor(
        workers=rng.choice([1, 2, 3]), threads_per_worker=rng.choice([1, 1, 2])
    )
    is_wrong = False
    with tempfile.TemporaryDirectory() as folder:
        config = Config(executors=[executor], run_dir=f"{folder}/runinfo", dashboard=False)
        kernel = daskflow.load(config)
        for index in range(chosen.rounds):
            log = f"{folder}/{index}"
            Path(log).mkdir()
            nodes = Round(rng, log).nodes
            daskflow.submit(*(node.future for node in nodes))
            for kill in [partial(kill_a_worker, rng, kernel)] * chosen.kills:
                kill()
            found = wrong_collections(rng, nodes) + wrongs(nodes)
            if chosen.kills == 0:
                found += ran_twice(log)
            is_wrong = is_wrong or bool(found)
            print(
                f"round {index}: {len(nodes)} calls, {'; '.join(found[:5]) or 'right'}", flush=True
            )
        kernel.close()
    return int(is_wrong)


if __name__ == "__main__":
    sys.exit(main())
