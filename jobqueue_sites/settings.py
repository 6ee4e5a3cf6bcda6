"""ClusterSettings: all of a cluster of blocks that is neither its batch system nor a node's layout."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobqueue_sites.errors import BlocksFailed, SettingsError

START_METHODS = ("spawn", "forkserver")


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """Settings of a cluster of blocks.

    Parameters
    ----------
    name
        Of the cluster; its jobs are called ``{name}-{number}``.
    directory
        Where scripts, logs and keys are written: a folder that compute nodes see under the same path.
        Each cluster makes a folder of its own in it.
    host, interface
        The address, or the network interface, of this machine that compute nodes reach. By default
        all addresses are offered, and each node takes the first that answers.
    scheduler
        The address of a scheduler that runs already; None: one is started in this process.
    security
        A `distributed.Security`; None: certificates made for this cluster.
    encrypted
        Encrypt and authenticate all communication. False must be said.
    dask_scheduler_options
        Further options of `distributed.Scheduler`.
    start_method
        How worker processes start: ``"spawn"`` or ``"forkserver"``.
    python
        The interpreter of agents and workers; None: the path of this process's.
    resources, env
        Dask resources and environment variables that each worker gets.
    worker_interface
        The network interface that workers listen on; None: the one that leads to the scheduler.
    local_directory
        Where workers spill to; None: a temporary folder of the node.
    death_timeout
        Seconds without a scheduler after which workers end, and their job with them.
    connect_timeout
        Seconds that a node tries to reach the scheduler before its block fails.
    plugins
        Dask worker plugins that each worker starts with.
    dask_config
        Dask configuration of agents and workers.
    packages
        Further packages whose versions must be the same on nodes.
    demand
        Tells how many calls run or could run now; None: the tasks on the scheduler are counted.
    on_failure
        Called with a `BlocksFailed` when work waits but blocks do not come up.
    on_waiting
        Called with an explanation when work has waited long for a first worker; None: it is logged.
    """

    name: str = "blocks"
    directory: str = "blocks"
    host: str | None = None
    interface: str | None = None
    scheduler: str | Sequence[str] | None = None
    security: Any = None
    encrypted: bool = True
    dask_scheduler_options: Mapping[str, Any] = field(default_factory=dict)
    start_method: str = "spawn"
    python: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    worker_interface: str | None = None
    local_directory: str | None = None
    death_timeout: float = 60.0
    connect_timeout: float = 10.0
    plugins: Sequence[Any] = ()
    dask_config: Mapping[str, Any] = field(default_factory=dict)
    packages: Sequence[str] = ()
    demand: Callable[[], int] | None = None
    on_failure: Callable[[BlocksFailed], object] | None = None
    on_waiting: Callable[[str], object] | None = None

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "-_." for c in self.name):
            raise SettingsError(
                f"name={self.name!r}: must be made of letters, digits, '-', '_' and '.', since jobs "
                "and files are called by it"
            )
        if self.start_method not in START_METHODS:
            allowed = " or ".join(map(repr, START_METHODS))
            raise SettingsError(f"start_method={self.start_method!r}: must be {allowed}")
        if self.host is not None and self.interface is not None:
            raise SettingsError(
                f"host={self.host!r} and interface={self.interface!r}: give one of them"
            )
        for name in ("death_timeout", "connect_timeout"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not seconds > 0:
                raise SettingsError(f"{name}={seconds!r}: must be seconds > 0")
        if not self.encrypted and self.security is not None:
            raise SettingsError("encrypted=False and security=...: give one of them")

    def new_folder(self) -> Path:
        """Make the folder of one cluster, for the user alone, since keys are kept in it."""
        parent = Path(self.directory).absolute()
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"directory={self.directory!r}: no folder can be made there: {error.strerror}"
            ) from error
        stem = f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        for number in range(1000):
            folder = parent / (f"{stem}-{number}" if number else stem)
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return folder
        raise SettingsError(f"directory={self.directory!r}: no new folder can be made in it")
