"""The text of a PBS job. Pure; the options are those of ``man qsub`` and ``man pbs_resources``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import body, checks
from jobqueue_sites.providers.base import BlockJob
from jobqueue_sites.units import memory_text, walltime_s, walltime_text

if TYPE_CHECKING:
    from jobqueue_sites.providers.pbs.provider import PBSProvider

PREFIX = "#PBS"

TAKEN = (
    ("-N", "the block's name"),
    ("-o", "the block's folder"),
    ("-e", "the block's folder"),
    ("-J", "max_blocks (a block is no job array)"),
    ("-S", "the script, which is bash"),
    ("-l select", "nodes_per_block, cpus_per_node, mem_per_node and select_options"),
    ("-l nodes", "nodes_per_block"),
    ("-l place", "place"),
    ("-l walltime", "walltime"),
)

# Options of ours that give way to the user's, and why they are there.
_DEFAULTS = (
    ("-k", "doe"),  # the files are written as the job runs, not when it has ended
    ("-r", "n"),  # a block that is lost is replaced by another, under another name
    ("-m", "n"),  # no mail for each block that is cancelled
)


def script(provider: PBSProvider, job: BlockJob) -> str:
    """Return the text that ``qsub`` takes."""
    return body.script(
        _directives(provider, job),
        provider.launcher,
        provider.launch(job),
        go='cd -- "$PBS_O_WORKDIR" || exit',
    )


def _directives(provider: PBSProvider, job: BlockJob) -> Sequence[str]:
    users = checks.directives(provider.scheduler_options, PREFIX, taken=TAKEN)
    options = [
        ("-S", "/bin/bash"),
        ("-N", body.job_name(job.name, longest=230)),
        ("-o", file_name(job.stdout)),
        ("-e", file_name(job.stderr)),
        *((name, value) for name, value in _DEFAULTS if not _have(users, name)),
        ("-A", provider.account),
        ("-q", provider.queue),
        ("-l", f"select={_select(provider)}"),
        ("-l", provider.place and f"place={provider.place}"),
        ("-l", f"walltime={walltime_text(walltime_s(provider.walltime))}"),
    ]
    ours = [f"{PREFIX} {name} {shlex.quote(value)}" for name, value in options if value]
    return [*ours, *users]


def _select(provider: PBSProvider) -> str:
    """Return the chunks: one for each node."""
    chunk = [str(provider.nodes_per_block)]
    if provider.cpus_per_node is not None:
        chunk.append(f"ncpus={provider.cpus_per_node}")
    if provider.mem_per_node is not None:
        chunk.append(f"mem={memory_text(provider.mem_per_node, gigabytes='gb', megabytes='mb')}")
    if provider.select_options:
        chunk.append(provider.select_options.strip(":"))
    return ":".join(chunk)


def file_name(path: str) -> str:
    """Return the path, for which qsub takes what is before a colon as a host."""
    if ":" in path:
        raise SettingsError(f"the file {path!r} cannot be a job's: PBS takes no path with a colon")
    return path


def _have(lines: Sequence[str], option: str) -> bool:
    return any(checks.has_option(line, option) for line in lines if line.startswith(PREFIX))
