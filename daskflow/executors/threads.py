"""ThreadExecutor: calls run in threads of this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from daskflow.executors.base import Session, check_count, check_label, check_resources


@dataclass(frozen=True, kw_only=True)
class ThreadExecutor:
    """Run calls in threads of this process, as one Dask worker of the kernel's scheduler.

    Parameters
    ----------
    label
        The name by which apps choose it.
    max_threads
        How many calls run at once; by default as many as the machine has cores for this process.
    resources
        Dask resources that its worker has.
    """

    label: str = "threads"
    max_threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    resources: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_label(self.label)
        check_count(self.max_threads, "max_threads")
        check_resources(self.resources)

    @property
    def offers(self) -> Mapping[str, float]:
        return self.resources

    @property
    def slots(self) -> int:
        return self.max_threads

    def start(self, session: Session) -> Callable[[], None]:
        from distributed import Worker  # slow to import

        from daskflow.executors.prompt import PromptWorker  # imports distributed

        client = session.client

        async def start() -> Worker:
            worker = Worker(
                client.scheduler.address,
                nthreads=self.max_threads,
                name=self.label,
                resources={**self.resources, **session.label_resources(self.label)},
                memory_limit=0,
                security=session.security,
                dashboard=False,
                host=session.interface,
                plugins=(PromptWorker(owns_process=False),),
            )
            await worker
            return worker

        speak_again = _quieted()
        worker = client.sync(start)

        def stop() -> None:
            try:
                client.sync(worker.close, timeout=5, reason="the kernel closes")
            finally:
                speak_again()

        return stop


def _quieted() -> Callable[[], None]:
    """Keep an in-process worker's account of its life off the console; return what undoes it.

    distributed lets these loggers say INFO unless the user's Dask configuration says otherwise.
    """
    loggers = [logging.getLogger(f"distributed.{name}") for name in ("core", "worker")]
    changed = [
        (logger, logger.level) for logger in loggers if logger.getEffectiveLevel() == logging.INFO
    ]
    for logger, _level in changed:
        logger.setLevel(logging.WARNING)

    def undo() -> None:
        for logger, level in changed:
            if logger.level == logging.WARNING:
                logger.setLevel(level)

    return undo
