"""TorqueProvider: settings, and the commands qsub, qstat and qdel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from jobqueue_sites.providers import checks
from jobqueue_sites.providers.base import Answer, BlockJob, Command, JobStatus, Provider
from jobqueue_sites.providers.pbs import parse as pbs
from jobqueue_sites.providers.pbs.provider import same_count
from jobqueue_sites.providers.torque import parse
from jobqueue_sites.providers.torque import script as text


@dataclass(frozen=True, kw_only=True)
class TorqueProvider(Provider):
    """Runs blocks as jobs of Torque.

    Parameters
    ----------
    account, queue
        As qsub takes them.
    cpus_per_node
        The ``ppn`` of each node; the same as `cores_per_node`.
    scheduler_options
        Further options for the head of the script, one or more on a line, with ``#PBS`` before them
        or without.
    """

    tested_against: ClassVar[str] = "the Torque commands of Slurm 22.05, which ran"
    node_names: ClassVar[str] = 'cat "$PBS_NODEFILE"'

    account: str | None = None
    queue: str | None = None
    cpus_per_node: int | None = None
    scheduler_options: str = ""

    def __post_init__(self) -> None:
        same_count(self, "cpus_per_node")
        super().__post_init__()
        for name in ("account", "queue"):
            checks.word(name, getattr(self, name))
        checks.directives(self.scheduler_options, text.PREFIX, taken=text.TAKEN)

    def script(self, job: BlockJob) -> str:
        return text.script(self, job)

    def submit(self, script_path: str) -> Command[str]:
        named = {"queue": self.queue, "partition": self.queue, "account": self.account}
        return Command(("qsub", script_path), partial(pbs.submitted, settings=named))

    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        return Command(("qstat", "-f", *job_ids), parse.listed)

    def find(self, job_id: str) -> Sequence[Command[JobStatus | None]]:
        def read(answer: Answer) -> JobStatus | None:
            return parse.listed(answer).get(job_id)

        return (Command(("qstat", "-f", job_id), read),)

    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        return Command(("qdel", *job_ids), parse.cancelled)
