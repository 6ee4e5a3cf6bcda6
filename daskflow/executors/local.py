"""LocalExecutor: calls run in processes on this machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dask.utils import parse_bytes

from daskflow.errors import ConfigurationError
from daskflow.executors.base import Session, check_count, check_label, check_resources
from daskflow.executors.host import WorkerSettings


@dataclass(frozen=True, kw_only=True)
class LocalExecutor:
    """Run calls in worker processes on this machine.

    Parameters
    ----------
    label
        The name by which apps choose it.
    workers
        How many processes; by default one for each core this process may use.
    threads_per_worker
        How many calls each runs at once.
    memory_limit
        Of each worker, as Dask takes it (bytes, ``"4 GiB"``, ``"auto"``: the machine's memory shared
        out by cores, ``0``: none).
    resources
        Dask resources that each worker has, such as ``{"GPU": 1}``.
    env
        Environment variables of the workers.
    on_start
        A function that each worker calls once, before its first call; so does the child process of
        an isolated call.
    """

    label: str = "local"
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    threads_per_worker: int = 1
    memory_limit: str | int | float = "auto"
    resources: Mapping[str, float] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    on_start: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        check_label(self.label)
        check_count(self.workers, "workers")
        check_count(self.threads_per_worker, "threads_per_worker")
        check_resources(self.resources)
        _check_memory_limit(self.memory_limit)
        if self.on_start is not None and not callable(self.on_start):
            raise ConfigurationError(f"on_start={self.on_start!r}: must be a function")
        env: object = self.env
        if not isinstance(env, Mapping):
            raise ConfigurationError(f"env={env!r}: must be a dict such as {{'NAME': 'value'}}")
        for name, value in self.env.items():
            if not all(isinstance(part, str) for part in (name, value)):
                raise ConfigurationError(f"env={{{name!r}: {value!r}}}: must map str to str")

    @property
    def offers(self) -> Mapping[str, float]:
        return self.resources

    @property
    def worker_names(self) -> set[str]:
        """The names of its workers."""
        return {f"{self.label}-{index}" for index in range(self.workers)}

    @property
    def slots(self) -> int:
        return self.workers * self.threads_per_worker

    def start(self, session: Session) -> Callable[[], None]:
        session.host.start_workers(
            [
                WorkerSettings(
                    name=name,
                    threads=self.threads_per_worker,
                    memory_limit=self.memory_limit,
                    resources={**self.resources, **session.label_resources(self.label)},
                    env=dict(self.env),
                    on_start=self.on_start,
                    interface=session.interface,
                )
                for name in sorted(self.worker_names)
            ]
        )
        return lambda: None


def _check_memory_limit(limit: object) -> None:
    if limit == "auto" or (isinstance(limit, int | float) and limit >= 0):
        return
    if isinstance(limit, str):
        with contextlib.suppress(ValueError):
            parse_bytes(limit)
            return
    raise ConfigurationError(
        f"memory_limit={limit!r}: must be bytes, a size such as '4 GiB', 'auto', or 0 for none"
    )
