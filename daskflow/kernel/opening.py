"""Opening a session: a scheduler, a client of it, and the workers of all executors."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask

from daskflow.config import Config
from daskflow.errors import ExecutorError
from daskflow.executors import ExistingExecutor, LocalExecutor
from daskflow.executors.base import LABEL_CAPACITY, Session
from daskflow.executors.existing import watch
from daskflow.executors.host import HostProcess, SchedulerSettings
from daskflow.futures.recording import process
from daskflow.graph import tasks
from daskflow.graph.lower import label_resource
from jobqueue_sites.deferring import signals_deferred

logger = logging.getLogger("daskflow.kernel")
_DASHBOARD_PORT = 8787
_LEAVE_TIMEOUT_S = 10
_CONNECT_TIMEOUT_S = 5
"""To a worker on this machine: one that has died is not waited for half a minute."""


@dataclass(frozen=True, kw_only=True)
class KernelSide:
    """What executors ask of the kernel (see `Session`)."""

    folder: str
    demand: Callable[[str], int]
    on_failure: Callable[[str, ExecutorError], object]
    on_waiting: Callable[[str], object]


@dataclass(frozen=True)
class _Scheduler:
    """Where a scheduler is, for this machine and for others, and how to speak to it."""

    address: str
    security: Any
    contacts: Sequence[str]


class OpenSession:
    """A running scheduler with the executors of a Config."""

    def __init__(self, config: Config):
        self.clusters: dict[str, Any] = {}
        self.client: Any = None
        self.host: HostProcess | None = None
        self.labels = [executor.label for executor in config.executors]
        existing = (e for e in config.executors if isinstance(e, ExistingExecutor))
        self._existing = next(existing, None)
        self.owns_scheduler = self._existing is None
        self._config = config
        self._closers: list[Callable[[], object]] = []
        self._is_lost = False

    def open(self, kernel: KernelSide) -> None:
        """Start everything; whatever becomes of it, `close` ends what was begun."""
        config = self._config
        if self._existing is None:
            self.host = self._start_host()
            scheduler = _start_scheduler(self.host, config)
            # At once: they need no client.
            self._start_executors(config, kernel, scheduler, are_local=True)
            self.client = _own_client(scheduler)
            self._closers.append(self._close_client)
            is_ours = True
        else:
            self.client, is_ours = self._existing.connect()
            if is_ours:
                self._closers.append(self._close_client)
            self._check_versions()
            address = str(self.client.scheduler.address)
            scheduler = _Scheduler(address, self.client.security, [address])
            if any(isinstance(e, LocalExecutor) for e in config.executors):
                self.host = self._start_host()
                self.host.join_scheduler(address, self.client.security)
            self._start_executors(config, kernel, scheduler, are_local=True)
        self._register_plugins(is_ours=is_ours)
        self._closers.append(self._keep_order())
        self._start_executors(config, kernel, scheduler, are_local=False)
        if self._existing is not None:
            self._closers.append(self._leave_scheduler)

    def _start_executors(
        self, config: Config, kernel: KernelSide, scheduler: _Scheduler, *, are_local: bool
    ) -> None:
        session = Session(
            client=self.client,
            host=self.host,
            label_resources=self.label_resources,
            labels=self.labels,
            security=scheduler.security,
            interface="127.0.0.1" if "127.0.0.1" in scheduler.address else None,
            contacts=scheduler.contacts,
            folder=kernel.folder,
            demand=kernel.demand,
            on_failure=kernel.on_failure,
            on_waiting=kernel.on_waiting,
            clusters=self.clusters,
        )
        for executor in config.executors:
            if isinstance(executor, LocalExecutor) is are_local:
                self._closers.append(executor.start(session))

    def _start_host(self) -> HostProcess:
        host = HostProcess()
        self._closers.append(host.stop)
        return host

    def watch(self, on_lost: Callable[[str], object]) -> None:
        """Call ``on_lost(how)`` if the scheduler, or our local workers, end before `close`."""
        if self.host is not None:
            self.host.watch(on_lost)
        if not self.owns_scheduler:
            self._closers.append(watch(self.client, on_lost))

    def label_resources(self, label: str) -> Mapping[str, float]:
        """Return the worker resources that mark an executor; none if it is the only one."""
        return {label_resource(label): LABEL_CAPACITY} if len(self.labels) > 1 else {}

    def close(self, *, is_lost: bool = False) -> None:
        """Stop what was started, last first. Harmless when repeated.

        That a stream was closed before its last words is no news then; nor, if the scheduler `is_lost`,
        is the client's account of its vain attempts.
        """
        self._is_lost = is_lost
        with signals_deferred(), contextlib.ExitStack() as quiet:
            quiet.enter_context(_at_least("distributed.batched", logging.WARNING))
            if is_lost:
                quiet.enter_context(_at_least("distributed.client", logging.CRITICAL))
            self._close()

    def _close(self) -> None:
        if self.host is not None and self._closers:
            self.host.silence()
        while self._closers:
            closer = self._closers.pop()
            try:
                closer()
            except Exception as error:  # noqa: BLE001 # closing goes on
                logger.warning("closing: %s: %s", type(error).__name__, error)

    def _close_client(self) -> None:
        with contextlib.suppress(TimeoutError):
            self.client.close(timeout=2)

    def _check_versions(self) -> None:
        from daskflow.executors import newcomers  # imports distributed

        newcomers.check_versions(self.client)
        self.subscribe(newcomers.STRANGERS_TOPIC + process.run, _warn_of_stranger)

    def _register_plugins(self, *, is_ours: bool) -> None:
        from daskflow.executors.loss import LossGuard  # imports distributed
        from daskflow.executors.news import NewsTeller  # as above
        from daskflow.executors.prompt import shorten  # as above
        from daskflow.executors.waiting import Mover  # as above

        if is_ours:
            shorten(self.client.scheduler_comm)
        for plugin in (LossGuard(process.run), Mover(process.run)):
            self.client.register_plugin(plugin)
        if self.owns_scheduler:  # else not every worker could open it (`executors.newcomers`)
            self.client.register_plugin(NewsTeller())

    def subscribe(self, topic: str, handler: Callable[[Any], object]) -> None:
        """Call `handler` with each event of a topic of the scheduler, until `close`."""
        handlers = [handler]
        self.client.subscribe_topic(topic, lambda event: handlers and handlers[0](event))
        self._closers.append(handlers.clear)  # a client never forgets what it calls
        if not self.owns_scheduler:
            self._closers.append(lambda: self.client.unsubscribe_topic(topic))

    def _leave_scheduler(self) -> None:
        """Leave a scheduler that is not ours as it was, if it is still there."""
        from daskflow.executors.newcomers import leave  # imports distributed

        async def run() -> None:
            await self.client.run_on_scheduler(leave, process.run)

        if not self._is_lost:
            self.client.sync(run, callback_timeout=_LEAVE_TIMEOUT_S)

    def _keep_order(self) -> Callable[[], object]:
        kept = contextlib.ExitStack()
        kept.enter_context(tasks.order_kept())
        return kept.close


@contextlib.contextmanager
def _at_least(name: str, level: int) -> Iterator[None]:
    """Let a logger say only what is of a level, or above it."""
    told = logging.getLogger(name)
    was = told.level
    told.setLevel(max(was, level))
    try:
        yield
    finally:
        told.setLevel(was)


def _start_scheduler(host: HostProcess, config: Config) -> _Scheduler:
    from distributed.security import Security  # slow to import: the host starts meanwhile

    security = Security.temporary() if config.encrypted else None
    listening = "127.0.0.1"
    elsewhere: list[Any] = [e for e in config.executors if hasattr(e, "listening_host")]
    if elsewhere:
        from daskflow.executors.blocks import common_host  # imports jobqueue_sites

        listening = common_host(elsewhere, encrypted=config.encrypted)
    address = host.start_scheduler(
        SchedulerSettings(
            host=listening,
            security=security,
            dashboard=_DASHBOARD_PORT if config.dashboard else False,
            dask_config={
                "distributed.worker.daemon": False,
                "distributed.comm.timeouts.connect": f"{_CONNECT_TIMEOUT_S}s",
            },
        )
    )
    if not elsewhere:
        return _Scheduler(address, security, [address])
    from jobqueue_sites.address import contact_addresses  # as above

    return _Scheduler(address, security, contact_addresses(address, listening))


def _own_client(scheduler: _Scheduler) -> Any:
    from distributed import Client  # slow to import

    # It would keep the last thousand graphs that it sent, each with the memory around it.
    with dask.config.set({"distributed.admin.low-level-log-length": 0}):
        client = Client(scheduler.address, security=scheduler.security, timeout="30s")
    if "127.0.0.1" in scheduler.address:
        client.rpc.timeout = _CONNECT_TIMEOUT_S
    return client


def _warn_of_stranger(event: tuple[float, str]) -> None:
    """Name a worker that has joined a cluster and cannot run calls (in a thread of the client)."""
    text = f"a worker that has joined the cluster is given no work while this kernel is loaded: {event[1]}"
    logger.warning("%s", text)
    with contextlib.suppress(
        RuntimeWarning
    ):  # where warnings are errors, it could only be lost here
        warnings.warn(text, RuntimeWarning, stacklevel=2)
