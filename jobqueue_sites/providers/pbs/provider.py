"""PBSProvider: settings, and the commands qsub, qstat and qdel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import checks
from jobqueue_sites.providers.base import Answer, BlockJob, Command, JobStatus, Provider
from jobqueue_sites.providers.pbs import parse
from jobqueue_sites.providers.pbs import script as text


@dataclass(frozen=True, kw_only=True)
class PBSProvider(Provider):
    """Runs blocks as jobs of OpenPBS or PBS Professional.

    A block is `nodes_per_block` chunks, one on each node.

    Parameters
    ----------
    account, queue
        As qsub takes them.
    cpus_per_node
        The ``ncpus`` of each chunk, at many sites hardware threads; the same as `cores_per_node`. None:
        what the server gives, which may be one.
    select_options
        Further resources of each chunk, such as ``"ngpus=4"``.
    place
        How chunks are placed, such as ``"scatter:excl"``; None leaves it to the server.
    scheduler_options
        Further options for the head of the script, one or more on a line, with ``#PBS`` before them
        or without.
    """

    tested_against: ClassVar[str] = "answers in the forms of OpenPBS 23.06"
    node_names: ClassVar[str] = 'cat "$PBS_NODEFILE"'

    account: str | None = None
    queue: str | None = None
    cpus_per_node: int | None = None
    select_options: str = ""
    place: str | None = "scatter"
    scheduler_options: str = ""

    def __post_init__(self) -> None:
        same_count(self, "cpus_per_node")
        super().__post_init__()
        for name in ("account", "queue", "place"):
            checks.word(name, getattr(self, name))
        self._check_select()
        checks.directives(self.scheduler_options, text.PREFIX, taken=text.TAKEN)

    def _check_select(self) -> None:
        options = self.select_options
        checks.lines("select_options", options)
        if not options.isprintable() or " " in options:
            raise SettingsError(
                f"select_options={options!r}: must be resources of a chunk, such as "
                "'ngpus=4' or 'ngpus=4:system=polaris'"
            )
        given = {part.partition("=")[0] for part in options.strip(":").split(":")}
        settings = {"ncpus": self.cpus_per_node, "mem": self.mem_per_node}
        for name in sorted(given & {name for name, value in settings.items() if value is not None}):
            setting = {"ncpus": "cpus_per_node", "mem": "mem_per_node"}[name]
            raise SettingsError(f"select_options={options!r}: {name} is set by {setting} already")
        if "+" in options or "select" in given:
            raise SettingsError(
                f"select_options={options!r}: all nodes of a block are alike; select=… is made from "
                "nodes_per_block and cpus_per_node"
            )

    def script(self, job: BlockJob) -> str:
        return text.script(self, job)

    def submit(self, script_path: str) -> Command[str]:
        named = {"queue": self.queue, "account": self.account, "project": self.account}
        return Command(("qsub", script_path), partial(parse.submitted, settings=named))

    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        return Command(("qstat", "-x", "-f", "-F", "json", *job_ids), parse.listed)

    def find(self, job_id: str) -> Sequence[Command[JobStatus | None]]:
        def read(answer: Answer) -> JobStatus | None:
            return parse.listed(answer).get(job_id)

        return (Command(("qstat", "-x", "-f", "-F", "json", job_id), read),)

    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        return Command(("qdel", *job_ids), parse.cancelled)


PBSProProvider = PBSProvider  # the name that Parsl has for it


def same_count(provider: Provider, name: str) -> None:
    """Make a provider's own name for the cores of a node and `cores_per_node` one setting."""
    own, shared = getattr(provider, name), provider.cores_per_node
    if own is not None and shared is not None and own != shared:
        raise SettingsError(
            f"{name}={own!r} and cores_per_node={shared!r}: both say the same; give {name}"
        )
    checks.whole(name, own, least=1, optional=True)
    count = shared if own is None else own
    object.__setattr__(provider, name, count)
    object.__setattr__(provider, "cores_per_node", count)
