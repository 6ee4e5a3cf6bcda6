"""GridEngineProvider: settings, and the commands qsub, qstat, qacct and qdel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import checks
from jobqueue_sites.providers.base import Answer, BlockJob, Command, JobStatus, Provider
from jobqueue_sites.providers.gridengine import parse
from jobqueue_sites.providers.gridengine import script as text


@dataclass(frozen=True, kw_only=True)
class GridEngineProvider(Provider):
    """Runs blocks as jobs of Grid Engine.

    Parameters
    ----------
    queue, project
        As qsub takes them.
    parallel_environment
        The one to ask for, in which `nodes_per_block` times `cores_per_node` slots are taken. For several
        nodes its allocation rule must be `cores_per_node`, so that the slots are spread evenly.
    scheduler_options
        Further options for the head of the script, one or more on a line, with ``#$`` before them or
        without. Memory is asked for here, by the name that the site has for it.
    """

    tested_against: ClassVar[str] = "answers recorded from Grid Engine 8.1.9"
    node_names: ClassVar[str] = 'cat "$PE_HOSTFILE"'

    queue: str | None = None
    project: str | None = None
    parallel_environment: str | None = None
    scheduler_options: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("queue", "project", "parallel_environment"):
            checks.word(name, getattr(self, name))
        slots = self.nodes_per_block * (self.cores_per_node or 1)
        if slots > 1 and self.parallel_environment is None:
            raise SettingsError(
                f"nodes_per_block={self.nodes_per_block}, cores_per_node={self.cores_per_node}: "
                f"{slots} slots need a parallel_environment (qconf -spl lists those of the site)"
            )
        if self.mem_per_node is not None:
            raise SettingsError(
                f"mem_per_node={self.mem_per_node}: sites of Grid Engine have different names for "
                "memory; ask for it in scheduler_options, such as '-l h_vmem=4G'"
            )
        checks.directives(self.scheduler_options, text.PREFIX, taken=text.TAKEN)

    def script(self, job: BlockJob) -> str:
        return text.script(self, job)

    def submit(self, script_path: str) -> Command[str]:
        return Command(("qsub", "-terse", script_path), parse.submitted)

    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        def read(answer: Answer) -> Mapping[str, JobStatus]:
            # It lists all jobs of the user; none can be named.
            jobs = parse.listed(answer)
            return {job_id: jobs[job_id] for job_id in job_ids if job_id in jobs}

        return Command(("qstat", "-xml", "-g", "t"), read)

    def find(self, job_id: str) -> Sequence[Command[JobStatus | None]]:
        return (Command(("qacct", "-j", job_id), parse.accounted),)

    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        return Command(("qdel", ",".join(job_ids)), parse.cancelled)
