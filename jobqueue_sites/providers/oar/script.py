"""The text of an OAR job. Pure; the options are those of ``man oarsub``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobqueue_sites.providers import body, checks
from jobqueue_sites.providers.base import BlockJob
from jobqueue_sites.units import walltime_s, walltime_text

if TYPE_CHECKING:
    from jobqueue_sites.providers.oar.provider import OARProvider

PREFIX = "#OAR"

TAKEN = (
    ("-n", "the block's name"),
    ("--name", "the block's name"),
    ("-O", "the block's folder"),
    ("-E", "the block's folder"),
    ("--stdout", "the block's folder"),
    ("--stderr", "the block's folder"),
    ("-l", "nodes_per_block, cores_per_node and walltime"),
    ("--resource", "nodes_per_block, cores_per_node and walltime"),
    ("--array", "max_blocks (a block is no job array)"),
)


def script(provider: OARProvider, job: BlockJob) -> str:
    """Return the text that ``oarsub --scanscript`` takes."""
    return body.script(_directives(provider, job), provider.launcher, provider.launch(job))


def _directives(provider: OARProvider, job: BlockJob) -> Sequence[str]:
    resources = f"/nodes={provider.nodes_per_block}"
    if provider.cores_per_node is not None:
        resources += f"/core={provider.cores_per_node}"
    walltime = walltime_text(walltime_s(provider.walltime))
    options = [
        ("-n", body.job_name(job.name, longest=100)),
        ("-O", job.stdout),
        ("-E", job.stderr),
        ("-q", provider.queue),
        ("--project", provider.project),
        # One line: several would be alternatives.
        ("-l", f"{resources},walltime={walltime}"),
    ]
    ours = [f"{PREFIX} {name} {shlex.quote(value)}" for name, value in options if value]
    return [*ours, *checks.directives(provider.scheduler_options, PREFIX, taken=TAKEN)]
