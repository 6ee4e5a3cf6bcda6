"""Runs the standard workloads on one engine, in a process of its own (started by compare.py).

    python peers.py ENGINE WORKERS [WORKLOAD=SIZE ...]       prints one line of JSON for each workload
    python peers.py ENGINE WORKERS first                     prints the result of one call

Engines: ``daskflow``, ``parsl``, ``delayed`` (dask.delayed and compute), ``futures`` (client.map and
client.submit). It runs in an environment that has the engine; of daskflow it needs `perf.workloads` alone.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib import metadata
from typing import Any, Protocol

from daskflow.perf import workloads
from daskflow.perf.workloads import Engine, same, warming

Cpu = dict[str, float | None]


class Peer(Engine, Protocol):
    def cpu_s(self) -> Cpu:
        """Return the CPU seconds that client, scheduler and workers have taken so far."""


class Daskflow:
    packages = ("daskflow", "dask", "distributed")

    def __init__(self, kernel: Any, workers: int):
        from daskflow.perf.measure import KernelEngine, cpu_time

        engine = KernelEngine(workers)
        self.slots = workers
        self.app, self.map, self.outcomes = engine.app, engine.map, engine.outcomes
        self._cpu_time = partial(cpu_time, kernel.client)

    def cpu_s(self) -> Cpu:
        taken = self._cpu_time()
        return {
            "client": taken.client,
            "scheduler": taken.scheduler,
            "workers": taken.workers,
        }

    @classmethod
    @contextlib.contextmanager
    def started(cls, workers: int) -> Iterator[Daskflow]:
        import daskflow

        executor = daskflow.LocalExecutor(workers=workers)
        with daskflow.load(daskflow.Config(executors=[executor])) as kernel:
            yield cls(kernel, workers)


class Parsl:
    packages = ("parsl",)

    def __init__(self, workers: int):
        import parsl

        self.slots = workers
        self.app = parsl.python_app

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        app = self.app(function)
        return [app(item) for item in items]

    def outcomes(self, futures: Sequence[Any]) -> list[Any]:
        return [_outcome(future.result) for future in futures]

    def cpu_s(self) -> Cpu:
        import parsl
        import psutil

        me = psutil.Process()
        scheduler = [p for p in me.children() if "interchange" in _command(p)]
        # They have left the process tree.
        pools = [
            p
            for p in psutil.process_iter()
            if "process_worker_pool" in _command(p) and parsl.dfk().run_dir in _command(p)
        ]
        workers = {child for pool in pools for child in [pool, *pool.children(recursive=True)]}
        return {
            "client": _cpu_s([me]),
            "scheduler": _cpu_s(scheduler),
            "workers": _cpu_s(workers),
        }

    @classmethod
    @contextlib.contextmanager
    def started(cls, workers: int) -> Iterator[Parsl]:
        import parsl
        from parsl.executors import HighThroughputExecutor

        executor = HighThroughputExecutor(max_workers_per_node=workers)
        with parsl.load(parsl.Config(executors=[executor])):
            yield cls(workers)


class Futures:
    packages = ("dask", "distributed")

    def __init__(self, client: Any, workers: int):
        from daskflow.perf.measure import cpu_time

        self.client = client
        self.slots = workers
        self._cpu_time = partial(cpu_time, client)

    def app(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return partial(self.client.submit, function, pure=False)

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        futures: list[Any] = self.client.map(function, list(items), pure=False)
        return futures

    def outcomes(self, futures: Sequence[Any]) -> list[Any]:
        if len(futures) == 1:
            return [_outcome(futures[0].result)]
        try:
            return list(self.client.gather(futures))
        except ValueError:  # of one of them
            return [_outcome(future.result) for future in futures]

    def cpu_s(self) -> Cpu:
        taken = self._cpu_time()
        # The scheduler of a LocalCluster lives in the client's process.
        return {"client": taken.client, "scheduler": taken.scheduler, "workers": taken.workers}

    @classmethod
    @contextlib.contextmanager
    def started(cls, workers: int) -> Iterator[Futures]:
        from distributed import Client, LocalCluster

        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster) as client,
        ):
            yield cls(client, workers)


class Delayed(Futures):
    def app(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import dask

        made: Callable[..., Any] = dask.delayed(function)
        return made

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[Any]:
        lazy = self.app(function)
        return [lazy(item) for item in items]

    def outcomes(self, futures: Sequence[Any]) -> list[Any]:
        import dask

        return list(dask.compute(*futures))


ENGINES = {"daskflow": Daskflow, "parsl": Parsl, "delayed": Delayed, "futures": Futures}


def _command(process: Any) -> str:
    import psutil

    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _cpu_s(processes: Iterable[Any]) -> float:
    import psutil

    seconds = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            seconds += sum(process.cpu_times()[:2])
    return seconds


def _outcome(result: Callable[[], Any]) -> Any:
    try:
        return result()
    except Exception as error:
        return error


def run(peer: Peer, name: str, size: int) -> dict[str, Any]:
    """Run a workload; return what `compare.py` reads."""
    workload = next(w for w in workloads.WORKLOADS if w.name == name)
    before = peer.cpu_s()
    done = workload.run(peer, size)
    after = peer.cpu_s()
    return {
        "workload": name,
        **done.as_json(),
        "cpu_us_per_call": {
            kind: None if before[kind] is None else 1e6 * (after[kind] - before[kind]) / done.calls
            for kind in before
        },
    }


def main(engine: str, workers: str, *wanted: str) -> None:
    kind = ENGINES[engine]
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        kind.started(int(workers)) as peer,
    ):
        if wanted == ("first",):
            tell(peer.outcomes([peer.app(same)(1)])[0])
            return
        # Every worker has run something before anything is measured.
        peer.outcomes([peer.app(warming)(0.2) for _ in range(2 * peer.slots)])
        tell({"versions": {name: metadata.version(name) for name in kind.packages}})
        for each in wanted:
            name, size = each.split("=")
            tell(run(peer, name, int(size)))


def tell(value: object) -> None:
    sys.stdout.write(f"{json.dumps(value)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
