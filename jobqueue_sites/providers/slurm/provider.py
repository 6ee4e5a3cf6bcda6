"""SlurmProvider: settings, and the commands sbatch, squeue, scontrol, sacct and scancel."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from jobqueue_sites.providers import checks
from jobqueue_sites.providers.base import BlockJob, Command, JobStatus, Provider
from jobqueue_sites.providers.slurm import parse
from jobqueue_sites.providers.slurm import script as text


@dataclass(frozen=True, kw_only=True)
class SlurmProvider(Provider):
    """Runs blocks as jobs of Slurm.

    `cores_per_node` counts CPUs as Slurm does: at many sites hardware threads.

    Parameters
    ----------
    partition, account, qos, constraint, clusters
        As sbatch takes them.
    gpus_per_node, gres
        GPUs, or other generic resources, to ask for on each node.
    exclusive
        Whether a block shares its nodes with no other job.
    scheduler_options
        Further options for the head of the script, one or more on a line, with ``#SBATCH`` before
        them or without.
    """

    tested_against: ClassVar[str] = "Slurm 22.05"
    node_names: ClassVar[str] = 'scontrol show hostnames "$SLURM_JOB_NODELIST"'

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    clusters: str | None = None
    gpus_per_node: int | None = None
    gres: str | None = None
    exclusive: bool = True
    scheduler_options: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("partition", "account", "qos", "constraint", "clusters", "gres"):
            checks.word(name, getattr(self, name))
        checks.whole("gpus_per_node", self.gpus_per_node, least=1, optional=True)
        checks.truth("exclusive", self.exclusive)
        checks.directives(self.scheduler_options, text.PREFIX, taken=text.TAKEN)

    def script(self, job: BlockJob) -> str:
        return text.script(self, job)

    def submit(self, script_path: str) -> Command[str]:
        named = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "feature": self.constraint,
            "gres": self.gres,
            "cluster": self.clusters,
        }
        return Command(
            ("sbatch", "--parsable", script_path), partial(parse.submitted, settings=named)
        )

    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        jobs = ",".join(_number(job_id) for job_id in job_ids)
        argv = ("squeue", "--noheader", "--states=all", f"--Format={parse.SQUEUE_FIELDS}")
        return Command(
            (*argv, *self._on_clusters(self.clusters), f"--jobs={jobs}"),
            partial(parse.listed, has_clusters=self.clusters is not None),
        )

    def find(self, job_id: str) -> Sequence[Command[JobStatus | None]]:
        on = self._on_clusters(_cluster(job_id))
        number = _number(job_id)
        return (
            Command(("scontrol", *on, "show", "job", "--oneliner", number), parse.shown),
            Command(
                (
                    "sacct",
                    *on,
                    "--allocations",
                    "--parsable2",
                    "--noheader",
                    f"--format={parse.SACCT_FIELDS}",
                    f"--jobs={number}",
                ),
                parse.accounted,
            ),
        )

    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        clusters = sorted({_cluster(job_id) for job_id in job_ids})
        commands = [
            (
                "scancel",
                *self._on_clusters(cluster),
                *(_number(job_id) for job_id in job_ids if _cluster(job_id) == cluster),
            )
            for cluster in clusters
        ]
        if len(commands) == 1:
            return Command(commands[0], parse.cancelled)
        # Numbers are unique in one cluster only: each gets its own, and all are tried.
        tried = "; ".join(f"{shlex.join(command)} || code=$?" for command in commands)
        return Command(("sh", "-c", f"code=0; {tried}; exit $code"), parse.cancelled)

    def room(self) -> Command[str] | None:
        where = (f"--partition={self.partition}",) if self.partition else ()
        argv = ("sinfo", *self._on_clusters(self.clusters), "--noheader", *where)
        return Command((*argv, "--format=%D %t %P"), partial(parse.room, partition=self.partition))

    def _on_clusters(self, clusters: str | None) -> tuple[str, ...]:
        return (f"--clusters={clusters}",) if clusters else ()


def _number(job_id: str) -> str:
    return job_id.partition(";")[0]


def _cluster(job_id: str) -> str:
    return job_id.partition(";")[2]
