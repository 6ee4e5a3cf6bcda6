"""The text of a Slurm job. Pure; the options are those of ``man sbatch``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import body
from jobqueue_sites.providers.base import BlockJob
from jobqueue_sites.providers.checks import directives
from jobqueue_sites.units import memory_text, walltime_s, walltime_text

if TYPE_CHECKING:
    from jobqueue_sites.providers.slurm.provider import SlurmProvider

PREFIX = "#SBATCH"

TAKEN = (
    ("--job-name", "the block's name"),
    ("-J", "the block's name"),
    ("--output", "the block's folder"),
    ("-o", "the block's folder"),
    ("--error", "the block's folder"),
    ("-e", "the block's folder"),
    ("--nodes", "nodes_per_block"),
    ("-N", "nodes_per_block"),
    ("--ntasks", "nodes_per_block"),
    ("-n", "nodes_per_block"),
    ("--ntasks-per-node", "nodes_per_block (each node has one agent)"),
    ("--cpus-per-task", "cores_per_node"),
    ("-c", "cores_per_node"),
    ("--time", "walltime"),
    ("-t", "walltime"),
    ("--array", "max_blocks (a block is no job array)"),
    ("-a", "max_blocks (a block is no job array)"),
)


def script(provider: SlurmProvider, job: BlockJob) -> str:
    """Return the text that ``sbatch`` takes."""
    return body.script(_directives(provider, job), provider.launcher, provider.launch(job))


def _directives(provider: SlurmProvider, job: BlockJob) -> Sequence[str]:
    memory = provider.mem_per_node
    options = {
        "job-name": job.name,
        "output": _file_name(job.stdout),
        "error": _file_name(job.stderr),
        "partition": provider.partition,
        "account": provider.account,
        "qos": provider.qos,
        "constraint": provider.constraint,
        "clusters": provider.clusters,
        "nodes": provider.nodes_per_block,
        "ntasks-per-node": 1,
        "cpus-per-task": provider.cores_per_node,
        "mem": None if memory is None else memory_text(memory, gigabytes="G", megabytes="M"),
        "gpus-per-node": provider.gpus_per_node,
        "gres": provider.gres,
        "exclusive": provider.exclusive,
        "time": walltime_text(walltime_s(provider.walltime)),
        "no-requeue": True,  # a block that is lost is replaced by another, under another name
    }
    ours = [
        f"{PREFIX} --{name}" if value is True else f"{PREFIX} --{name}={shlex.quote(str(value))}"
        for name, value in options.items()
        if value is not None and value is not False
    ]
    return [*ours, *directives(provider.scheduler_options, PREFIX, taken=TAKEN)]


def _file_name(path: str) -> str:
    """Return the path as sbatch takes it, which replaces %j and the like, but not behind a backslash."""
    if "\\" in path:
        raise SettingsError(f"the file {path!r} cannot be a job's: Slurm takes no backslash")
    return path.replace("%", "%%")
