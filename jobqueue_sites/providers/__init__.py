"""Providers: each speaks to one batch system."""

from jobqueue_sites.providers.base import (
    Answer,
    BlockJob,
    Command,
    JobState,
    JobStatus,
    Provider,
)
from jobqueue_sites.providers.local.provider import LocalProvider
from jobqueue_sites.providers.slurm.provider import SlurmProvider

__all__ = [
    "Answer",
    "BlockJob",
    "Command",
    "JobState",
    "JobStatus",
    "LocalProvider",
    "Provider",
    "SlurmProvider",
]
