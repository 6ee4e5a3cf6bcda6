"""The standard workloads, told once for whatever runs them.

An `Engine` runs calls: a kernel of daskflow, or a peer that `tests/benchmarks/compare.py` measures.
This module imports neither daskflow's kernel nor Dask, since it is imported where there is none.

Each workload checks what comes back, and measures from the first call made to the last value at home.
"""

from __future__ import annotations

import gc
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from daskflow.errors import WrongResult


class Engine(Protocol):
    """Something that runs calls of Python functions elsewhere."""

    @property
    def slots(self) -> int:
        """How many calls it runs at once."""

    def app(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what makes a future of a call of `function`; futures are arguments, too."""

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> Sequence[Any]:
        """Return a future of ``function(item)`` for each of `items`."""

    def outcomes(self, futures: Sequence[Any]) -> list[Any]:
        """Wait for `futures`; return the value of each, or the exception that its call raised."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of a workload.

    Attributes
    ----------
    calls, seconds
        How many calls it made, and how long they took together.
    ideal_s
        How long they would take if only the calls themselves took time.
    round_trip_s
        The median time of one call that is waited for.
    held_bytes, left_bytes
        By how much this process grew, while all futures were held and a while after they were dropped.
    """

    calls: int
    seconds: float
    ideal_s: float | None = None
    round_trip_s: float | None = None
    held_bytes: int | None = None
    left_bytes: int | None = None

    @property
    def efficiency(self) -> float | None:
        """The share of the time that the calls themselves needed."""
        return None if self.ideal_s is None else self.ideal_s / self.seconds

    def as_json(self) -> dict[str, Any]:
        """Return what `json` can write; what there is no value for is left out."""
        fields = {
            "calls": self.calls,
            "seconds": self.seconds,
            "calls_per_s": self.calls / self.seconds,
            "efficiency": self.efficiency,
            "round_trip_s": self.round_trip_s,
            "held_bytes": self.held_bytes,
            "left_bytes": self.left_bytes,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A standard workload.

    `size` is that of a run by default (`unit` says of what), `least` the smallest that makes sense.
    """

    name: str
    title: str
    size: int
    unit: str
    run: Callable[[Engine, int], Run]
    least: int = 1
    needs_numpy: bool = False

    def scaled(self, factor: float) -> int:
        """Return `size` times `factor`, at least `least`."""
        return max(self.least, round(self.size * factor))


# ---- the functions that are called --------------------------------------------------------------


def same(x: Any) -> Any:
    """Return the argument."""
    return x


def total(inputs: Sequence[int]) -> int:
    """Add up numbers."""
    return sum(inputs)


def added(*numbers: int) -> int:
    """Add up the arguments, modulo a million so that they stay small."""
    return sum(numbers) % 1_000_000


def shifted(x: int, *, by: int = 0) -> int:
    """Add the keyword."""
    return x + by


def pause(seconds: float) -> float:
    """Sleep."""
    time.sleep(seconds)
    return seconds


def warming(seconds: float) -> int:
    """Sleep; for the calls before the first workload, so that nothing is learned of others."""
    time.sleep(seconds)
    return os.getpid()


def never_seen(seconds: float) -> float:
    """Sleep; used by one workload only, so that nothing is known of it."""
    time.sleep(seconds)
    return seconds


def seldom_long(index: int) -> int:
    """Sleep for a second in the 7th of 50 calls."""
    if index % _EVERY_LONG == _FIRST_LONG:
        time.sleep(1.0)
    return index


def seldom_failing(index: int) -> int:
    """Fail in one of a thousand calls."""
    if index % _EVERY_FAILING == _EVERY_FAILING - 1:
        raise ValueError(index)
    return index


def closure(by: int) -> Callable[[int], int]:
    """Return a function that only its closure makes complete."""

    def enclosed(x: int) -> int:
        return x + by

    return enclosed


def doubled(array: Any) -> Any:
    """Return an array of twice the values."""
    return array * 2


def ones(count: int) -> Any:
    """Return an array of `count` floats."""
    import numpy as np  # not everywhere

    return np.ones(count)


def one_more(array: Any) -> Any:
    """Return an array of values greater by one."""
    return array + 1


def ends(array: Any) -> tuple[int, float, float]:
    """Return how long an array is, its first and its last value."""
    return len(array), float(array[0]), float(array[-1])


_EVERY_LONG, _FIRST_LONG = 50, 6
_RENEWED_S = 5.0
_EVERY_FAILING = 1000
_PAUSE_S = 0.01
_STEPS = 5
_LARGE = 100 * 10**6 // 8


# ---- the workloads ------------------------------------------------------------------------------


def check(name: str, found: object, expected: object) -> None:
    """Raise WrongResult unless both are equal."""
    if found != expected:
        raise WrongResult(f"workload {name!r}: {_short(found)} instead of {_short(expected)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def independent(engine: Engine, calls: int) -> Run:
    """Map a function that does nothing over ints."""
    start_s = time.perf_counter()
    values = engine.outcomes(engine.map(same, range(calls)))
    seconds = time.perf_counter() - start_s
    check("independent", values, list(range(calls)))
    return Run(calls=calls, seconds=seconds)


def arrays(engine: Engine, calls: int) -> Run:
    """Map over arrays of 1 kB, which come back as such."""
    import numpy as np  # not everywhere

    given = [np.full(125, float(index)) for index in range(calls)]
    start_s = time.perf_counter()
    values = engine.outcomes(engine.map(doubled, given))
    seconds = time.perf_counter() - start_s
    found = [(len(value), value[0], value[-1]) for value in values]
    check("arrays", found, [(125, 2.0 * index, 2.0 * index) for index in range(calls)])
    return Run(calls=calls, seconds=seconds)


def chain(engine: Engine, calls: int) -> Run:
    """Make calls each of which takes the value of the one before."""
    start_s = time.perf_counter()
    app = engine.app(added)
    future = app(1)
    for _ in range(calls - 1):
        future = app(future, 1)
    values = engine.outcomes([future])
    seconds = time.perf_counter() - start_s
    check("chain", values, [calls])
    return Run(calls=calls, seconds=seconds)


def map_reduce(engine: Engine, maps: int) -> Run:
    """Map, add up in hundreds, and add up the sums."""
    start_s = time.perf_counter()
    mapped = engine.map(same, range(maps))
    add_up = engine.app(total)
    sums = [add_up(inputs=list(mapped[at : at + 100])) for at in range(0, maps, 100)]
    values = engine.outcomes([add_up(inputs=sums)])
    seconds = time.perf_counter() - start_s
    check("map-reduce", values, [sum(range(maps))])
    return Run(calls=maps + len(sums) + 1, seconds=seconds)


def tree(engine: Engine, leaves: int) -> Run:
    """Add up pairs, pairs of pairs, and so on; `leaves` is rounded down to a power of two."""
    leaves = 2 ** int(math.log2(leaves))
    start_s = time.perf_counter()
    level = engine.map(same, [1] * leaves)
    add = engine.app(added)
    while len(level) > 1:
        level = [add(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    values = engine.outcomes(level)
    seconds = time.perf_counter() - start_s
    check("tree", values, [leaves % 1_000_000])
    return Run(calls=2 * leaves - 1, seconds=seconds)


def ten_parents(engine: Engine, calls: int) -> Run:
    """Make calls each of which takes the values of the ten before."""
    start_s = time.perf_counter()
    app = engine.app(added)
    futures = [app(1) for _ in range(10)]
    for _ in range(calls):
        futures.append(app(*futures[-10:]))
    values = engine.outcomes(futures)
    seconds = time.perf_counter() - start_s
    expected = [1] * 10
    for _ in range(calls):
        expected.append(added(*expected[-10:]))
    check("ten-parents", values, expected)
    return Run(calls=calls + 10, seconds=seconds)


def milliseconds(engine: Engine, calls: int) -> Run:
    """Map a function that takes 10 ms."""
    start_s = time.perf_counter()
    values = engine.outcomes(engine.map(pause, [_PAUSE_S] * calls))
    seconds = time.perf_counter() - start_s
    check("milliseconds", values, [_PAUSE_S] * calls)
    return Run(calls=calls, seconds=seconds, ideal_s=math.ceil(calls / engine.slots) * _PAUSE_S)


def unseen(engine: Engine, calls: int) -> Run:
    """Make calls of 1 s for each slot, `calls` of each, of an app of which nothing is known."""
    count = calls * engine.slots
    start_s = time.perf_counter()
    values = engine.outcomes(engine.map(never_seen, [1.0] * count))
    seconds = time.perf_counter() - start_s
    check("unseen", values, [1.0] * count)
    return Run(calls=count, seconds=seconds, ideal_s=float(calls))


def uneven(engine: Engine, calls: int) -> Run:
    """Make calls that do nothing, but for one in 50, which takes 1 s."""
    start_s = time.perf_counter()
    values = engine.outcomes(engine.map(seldom_long, range(calls)))
    seconds = time.perf_counter() - start_s
    check("uneven", values, list(range(calls)))
    long_calls = sum(index % _EVERY_LONG == _FIRST_LONG for index in range(calls))
    return Run(
        calls=calls, seconds=seconds, ideal_s=float(math.ceil(long_calls / engine.slots)) or None
    )


def latency(engine: Engine, calls: int) -> Run:
    """Wait for each call before the next is made."""
    app = engine.app(same)
    for index in range(20):
        engine.outcomes([app(index)])
    round_trips: list[float] = []
    for index in range(calls):
        start_s = time.perf_counter()
        values = engine.outcomes([app(index)])
        round_trips.append(time.perf_counter() - start_s)
        check("latency", values, [index])
    return Run(calls=calls, seconds=sum(round_trips), round_trip_s=statistics.median(round_trips))


def large_array(engine: Engine, arrays: int) -> Run:
    """Pass an array of 100 MB through five calls, each of which makes a new one; one after the other."""
    before = _memory_bytes()
    start_s = time.perf_counter()
    make, step, look = engine.app(ones), engine.app(one_more), engine.app(ends)
    found: list[Any] = []
    for _ in range(arrays):
        array = make(_LARGE)
        for _ in range(_STEPS):
            array = step(array)
        found += engine.outcomes([look(array)])
    seconds = time.perf_counter() - start_s
    check("large-array", [tuple(value) for value in found], [(_LARGE, 6.0, 6.0)] * arrays)
    grown = _memory_bytes() - before
    return Run(calls=arrays * (_STEPS + 2), seconds=seconds, held_bytes=grown)


def million(engine: Engine, calls: int) -> Run:
    """Make a great many calls and hold all their futures, then drop them."""
    before = _memory_bytes()
    start_s = time.perf_counter()
    futures: Any = engine.map(same, range(calls))
    values = engine.outcomes(futures)
    seconds = time.perf_counter() - start_s
    check("million", sum(values), sum(range(calls)))
    del values
    held = _memory_bytes() - before
    futures = None
    gc.collect()
    # What is renewed from time to time, such as timers of an event loop, has its place among the calls,
    # and Python gives memory back by the MiB.
    time.sleep(_RENEWED_S)
    left = _memory_bytes() - before
    return Run(calls=calls, seconds=seconds, held_bytes=held, left_bytes=left)


def busy(engine: Engine, calls: int) -> Run:
    """Map as in `independent`, while this thread computes for some µs between calls."""
    start_s = time.perf_counter()
    app = engine.app(same)
    futures = []
    for index in range(calls):
        futures.append(app(index))
        sum(range(500))
    values = engine.outcomes(futures)
    seconds = time.perf_counter() - start_s
    check("busy", values, list(range(calls)))
    return Run(calls=calls, seconds=seconds)


def keywords(engine: Engine, calls: int) -> Run:
    """Give every other call a keyword argument."""
    start_s = time.perf_counter()
    app = engine.app(shifted)
    futures = [app(index, by=1) if index % 2 else app(index) for index in range(calls)]
    values = engine.outcomes(futures)
    seconds = time.perf_counter() - start_s
    check("keywords", values, [index + index % 2 for index in range(calls)])
    return Run(calls=calls, seconds=seconds)


def closures(engine: Engine, calls: int) -> Run:
    """Map a function that has a closure."""
    start_s = time.perf_counter()
    values = engine.outcomes(engine.map(closure(3), range(calls)))
    seconds = time.perf_counter() - start_s
    check("closure", values, [index + 3 for index in range(calls)])
    return Run(calls=calls, seconds=seconds)


def failing(engine: Engine, calls: int) -> Run:
    """Map a function that fails in one of a thousand calls."""
    start_s = time.perf_counter()
    outcomes = engine.outcomes(engine.map(seldom_failing, range(calls)))
    seconds = time.perf_counter() - start_s
    found = [o.args[0] if isinstance(o, ValueError) else o for o in outcomes]
    check("failing", found, list(range(calls)))
    failures = sum(isinstance(outcome, ValueError) for outcome in outcomes)
    check("failing", failures, calls // _EVERY_FAILING)
    return Run(calls=calls, seconds=seconds)


def _memory_bytes() -> int:
    import psutil  # slow to import

    gc.collect()
    return int(psutil.Process().memory_info().rss)


WORKLOADS = (
    Workload(
        name="independent",
        title="no-op calls with an int each",
        size=100_000,
        unit="calls",
        run=independent,
    ),
    Workload(
        name="arrays",
        title="calls with 1 kB numpy arrays in and out",
        size=50_000,
        unit="calls",
        run=arrays,
        needs_numpy=True,
    ),
    Workload(name="chain", title="a chain of no-op calls", size=5_000, unit="calls", run=chain),
    Workload(
        name="map-reduce",
        title="maps, sums of 100, one sum",
        size=20_000,
        unit="maps",
        run=map_reduce,
    ),
    Workload(name="tree", title="a binary tree of sums", size=16_384, unit="leaves", run=tree),
    Workload(
        name="ten-parents",
        title="calls that each need the ten before",
        size=10_000,
        unit="calls",
        run=ten_parents,
    ),
    Workload(
        name="milliseconds",
        title="calls of 10 ms",
        size=1_000,
        unit="calls",
        run=milliseconds,
        least=2,
    ),
    Workload(
        name="unseen",
        title="calls of 1 s of an app never seen before",
        size=4,
        unit="calls a slot",
        run=unseen,
    ),
    Workload(
        name="uneven",
        title="no-op calls, one in 50 takes 1 s",
        size=200,
        unit="calls",
        run=uneven,
        least=50,
    ),
    Workload(
        name="latency",
        title="one call at a time, each waited for",
        size=500,
        unit="calls",
        run=latency,
        least=20,
    ),
    Workload(
        name="large-array",
        title="a 100 MB array through five calls",
        size=5,
        unit="arrays",
        run=large_array,
        needs_numpy=True,
    ),
    Workload(
        name="million",
        title="a million no-op calls, all futures held",
        size=1_000_000,
        unit="calls",
        run=million,
    ),
    Workload(
        name="busy",
        title="no-op calls while the script computes",
        size=100_000,
        unit="calls",
        run=busy,
    ),
    Workload(
        name="keywords",
        title="no-op calls, every other with a keyword",
        size=50_000,
        unit="calls",
        run=keywords,
    ),
    Workload(
        name="closure",
        title="no-op calls of a function with a closure",
        size=50_000,
        unit="calls",
        run=closures,
    ),
    Workload(
        name="failing",
        title="no-op calls, one in a thousand fails",
        size=50_000,
        unit="calls",
        run=failing,
        least=1_000,
    ),
)
