"""Clusters that somebody else has started: what daskflow asks of them and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest

import daskflow
from daskflow import (
    Config,
    ExistingExecutor,
    LocalExecutor,
    SchedulerLost,
    ThreadExecutor,
    VersionMismatch,
    python_app,
)
from daskflow.worker.running import running_keys

Configs = Callable[..., Config]

CLUSTER = """
import sys

how, workers = sys.argv[1], int(sys.argv[2])
if how == "without":
    sys.modules["daskflow"] = None  # as if it were not installed
if how == "other":
    import importlib.metadata as metadata

    class Other(metadata.Distribution):
        def read_text(self, name):
            return "Name: daskflow\\nVersion: 99.9.9\\n" if name == "METADATA" else None

        def locate_file(self, path):
            return path

    known = metadata.distributions
    metadata.distributions = lambda **wanted: (
        [Other()] if wanted.get("name") == "daskflow" else known(**wanted)
    )

import asyncio
from distributed import Scheduler, Worker

async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        async with contextlib.AsyncExitStack() as stack:
            for index in range(workers):
                await stack.enter_async_context(
                    Worker(scheduler.address, nthreads=2, name=f"foreign-{index}", dashboard=False,
                           host="127.0.0.1", memory_limit=0)
                )
            print(scheduler.address, flush=True)
            loop = asyncio.get_running_loop()
            while line := await loop.run_in_executor(None, sys.stdin.readline):
                await stack.enter_async_context(
                    Worker(scheduler.address, nthreads=2, name=line.strip(), dashboard=False,
                           host="127.0.0.1", memory_limit=0)
                )
                print("joined", flush=True)

import contextlib
asyncio.run(main())
"""


@pytest.fixture
def cluster(scripts: Any) -> Callable[..., tuple[Any, str]]:
    """Start a cluster in another process; return the process and the scheduler's address."""

    def start(how: str = "plain", workers: int = 1) -> tuple[Any, str]:
        script = scripts.start(CLUSTER, how, str(workers), stdin=-1)
        return script, script.stdout.readline().strip()

    return start


@pytest.fixture
def client(cluster: Callable[..., tuple[Any, str]]) -> Iterator[distributed.Client]:
    _script, address = cluster()
    with distributed.Client(address) as made:
        yield made


@python_app
def square(x: int) -> int:
    return x * x


@python_app
def where() -> tuple[int, str]:
    from distributed import get_worker

    return os.getpid(), str(get_worker().name)


@python_app
def spins(started: str) -> None:
    Path(started).write_text("runs")
    while True:
        pass


def test_calls_run_on_the_workers_of_an_existing_cluster(
    config: Configs, cluster: Callable[..., tuple[Any, str]]
) -> None:
    script, address = cluster()
    with daskflow.load(config(executors=[ExistingExecutor(address)])):
        assert where().result() == (script.pid, "foreign-0")
        assert daskflow.gather([square(x) for x in range(100)]) == [x * x for x in range(100)]
    assert script.poll() is None, "the cluster lives on"


def test_a_toml_file_may_name_an_address(
    tmp_path: Path, cluster: Callable[..., tuple[Any, str]]
) -> None:
    _script, address = cluster()
    path = tmp_path / "site.toml"
    path.write_text(
        f"run_dir = '{tmp_path}/logs'\n[[executors]]\nkind = 'existing'\naddress = '{address}'\n"
    )
    with daskflow.load(path):
        assert where().result()[1] == "foreign-0"


def test_a_client_is_left_as_it_was(config: Configs, client: distributed.Client) -> None:
    methods = client.submit, client.map, client.gather
    with daskflow.load(config(executors=[ExistingExecutor(client)])):
        future = square(3)
        assert client.gather([future]) == [9]
        assert client.submit(abs, -1).result() == 1
    assert (client.submit, client.map, client.gather) == methods
    assert client.submit(abs, -2).result() == 2
    assert future.result() == 9


def of_daskflow(client: distributed.Client) -> list[str]:
    # Travels by value: a scheduler that somebody else has started need not know this module.
    def look(dask_scheduler: Any) -> list[str]:
        topics = dask_scheduler._broker._topics
        return [
            *(name for name in dask_scheduler.plugins if "daskflow" in name),
            *(name for name, topic in topics.items() if "daskflow" in name and topic.subscribers),
        ]

    found: list[str] = client.run_on_scheduler(look)
    return found


def test_nothing_of_a_kernel_is_left_on_a_scheduler_that_is_not_its_own(
    config: Configs, client: distributed.Client
) -> None:
    executors = [ExistingExecutor(client), ThreadExecutor(max_threads=1)]
    with daskflow.load(config(executors=executors)) as kernel:
        assert square(3).result() == 9
        assert of_daskflow(client)
    client.submit(abs, -1).result()  # by the way that leaving it takes
    assert of_daskflow(client) == []
    closed = weakref.ref(kernel)
    del kernel
    gc.collect()
    assert closed() is None, "the client does not hold on to it"


LOADS = """
import sys, daskflow
from daskflow import Config, ExistingExecutor

with daskflow.load(Config(executors=[ExistingExecutor(sys.argv[1])])):
    print("loaded", flush=True)
    sys.stdin.read()
"""


def test_nothing_is_left_on_it_by_a_process_that_was_killed(
    client: distributed.Client, scripts: Any
) -> None:
    script = scripts.start(LOADS, client.scheduler.address, stdin=-1)
    assert script.stdout.readline() == "loaded\n"
    assert of_daskflow(client)
    script.kill()
    for _ in range(300):
        if not of_daskflow(client):
            break
        threading.Event().wait(0.1)  # nothing tells of it
    assert of_daskflow(client) == []


def test_an_asynchronous_client_is_refused(
    config: Configs, cluster: Callable[..., tuple[Any, str]]
) -> None:
    _script, address = cluster()

    async def loads() -> None:
        async with distributed.Client(address, asynchronous=True) as client:
            with pytest.raises(daskflow.ConfigurationError, match="synchronous"):
                daskflow.load(config(executors=[ExistingExecutor(client)]))

    asyncio.run(loads())


def test_closing_stops_what_still_runs_on_the_cluster(
    config: Configs, client: distributed.Client, fifo: Callable[[str], str]
) -> None:
    started = fifo("started")
    with pytest.warns(RuntimeWarning, match="calls were recorded and never run"):
        with daskflow.load(config(executors=[ExistingExecutor(client)], exit_mode="cancel")):
            spins(started)
            for x in range(49):
                square.options(batch=False)(x)
            daskflow.submit()
            Path(started).read_text()
    assert client.gather(client.map(abs, range(-5, 0)), errors="raise") == [5, 4, 3, 2, 1]
    assert client.run(running_keys) == {address: [] for address in client.nthreads()}


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("without", r"tcp://127\.0\.0\.1:\d+: .*daskflow"),
        ("other", r"tcp://127\.0\.0\.1:\d+: .*daskflow.*99\.9\.9"),
    ],
)
def test_workers_that_cannot_run_calls_are_named_at_load(
    config: Configs, cluster: Callable[..., tuple[Any, str]], how: str, named: str
) -> None:
    script, address = cluster(how, workers=2)
    with pytest.raises(VersionMismatch, match=named) as caught:
        daskflow.load(config(executors=[ExistingExecutor(address)]))
    assert str(caught.value).count("tcp://") == 2, "each worker has its line"
    assert "the scheduler: " in str(caught.value)
    assert script.poll() is None


def test_a_worker_with_another_python_is_named_at_load(
    config: Configs, client: distributed.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    with pytest.raises(VersionMismatch, match=r"Python '3\.\d+\.\d+' \(here: '3\.99\.0'\)"):
        daskflow.load(config(executors=[ExistingExecutor(client)]))


def test_an_address_where_nobody_answers_is_an_error(config: Configs) -> None:
    fast = dask.config.set({"distributed.comm.timeouts.connect": "1s"})
    with fast, pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
        daskflow.load(config(executors=[ExistingExecutor("tcp://127.0.0.1:9")]))


def test_other_executors_join_the_scheduler_of_an_existing_cluster(
    config: Configs, cluster: Callable[..., tuple[Any, str]]
) -> None:
    script, address = cluster()
    settings = config(
        executors=[
            ExistingExecutor(address, label="far"),
            ThreadExecutor(label="here", max_threads=1),
            LocalExecutor(label="near", workers=1, memory_limit=0),
        ]
    )
    with daskflow.load(settings):
        far = [where.options(executors=["far"])() for _ in range(5)]
        here = [where.options(executors=["here"])() for _ in range(5)]
        near = [where.options(executors=["near"])() for _ in range(5)]
        assert {f.result() for f in far} == {(script.pid, "foreign-0")}
        assert {f.result() for f in here} == {(os.getpid(), "here")}
        assert {f.result()[1] for f in near} == {"near-0"}
        passed = square.options(executors=["near"])(square.options(executors=["far"])(2))
        assert square.options(executors=["here"])(passed).result() == 256
    with distributed.Client(address) as client:
        assert len(client.nthreads()) == 1, "the workers that were added are gone"


def test_workers_that_join_the_cluster_later_have_its_label(
    config: Configs, cluster: Callable[..., tuple[Any, str]]
) -> None:
    script, address = cluster(workers=0)
    settings = config(
        executors=[
            ExistingExecutor(address, label="far"),
            ThreadExecutor(label="here", max_threads=1),
        ]
    )
    with daskflow.load(settings):
        future = where.options(executors=["far"])()
        daskflow.submit()
        script.stdin.write("late\n")
        script.stdin.flush()
        assert script.stdout.readline() == "joined\n"
        assert future.result(timeout=30) == (script.pid, "late")


LATE = """
import asyncio, contextlib, sys

address, how = sys.argv[1:]
if how == "without":
    sys.modules["daskflow"] = None  # as if it were not installed
from distributed import Worker

async def main():
    async with Worker(address, nthreads=2, name=how, dashboard=False, host="127.0.0.1", memory_limit=0):
        print("joined", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

asyncio.run(main())
"""


def test_workers_without_daskflow_that_join_later_are_named_and_run_no_call(
    config: Configs,
    cluster: Callable[..., tuple[Any, str]],
    scripts: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _script, address = cluster(workers=0)
    with distributed.Client(address) as user:
        with pytest.warns(RuntimeWarning, match=r"no work .*tcp://.*daskflow False"):
            with daskflow.load(config(executors=[ExistingExecutor(user)])):
                futures = [where.options(batch=False)() for _ in range(10)]
                daskflow.submit()
                stranger = scripts.start(LATE, address, "without", stdin=-1)
                assert stranger.stdout.readline() == "joined\n", "it may join"
                fellow = scripts.start(LATE, address, "fellow", stdin=-1)
                assert fellow.stdout.readline() == "joined\n"
                assert {f.result(timeout=60) for f in futures} == {(fellow.pid, "fellow")}
                assert len(user.nthreads()) == 2
        assert "daskflow False (here: True)" in caplog.text
        again = user.submit(os.getpid, workers=["without"], pure=False)
        assert again.result(timeout=60) == stranger.pid, "afterwards it works for others again"
        user.run(tuple)  # both answer
    for script in (stranger, fellow):
        script.stdin.close()
        assert script.wait(20) == 0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_end_of_an_existing_scheduler_fails_all_calls(
    config: Configs, cluster: Callable[..., tuple[Any, str]], fifo: Callable[[str], str]
) -> None:
    script, address = cluster()
    started = fifo("started")
    kernel = daskflow.load(config(executors=[ExistingExecutor(address)]))
    running = spins(started)
    below = square(running)
    daskflow.submit()
    Path(started).read_text()
    told = threading.Event()
    below.add_done_callback(lambda _: told.set())
    script.kill()
    assert told.wait(20)
    for future in (running, below):
        with pytest.raises(SchedulerLost):
            future.result(timeout=10)
    with pytest.raises(SchedulerLost):
        square(2).result(timeout=10)
    kernel.close()
