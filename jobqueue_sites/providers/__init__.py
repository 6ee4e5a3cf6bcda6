"""Providers: each speaks to one batch system."""

from jobqueue_sites.providers.base import (
    Answer,
    BlockJob,
    Command,
    JobState,
    JobStatus,
    Provider,
)
from jobqueue_sites.providers.gridengine.provider import GridEngineProvider
from jobqueue_sites.providers.htcondor.provider import CondorProvider, HTCondorProvider
from jobqueue_sites.providers.local.provider import LocalProvider
from jobqueue_sites.providers.lsf.provider import LSFProvider
from jobqueue_sites.providers.oar.provider import OARProvider
from jobqueue_sites.providers.pbs.provider import PBSProProvider, PBSProvider
from jobqueue_sites.providers.slurm.provider import SlurmProvider
from jobqueue_sites.providers.torque.provider import TorqueProvider

__all__ = [
    "Answer",
    "BlockJob",
    "Command",
    "CondorProvider",
    "GridEngineProvider",
    "HTCondorProvider",
    "JobState",
    "JobStatus",
    "LSFProvider",
    "LocalProvider",
    "OARProvider",
    "PBSProProvider",
    "PBSProvider",
    "Provider",
    "SlurmProvider",
    "TorqueProvider",
]
