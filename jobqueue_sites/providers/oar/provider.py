"""OARProvider: settings, and the commands oarsub, oarstat and oardel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import checks
from jobqueue_sites.providers.base import Answer, BlockJob, Command, JobStatus, Provider
from jobqueue_sites.providers.oar import parse
from jobqueue_sites.providers.oar import script as text


@dataclass(frozen=True, kw_only=True)
class OARProvider(Provider):
    """Runs blocks as jobs of OAR. On several nodes, launchers need ``"-t allow_classic_ssh"``, or oarsh.

    Parameters
    ----------
    queue, project
        As oarsub takes them.
    scheduler_options
        Further options for the head of the script, one or more on a line, with ``#OAR`` before them
        or without. Memory is asked for here, by a property that the site has for it.
    """

    tested_against: ClassVar[str] = "the documented formats of OAR 2.5"
    node_names: ClassVar[str] = 'cat "$OAR_NODEFILE"'

    queue: str | None = None
    project: str | None = None
    scheduler_options: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("queue", "project"):
            checks.word(name, getattr(self, name))
        if self.mem_per_node is not None:
            raise SettingsError(
                f"mem_per_node={self.mem_per_node}: OAR has no option for memory; ask for it in "
                "scheduler_options, by a property such as '-p \"memnode >= 64\"'"
            )
        checks.directives(self.scheduler_options, text.PREFIX, taken=text.TAKEN)

    def script(self, job: BlockJob) -> str:
        return text.script(self, job)

    def submit(self, script_path: str) -> Command[str]:
        return Command(("oarsub", "--scanscript", script_path), parse.submitted)

    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        jobs = [word for job_id in job_ids for word in ("-j", job_id)]
        return Command(("oarstat", "--full", "--json", *jobs), parse.listed)

    def find(self, job_id: str) -> Sequence[Command[JobStatus | None]]:
        def read(answer: Answer) -> JobStatus | None:
            return parse.listed(answer).get(job_id)

        return (Command(("oarstat", "--full", "--json", "-j", job_id), read),)

    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        return Command(("oardel", *job_ids), parse.cancelled)
