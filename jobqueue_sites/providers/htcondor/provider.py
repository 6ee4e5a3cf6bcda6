"""HTCondorProvider: settings, and the commands condor_submit, condor_q, condor_history and condor_rm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import checks
from jobqueue_sites.providers.base import Answer, BlockJob, Command, JobStatus, Provider
from jobqueue_sites.providers.htcondor import parse
from jobqueue_sites.providers.htcondor import script as text


@dataclass(frozen=True, kw_only=True)
class HTCondorProvider(Provider):
    """Runs blocks as jobs of HTCondor, each on one node.

    Parameters
    ----------
    gpus_per_node
        How many GPUs to ask for.
    requirements
        An expression that a machine must meet.
    project
        The accounting group.
    scheduler_options
        Further commands of a submit description, one on each line.
    """

    tested_against: ClassVar[str] = "the documented formats of HTCondor 23"

    gpus_per_node: int | None = None
    requirements: str | None = None
    project: str | None = None
    scheduler_options: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nodes_per_block != 1:
            raise SettingsError(
                f"nodes_per_block={self.nodes_per_block}: must be 1; a job of HTCondor has one node"
            )
        checks.whole("gpus_per_node", self.gpus_per_node, least=1, optional=True)
        for name in ("requirements", "project"):
            checks.word(name, getattr(self, name))
        text.options(self.scheduler_options)

    def script(self, job: BlockJob) -> str:
        return text.script(self, job)

    def submit(self, script_path: str) -> Command[str]:
        return Command(("sh", "-c", text.SUBMIT, "condor_submit", script_path), parse.submitted)

    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        return Command(
            ("condor_q", "-json", "-attributes", parse.ATTRIBUTES, *job_ids), parse.listed
        )

    def find(self, job_id: str) -> Sequence[Command[JobStatus | None]]:
        def read(answer: Answer) -> JobStatus | None:
            return parse.listed(answer).get(job_id)

        options = ("-json", "-limit", "1", "-attributes", parse.ATTRIBUTES)
        return (Command(("condor_history", *options, job_id), read),)

    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        return Command(("condor_rm", *job_ids), parse.cancelled)


CondorProvider = HTCondorProvider  # the name that Parsl has for it
