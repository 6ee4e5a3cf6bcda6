"""BlockExecutor: calls run on the nodes of a batch system, in blocks that jobqueue_sites asks for."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cloudpickle

from daskflow.errors import BlocksFailed, ConfigurationError
from daskflow.executors.base import Session, check_label, check_resources
from jobqueue_sites.address import ANY, listening_host
from jobqueue_sites.errors import BlocksFailed as SiteFailed
from jobqueue_sites.errors import SettingsError
from jobqueue_sites.launchers import Launcher
from jobqueue_sites.pinning.layout import Affinity, NodeLayout
from jobqueue_sites.pinning.plan import workers_per_node
from jobqueue_sites.providers.base import Provider
from jobqueue_sites.script import job_script
from jobqueue_sites.settings import ClusterSettings

_COMMANDS_OF_CLOSING = 4  # a submission, two tries to cancel, and what Dask takes
_LAYOUT = tuple(field.name for field in dataclasses.fields(NodeLayout))
_PASSED_ON = (
    "worker_interface",
    "start_method",
    "python",
    "local_directory",
    "death_timeout",
    "connect_timeout",
)


@dataclass(frozen=True, kw_only=True)
class BlockExecutor:
    """Run calls on nodes of a batch system: each block is one job of some nodes.

    Blocks are asked for while ready calls exceed the slots there are, from `init_blocks` to `max_blocks`
    of the provider; one that ends while work is left is replaced. Leaving the kernel ends them.

    Parameters
    ----------
    label
        The name by which apps choose it.
    provider
        Speaks to the batch system: `SlurmProvider`, `PBSProvider`, `LocalProvider` and so on, of
        jobqueue_sites.
    launcher
        Starts one agent on each node; None: that of the provider.
    available_accelerators, workers_per_accelerator, cpu_affinity, cores_per_worker, mem_per_worker, \
max_workers_per_node, threads_per_worker, reserved_cpus
        How each node is divided among workers: see `jobqueue_sites.NodeLayout`.
    host, interface
        The address, or the network interface, of this machine that compute nodes reach. By default
        all addresses are offered, and each node takes the first that answers.
    worker_interface, start_method, python, local_directory, death_timeout, connect_timeout
        Of the workers: see `jobqueue_sites.ClusterSettings`.
    directory
        Where job scripts, logs and keys are written, visible to the nodes; None: in the kernel's
        folder for logs.
    resources
        Further Dask resources that each worker has.
    env
        Environment variables of the workers.
    on_start
        A function that each worker calls once, before its first call.
    """

    label: str = "blocks"
    provider: Provider
    launcher: Launcher | None = None
    available_accelerators: int | str | Sequence[str] = ()
    workers_per_accelerator: int = 1
    cpu_affinity: str = "none"
    cores_per_worker: float | None = None
    mem_per_worker: float | None = None
    max_workers_per_node: int | None = None
    threads_per_worker: int = 1
    reserved_cpus: str | None = None
    host: str | None = None
    interface: str | None = None
    worker_interface: str | None = None
    start_method: str = "spawn"
    python: str | None = None
    local_directory: str | None = None
    death_timeout: float = 60.0
    connect_timeout: float = 10.0
    directory: str | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    on_start: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        check_label(self.label)
        check_resources(self.resources)
        given: object = self.provider
        if not isinstance(given, Provider):
            raise ConfigurationError(
                f"provider={given!r}: must be a provider of jobqueue_sites, such as "
                "SlurmProvider(partition='main')"
            )
        if self.on_start is not None and not callable(self.on_start):
            raise ConfigurationError(f"on_start={self.on_start!r}: must be a function")
        try:
            self._settings()
            self._workers_per_node()
            self._provider()
        except SettingsError as error:
            raise ConfigurationError(f"executor {self.label!r}: {error}") from error

    @property
    def offers(self) -> Mapping[str, float]:
        """What its workers have; if pinned, as many cores as anyone asks for: no node is known yet."""
        layout = self._layout()
        cores = {} if layout.affinity is Affinity.NONE else {"cores": math.inf}
        names = layout.accelerator_names
        most = 1 if names is None else max(map(len, names), default=0)
        accelerators = {"GPU": most} if layout.available_accelerators else {}
        return {**cores, **accelerators, **self.resources}

    @property
    def slots(self) -> int:
        """How many calls it runs at once when all its blocks are up, as far as is known."""
        workers = self._workers_per_node() or 1
        nodes = self.provider.max_blocks * self.provider.nodes_per_block
        return nodes * workers * self.threads_per_worker

    def job_script(self) -> str:
        """Return the script that would be submitted for its first block."""
        return job_script(self._provider(), self._settings(self.directory or "runinfo"))

    def listening_host(self, *, encrypted: bool) -> str:
        """Return what the scheduler is to listen on so that its nodes can reach it."""
        host = self.host
        if host is None and self.interface is None and not self.provider.spans_machines:
            host = "127.0.0.1"
        try:
            return listening_host(host, self.interface, encrypted=encrypted)
        except SettingsError as error:
            raise ConfigurationError(f"executor {self.label!r}: {error}") from error

    def start(self, session: Session) -> Callable[[], None]:
        from jobqueue_sites.cluster import BlockCluster  # imports distributed

        client = session.client
        settings = dataclasses.replace(
            self._settings(self.directory or str(Path(session.folder) / "blocks")),
            scheduler=tuple(session.contacts),
            encrypted=session.security is not None and session.security.tls_ca_file is not None,
            security=session.security
            if session.security and session.security.tls_ca_file
            else None,
            resources={**self.resources, **session.label_resources(self.label)},
            plugins=self._plugins(),
            # Calls may start processes, which those of a daemon may not.
            dask_config={"distributed.worker.daemon": False},
            demand=lambda: session.demand(self.label),
            on_failure=lambda failure: session.on_failure(self.label, self._failed(failure)),
            on_waiting=lambda why: session.on_waiting(f"{self.label}: {why}"),
        )

        # With a hold of its own on the client's loop, which whose client it is may close too early.
        try:
            cluster = BlockCluster(self._provider(), self._layout(), settings, loop=client.loop)
        except SettingsError as error:
            raise ConfigurationError(f"executor {self.label!r}: {error}") from error
        cluster.shutdown_on_close = False  # the kernel closes it
        session.clusters[self.label] = cluster
        timeout_s = _COMMANDS_OF_CLOSING * self.provider.cmd_timeout

        def close() -> None:
            cluster.close(timeout=timeout_s)

        return close

    # ---- inside -----------------------------------------------------------------------------

    def _provider(self) -> Provider:
        if self.launcher is None:
            return self.provider
        return dataclasses.replace(self.provider, launcher=self.launcher)

    def _layout(self) -> NodeLayout:
        return NodeLayout(**{name: getattr(self, name) for name in _LAYOUT})

    def _settings(self, directory: str = "runinfo") -> ClusterSettings:
        passed_on = {name: getattr(self, name) for name in _PASSED_ON}
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in self.label)
        return ClusterSettings(
            name=name,
            directory=directory,
            host=self.host,
            interface=self.interface,
            env=self.env,
            **passed_on,
        )

    def _workers_per_node(self) -> int | None:
        provider = self.provider
        return workers_per_node(
            self._layout(),
            cores=provider.cores_per_node,
            memory_gb=provider.mem_per_node,
            gpus=getattr(provider, "gpus_per_node", None),
        )

    def _plugins(self) -> list[object]:
        if self.on_start is None:
            return []
        from daskflow.executors.startup import StartUp  # imports distributed

        return [StartUp(cloudpickle.dumps(self.on_start), os.getpid())]

    def _failed(self, failure: SiteFailed) -> BlocksFailed:
        return BlocksFailed(f"executor {self.label!r}: {failure}")


def common_host(executors: Sequence[BlockExecutor], *, encrypted: bool) -> str:
    """Return what one scheduler is to listen on for several executors."""
    hosts = {executor.listening_host(encrypted=encrypted) for executor in executors}
    outside = hosts - {"127.0.0.1"}
    if len(outside) <= 1:
        return next(iter(outside), "127.0.0.1")
    if not encrypted:
        raise ConfigurationError(
            f"executors: their nodes reach this machine under {', '.join(sorted(hosts))}, and a "
            "scheduler without encryption listens on one address only: give them the same host"
        )
    return ANY
