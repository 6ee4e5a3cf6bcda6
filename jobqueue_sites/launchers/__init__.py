"""Launchers: the shell text that starts one agent on each node of a block. Pure: settings → text."""

from jobqueue_sites.launchers.base import (
    Launch,
    Launcher,
    SimpleLauncher,
    SingleNodeLauncher,
    WrappedLauncher,
)
from jobqueue_sites.launchers.mpi import MpiExecLauncher, MpiRunLauncher, MpiSpelling
from jobqueue_sites.launchers.remote import GnuParallelLauncher, SshLauncher
from jobqueue_sites.launchers.slurm import SrunLauncher, SrunMPILauncher
from jobqueue_sites.launchers.vendor import AprunLauncher, JsrunLauncher

__all__ = [
    "AprunLauncher",
    "GnuParallelLauncher",
    "JsrunLauncher",
    "Launch",
    "Launcher",
    "MpiExecLauncher",
    "MpiRunLauncher",
    "MpiSpelling",
    "SimpleLauncher",
    "SingleNodeLauncher",
    "SrunLauncher",
    "SrunMPILauncher",
    "SshLauncher",
    "WrappedLauncher",
]
