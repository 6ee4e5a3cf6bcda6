"""The text of an LSF job. Pure; the options are those of ``man bsub``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import body, checks
from jobqueue_sites.providers.base import BlockJob
from jobqueue_sites.units import memory_text, walltime_minutes_text, walltime_s

if TYPE_CHECKING:
    from jobqueue_sites.providers.lsf.provider import LSFProvider

PREFIX = "#BSUB"

TAKEN = (
    ("-J", "the block's name"),
    ("-o", "the block's folder"),
    ("-e", "the block's folder"),
    ("-W", "walltime"),
    ("-n", "nodes_per_block and cores_per_node"),
    ("-nnodes", "nodes_per_block"),
)


def script(provider: LSFProvider, job: BlockJob) -> str:
    """Return the text that ``bsub`` reads."""
    return body.script(_directives(provider, job), provider.launcher, provider.launch(job))


def _directives(provider: LSFProvider, job: BlockJob) -> Sequence[str]:
    memory = provider.mem_per_node
    options = [
        ("-J", body.job_name(job.name, longest=100)),  # brackets would make an array
        ("-o", _file_name(job.stdout)),
        ("-e", _file_name(job.stderr)),
        ("-q", provider.queue),
        ("-P", provider.project),
        *_nodes(provider),
        ("-M", memory and memory_text(memory, gigabytes="GB", megabytes="MB")),
        ("-W", walltime_minutes_text(walltime_s(provider.walltime))),
        ("-rn", None),  # a block that is lost is replaced by another, under another name
    ]
    ours = [
        f"{PREFIX} {name}" if name == "-rn" else f"{PREFIX} {name} {shlex.quote(str(value))}"
        for name, value in options
        if value or name == "-rn"
    ]
    return [*ours, *checks.directives(provider.scheduler_options, PREFIX, taken=TAKEN)]


def _nodes(provider: LSFProvider) -> list[tuple[str, str]]:
    if provider.request_by_nodes:
        return [("-nnodes", str(provider.nodes_per_block))]
    cores = provider.cores_per_node or 1
    return [("-n", str(cores * provider.nodes_per_block)), ("-R", f"span[ptile={cores}]")]


def _file_name(path: str) -> str:
    """Return the path, in which bsub replaces %J and %I."""
    if "%" in path:
        raise SettingsError(f"the file {path!r} cannot be a job's: LSF takes no %")
    return path
