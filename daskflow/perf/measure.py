"""Running workloads on a kernel, and finding out where their time goes.

::

    CPU seconds of  client | scheduler | workers      before and after each workload

The kernel's Dask client asks each process for its own, wherever it runs. Processes that are one and the
same count once: the workers of a ThreadExecutor are the client.
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from typing import Any

from daskflow import AppFuture, DataFlowKernel, python_app
from daskflow.errors import ExecutorError
from daskflow.perf.workloads import Run, Workload, warming

_WORKERS_TIMEOUT_S = 60.0
_FIRST_TIMEOUT_S = 120.0
STARTUP = "startup"
STARTUP_TITLE = "a fresh process, until its first result"


class KernelEngine:
    """Runs the calls of workloads on a kernel of daskflow."""

    def __init__(self, slots: int):
        self._slots = slots

    @property
    def slots(self) -> int:
        return self._slots

    def app(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return python_app(function)

    def map(self, function: Callable[..., Any], items: Iterable[Any]) -> list[AppFuture]:
        app = python_app(function)
        return [app(item) for item in items]

    def outcomes(self, futures: Sequence[AppFuture]) -> list[Any]:
        return [_outcome(future) for future in futures]


def _outcome(future: AppFuture) -> Any:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001 # a call's exception is its outcome
        return error


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuTime:
    """Seconds of CPU that processes have taken; None where they cannot be told apart."""

    client: float
    scheduler: float | None
    workers: float | None

    def since(self, before: CpuTime) -> CpuTime:
        """Return what was taken since `before`."""
        return CpuTime(
            client=self.client - before.client,
            scheduler=_difference(self.scheduler, before.scheduler),
            workers=_difference(self.workers, before.workers),
        )

    def divided(self, count: int) -> CpuTime:
        """Return the share of each of `count` calls."""
        return CpuTime(
            client=self.client / count,
            scheduler=None if self.scheduler is None else self.scheduler / count,
            workers=None if self.workers is None else self.workers / count,
        )


def _difference(now: float | None, before: float | None) -> float | None:
    # A worker that ended took its seconds with it.
    return None if now is None or before is None else max(0.0, now - before)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What came of one workload: its run and the CPU seconds it took; or why it has none."""

    workload: Workload
    run: Run | None = None
    cpu: CpuTime | None = None
    why_not: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Where a measurement was made; no name of a host or path."""

    python: str
    versions: tuple[tuple[str, str], ...]
    cores: int
    slots: int
    workers: int


def cpu_of_process() -> tuple[str, int, float]:
    """Return the host and pid of this process, and the CPU seconds it has taken (on a worker)."""
    spent = os.times()
    return socket.gethostname(), os.getpid(), spent.user + spent.system


def cpu_time(client: Any) -> CpuTime:
    """Return the CPU seconds that all processes of a cluster have taken."""
    host, pid, seconds = cpu_of_process()
    theirs = client.run_on_scheduler(cpu_of_process)
    scheduler = None if theirs[:2] == (host, pid) else theirs[2]
    others = {
        answer[:2]: answer[2]
        for answer in client.run(cpu_of_process, on_error="ignore").values()
        if answer[:2] not in ((host, pid), theirs[:2])
    }
    return CpuTime(
        client=seconds, scheduler=scheduler, workers=sum(others.values()) if others else None
    )


def ready_slots(kernel: DataFlowKernel) -> int:
    """Wait until the workers of a kernel are there, warm, and return how many calls they run at once.

    Raises
    ------
    ExecutorError
        No worker came.
    """
    declared = [executor.slots for executor in kernel.config.executors]
    wanted = sum(slots or 0 for slots in declared) or 1
    deadline_s = time.monotonic() + _WORKERS_TIMEOUT_S
    while (there := int(sum(kernel.client.nthreads().values()))) < wanted:
        if time.monotonic() > deadline_s:
            break
        time.sleep(0.05)
    if there == 0:
        raise ExecutorError(f"no worker has come in {_WORKERS_TIMEOUT_S:.0f} s")
    engine = KernelEngine(there)
    engine.outcomes(engine.map(warming, [0.1] * (2 * there)))
    return there


def surroundings(kernel: DataFlowKernel, slots: int) -> Surroundings:
    """Return where this is measured."""
    names = ("daskflow", "dask", "distributed")
    return Surroundings(
        python=platform.python_version(),
        versions=tuple((name, metadata.version(name)) for name in names),
        cores=len(os.sched_getaffinity(0)),
        slots=slots,
        workers=len(kernel.client.nthreads()),
    )


def measured(workload: Workload, factor: float, engine: KernelEngine, client: Any) -> Measurement:
    """Run a workload once.

    Raises
    ------
    WrongResult
        A call returned something else than it should.
    """
    if workload.needs_numpy and util.find_spec("numpy") is None:
        return Measurement(workload=workload, why_not="needs numpy")
    before = cpu_time(client)
    run = workload.run(engine, workload.scaled(factor))
    return Measurement(workload=workload, run=run, cpu=cpu_time(client).since(before))


def seconds_to_first_result(config: str | None) -> float:
    """Start a fresh Python that loads a kernel and makes a call; return how long its result took.

    Raises
    ------
    ExecutorError
        It ended without a result.
    """
    start_s = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "daskflow.perf.first", *([config] if config else [])],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start_s
        process.stdout.read()
    if line.strip() != "1":
        raise ExecutorError(f"a fresh process printed {line!r} instead of its result, 1")
    return seconds
