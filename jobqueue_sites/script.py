"""The script of a block, from settings: what runs on its nodes, and the text that is submitted."""

from __future__ import annotations

import sys
from pathlib import Path

from jobqueue_sites.providers.base import BlockJob, Provider
from jobqueue_sites.settings import ClusterSettings


def block_job(settings: ClusterSettings, folder: Path, block: str) -> BlockJob:
    """Return what the job of a block is to do, with its files in `folder`."""
    python = settings.python or sys.executable
    return BlockJob(
        name=block,
        agent=(python, "-m", "jobqueue_sites.agent", str(folder), block),
        stdout=str(folder / f"{block}.out"),
        stderr=str(folder / f"{block}.err"),
    )


def job_script(provider: Provider, settings: ClusterSettings, block: str | None = None) -> str:
    """Return the script that would be submitted for a block of a cluster that has not started.

    Only the name of the folder that the cluster will make is not known yet.
    """
    folder = Path(settings.directory).absolute() / settings.name
    return provider.script(block_job(settings, folder, block or f"{settings.name}-0"))
