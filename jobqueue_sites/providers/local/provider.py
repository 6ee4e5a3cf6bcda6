"""LocalProvider: settings, and the commands of the program `local.jobs`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jobqueue_sites.providers import checks
from jobqueue_sites.providers.base import Answer, BlockJob, Command, JobStatus, Provider
from jobqueue_sites.providers.local import jobs, parse
from jobqueue_sites.providers.local import script as text


@dataclass(frozen=True, kw_only=True)
class LocalProvider(Provider):
    """Runs blocks on this machine, without a batch system.

    A block is all processes that its script has started. With `nodes_per_block` above 1 several agents
    run side by side, so that what needs several nodes can be tried on one machine.

    Parameters
    ----------
    kill_after
        Seconds that the processes of a block have to end by themselves, when it is cancelled or its
        walltime is over.
    """

    tested_against: ClassVar[str] = "Linux"
    spans_machines: ClassVar[bool] = False

    kill_after: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive("kill_after", self.kill_after)

    def script(self, job: BlockJob) -> str:
        return text.script(self, job)

    def submit(self, script_path: str) -> Command[str]:
        return Command((*_JOBS, "submit", script_path), parse.submitted)

    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        return Command((*_JOBS, "query", *job_ids), parse.listed)

    def find(self, job_id: str) -> Sequence[Command[JobStatus | None]]:
        def read(answer: Answer) -> JobStatus | None:
            return parse.listed(answer).get(job_id)

        return (Command((*_JOBS, "query", job_id), read),)

    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        return Command((*_JOBS, "cancel", *job_ids), parse.cancelled)


# Isolated and without site-packages: it starts in a third of the time.
_JOBS = (sys.executable, "-I", "-S", jobs.__file__)
