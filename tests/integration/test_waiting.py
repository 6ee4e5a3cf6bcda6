"""No cheap call waits behind a long one while a worker has nothing to do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import daskflow
from daskflow import Config, LocalExecutor, python_app


@pytest.fixture(scope="module", autouse=True)
def _two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    config = Config(
        executors=[LocalExecutor(workers=2, memory_limit=0, resources={"slot": 1})],
        run_dir=str(tmp_path_factory.mktemp("runinfo")),
        dashboard=False,
    )
    with daskflow.load(config):
        yield


def let_go(fifo: str) -> None:
    """Let whoever waits for a writer of `fifo` go on; it may have been interrupted before it did."""
    with suppress(OSError):
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))


@pytest.fixture
def blocking(tmp_path: Path, runs: Any) -> Iterator[Callable[[int, int], int]]:
    """An app that notes its runs and, where its arguments are equal, waits until the test ends."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    def blocks_at(x: int, blocked: int) -> int:
        runs.count(str(x))
        if x == blocked:
            with Path(fifo).open():
                return x
        return x

    yield blocks_at
    let_go(fifo)


@pytest.mark.parametrize(
    ("batch", "resources"), [(False, {}), (False, {"slot": 1}), (3, {}), (True, {})]
)
def test_what_lies_behind_a_long_call_of_a_cheap_app_is_moved_and_runs_once(
    blocking: Callable[[int, int], int], runs: Any, batch: bool | int, resources: Mapping[str, int]
) -> None:
    app = python_app(blocking, batch=batch, resources=dict(resources))
    # Dask, too, has learned that it is cheap.
    assert daskflow.gather([app(x, -1) for x in range(100, 200)]) == list(range(100, 200))
    futures = [app(x, 7) for x in range(40)]
    others = [future for x, future in enumerate(futures) if x != 7]
    assert daskflow.gather(others) == [x for x in range(40) if x != 7]
    assert not futures[7].done()
    assert set(runs.all().values()) == {1}


def test_few_long_calls_among_many_cheap_ones_run_once_as_all_the_others(runs: Any) -> None:
    @python_app
    def uneven(x: int) -> int:
        runs.count(str(x))
        if x in (7, 57, 107, 157):
            time.sleep(0.3)  # long enough to be handed back from
        return x

    assert daskflow.gather(uneven.map(range(200))) == list(range(200))
    assert len(runs.all()) == 200
    assert set(runs.all().values()) == {1}


def test_what_takes_a_value_of_the_busy_worker_is_moved_as_well(
    blocking: Callable[[int, int], int], runs: Any
) -> None:
    app = python_app(blocking, batch=False)
    add = python_app(lambda x, y: x + y, batch=False)
    values = [app(x, -1) for x in range(100, 150)]
    daskflow.gather([add(x, x) for x in values])
    blocked = app(7, 7)
    sums = [add(x, app(x.result() + 100, 7)) for x in values]
    assert daskflow.gather(sums) == [2 * x + 100 for x in range(100, 150)]
    assert not blocked.done()
    assert set(runs.all().values()) == {1}


@pytest.mark.parametrize("batch", [False, True])
def test_nothing_waits_behind_a_call_that_was_cancelled_and_runs_on(
    batch: bool, tmp_path: Path
) -> None:
    begun, fifo = str(tmp_path / "begun"), str(tmp_path / "fifo")
    os.mkfifo(begun)
    os.mkfifo(fifo)

    @python_app
    def blocks_in_c() -> None:
        os.close(os.open(begun, os.O_WRONLY))
        os.close(os.open(fifo, os.O_RDONLY))

    same = python_app(lambda x: x, batch=batch)
    blocked = blocks_in_c()
    daskflow.submit(blocked)
    os.close(os.open(begun, os.O_RDONLY))
    assert blocked.cancel()
    for _ in range(3):
        assert daskflow.gather([same(x) for x in range(4)]) == list(range(4))
    let_go(fifo)
