"""The text of a Torque job. Pure; the options are those of ``man qsub`` and ``man pbs_resources``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobqueue_sites.providers import body, checks
from jobqueue_sites.providers.base import BlockJob
from jobqueue_sites.providers.pbs.script import file_name
from jobqueue_sites.units import memory_text, walltime_s, walltime_text

if TYPE_CHECKING:
    from jobqueue_sites.providers.torque.provider import TorqueProvider

PREFIX = "#PBS"

TAKEN = (
    ("-N", "the block's name"),
    ("-o", "the block's folder"),
    ("-e", "the block's folder"),
    ("-t", "max_blocks (a block is no job array)"),
    ("-S", "the script, which is bash"),
    ("-l nodes", "nodes_per_block and cpus_per_node"),
    ("-l walltime", "walltime"),
)


def script(provider: TorqueProvider, job: BlockJob) -> str:
    """Return the text that ``qsub`` takes."""
    return body.script(
        _directives(provider, job),
        provider.launcher,
        provider.launch(job),
        go='cd -- "$PBS_O_WORKDIR" || exit',
    )


def _directives(provider: TorqueProvider, job: BlockJob) -> Sequence[str]:
    nodes = f"nodes={provider.nodes_per_block}"
    if provider.cpus_per_node is not None:
        nodes += f":ppn={provider.cpus_per_node}"
    memory = provider.mem_per_node
    if memory is not None:  # Torque counts that of the whole job
        memory *= provider.nodes_per_block
    options = [
        ("-S", "/bin/bash"),
        ("-N", body.job_name(job.name, longest=15)),
        ("-o", file_name(job.stdout)),
        ("-e", file_name(job.stderr)),
        ("-r", "n"),  # a block that is lost is replaced by another, under another name
        ("-m", "n"),  # no mail for each block that is cancelled
        ("-A", provider.account),
        ("-q", provider.queue),
        ("-l", nodes),
        ("-l", memory and f"mem={memory_text(memory, gigabytes='gb', megabytes='mb')}"),
        ("-l", f"walltime={walltime_text(walltime_s(provider.walltime))}"),
    ]
    ours = [f"{PREFIX} {name} {shlex.quote(str(value))}" for name, value in options if value]
    return [*ours, *checks.directives(provider.scheduler_options, PREFIX, taken=TAKEN)]
