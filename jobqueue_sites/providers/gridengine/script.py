"""The text of a Grid Engine job. Pure; the options are those of ``man qsub``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import body, checks
from jobqueue_sites.providers.base import BlockJob
from jobqueue_sites.units import walltime_s, walltime_text

if TYPE_CHECKING:
    from jobqueue_sites.providers.gridengine.provider import GridEngineProvider

PREFIX = "#$"

TAKEN = (
    ("-N", "the block's name"),
    ("-o", "the block's folder"),
    ("-e", "the block's folder"),
    ("-S", "the script, which is bash"),
    ("-t", "max_blocks (a block is no job array)"),
    ("-pe", "parallel_environment, nodes_per_block and cores_per_node"),
    ("-l h_rt", "walltime"),
)


def script(provider: GridEngineProvider, job: BlockJob) -> str:
    """Return the text that ``qsub`` takes."""
    return body.script(_directives(provider, job), provider.launcher, provider.launch(job))


def _directives(provider: GridEngineProvider, job: BlockJob) -> Sequence[str]:
    slots = provider.nodes_per_block * (provider.cores_per_node or 1)
    environment = provider.parallel_environment
    options = [
        ("-S", "/bin/bash"),
        ("-N", body.job_name(job.name, longest=100)),
        ("-o", _file_name(job.stdout)),
        ("-e", _file_name(job.stderr)),
        ("-cwd", ""),
        ("-r", "n"),  # a block that is lost is replaced by another, under another name
        ("-q", provider.queue),
        ("-P", provider.project),
        ("-pe", None if environment is None else f"{shlex.quote(environment)} {slots}"),
        ("-l", f"h_rt={walltime_text(walltime_s(provider.walltime))}"),
    ]
    ours = [f"{PREFIX} {name} {value}".strip() for name, value in options if value is not None]
    return [*ours, *checks.directives(provider.scheduler_options, PREFIX, taken=TAKEN)]


def _file_name(path: str) -> str:
    """Return the path, for which qsub takes what is before a colon as a host, and $ as a variable."""
    if ":" in path or "$" in path:
        raise SettingsError(f"the file {path!r} cannot be a job's: Grid Engine takes no ':' or '$'")
    return shlex.quote(path)
