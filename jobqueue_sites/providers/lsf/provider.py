"""LSFProvider: settings, and the commands bsub, bjobs and bkill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import checks
from jobqueue_sites.providers.base import Answer, BlockJob, Command, JobStatus, Provider
from jobqueue_sites.providers.lsf import parse
from jobqueue_sites.providers.lsf import script as text


@dataclass(frozen=True, kw_only=True)
class LSFProvider(Provider):
    """Runs blocks as jobs of LSF. A walltime is rounded up to minutes.

    Parameters
    ----------
    queue, project
        As bsub takes them.
    request_by_nodes
        Ask for whole nodes (``-nnodes``), as systems with jsrun do; else for `cores_per_node` slots on
        each (``-n`` and ``span[ptile=…]``).
    scheduler_options
        Further options for the head of the script, one or more on a line, with ``#BSUB`` before them
        or without.
    """

    tested_against: ClassVar[str] = "the documented formats of LSF 10.1"
    node_names: ClassVar[str] = 'cat "$LSB_DJOB_HOSTFILE"'

    queue: str | None = None
    project: str | None = None
    request_by_nodes: bool = True
    scheduler_options: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("queue", "project"):
            checks.word(name, getattr(self, name))
        checks.truth("request_by_nodes", self.request_by_nodes)
        if self.request_by_nodes and self.cores_per_node is not None:
            raise SettingsError(
                f"cores_per_node={self.cores_per_node} with request_by_nodes=True: whole nodes are asked "
                "for; leave one of them out"
            )
        checks.directives(self.scheduler_options, text.PREFIX, taken=text.TAKEN)

    def script(self, job: BlockJob) -> str:
        return text.script(self, job)

    def submit(self, script_path: str) -> Command[str]:
        # bsub reads directives from its stdin only.
        return Command(("sh", "-c", 'exec bsub <"$1"', "bsub", script_path), parse.submitted)

    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        return Command(("bjobs", "-a", "-noheader", "-o", parse.FIELDS, *job_ids), parse.listed)

    def find(self, job_id: str) -> Sequence[Command[JobStatus | None]]:
        def read(answer: Answer) -> JobStatus | None:
            return parse.listed(answer).get(job_id)

        return (Command(("bjobs", "-a", "-noheader", "-o", parse.FIELDS, job_id), read),)

    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        return Command(("bkill", *job_ids), parse.cancelled)
