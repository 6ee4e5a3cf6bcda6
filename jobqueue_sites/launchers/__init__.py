"""Launchers: the shell text that starts one agent on each node of a block. Pure: settings → text."""

from jobqueue_sites.launchers.base import (
    Launch,
    Launcher,
    SimpleLauncher,
    SingleNodeLauncher,
    WrappedLauncher,
)
from jobqueue_sites.launchers.slurm import SrunLauncher, SrunMPILauncher

__all__ = [
    "Launch",
    "Launcher",
    "SimpleLauncher",
    "SingleNodeLauncher",
    "SrunLauncher",
    "SrunMPILauncher",
    "WrappedLauncher",
]
