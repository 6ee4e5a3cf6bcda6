"""The workers of one node: a Dask nanny for each, which restarts the worker process if it dies."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed import Nanny
from distributed.core import Status, rpc
from distributed.security import Security

from jobqueue_sites.agent import variables
from jobqueue_sites.agent.settings import AgentSettings
from jobqueue_sites.pinning.plan import NodePlan, WorkerPlan

_START_TIMEOUT_S = 60.0
_CLOSE_TIMEOUT_S = 4.0
_WATCH_S = 1.0
_LOST_S = 10.0
_KILL_TIMEOUT_S = 2.0
_TELL_TIMEOUT_S = 5.0


class NodeWorkers:
    """Starts, watches and ends the workers of a plan, named ``{block}-{node}-{slot}``."""

    def __init__(
        self, settings: AgentSettings, scheduler: str, plan: NodePlan, place: tuple[str, int]
    ):
        self._settings = settings
        self._scheduler = scheduler
        self._security = security_of(settings)
        self._nannies = [self._nanny(worker, *place) for worker in plan.workers]

    async def start(self) -> None:
        """Start them all, and return when all of them have joined the scheduler.

        Raises
        ------
        Exception
            What the first one raised that could not start.
        """
        await asyncio.gather(*self._nannies)
        for nanny in self._nannies:  # and one that is started again will not find a lost scheduler
            nanny.death_timeout = self._settings.death_timeout_s

    async def finished(self, on_lost: Callable[[str], object]) -> None:
        """Return when no worker is left: the scheduler closed them, or is gone, or they cannot restart.

        A nanny restarts a worker that dies, but where a restart fails it leaves it at that.
        ``on_lost(name)`` is called for each worker that will not come back.
        """
        await asyncio.gather(*(self._watch(nanny, on_lost) for nanny in self._nannies))

    async def _watch(self, nanny: Nanny, on_lost: Callable[[str], object]) -> None:
        ended = asyncio.ensure_future(nanny.finished())
        clock = asyncio.get_running_loop().time
        was_up_s = clock()
        while True:
            await asyncio.wait({ended}, timeout=_WATCH_S)
            process = nanny.process
            if process is not None and process.status == Status.running:
                was_up_s = clock()
            is_starting = process is not None and process.status == Status.starting
            down_s = clock() - was_up_s
            if ended.done() and down_s < _LOST_S:
                return
            if ended.done() or (down_s > _LOST_S and not is_starting):
                on_lost(str(nanny.name))
                await nanny.close(timeout=_KILL_TIMEOUT_S)
                return

    async def close(self) -> None:
        """End them."""
        closing = (nanny.close(timeout=_KILL_TIMEOUT_S) for nanny in self._nannies)
        done = asyncio.gather(*closing, return_exceptions=True)
        await asyncio.wait([asyncio.ensure_future(done)], timeout=_CLOSE_TIMEOUT_S)

    async def tell(self, topic: str, message: Mapping[str, Any]) -> None:
        """Log an event on the scheduler."""
        arguments = self._security.get_connection_args("worker")
        async with rpc(self._scheduler, connection_args=arguments) as scheduler:
            await asyncio.wait_for(
                scheduler.log_event(topic=topic, msg=dict(message)), _TELL_TIMEOUT_S
            )

    def _nanny(self, worker: WorkerPlan, block: str, node: int) -> Nanny:
        settings = self._settings
        nanny = Nanny(
            self._scheduler,
            name=f"{block}-{node}-{worker.slot}",
            nthreads=worker.threads,
            memory_limit=worker.memory_bytes if worker.memory_bytes is not None else "auto",
            resources={**_resources(worker), **settings.resources},
            env={**worker.env, **settings.env, **_environment(worker, block, node)},
            security=self._security,
            interface=settings.interface,
            local_directory=settings.local_directory,
            death_timeout=max(_START_TIMEOUT_S, settings.death_timeout_s),
            preload=["jobqueue_sites.agent.pin"],
            # Unpickled by the worker alone: here, classes of the client's __main__ could not be sent on.
            plugins=[base64.b64decode(plugin) for plugin in settings.plugins],
            dashboard=False,
        )
        # To start a process may take longer than it is to wait for a scheduler that is lost.
        nanny.worker_kwargs["death_timeout"] = settings.death_timeout_s
        return nanny


def security_of(settings: AgentSettings) -> Security:
    """Return how to talk to the scheduler."""
    if not settings.security:
        return Security()
    return Security(**settings.security, require_encryption=True)


def _resources(worker: WorkerPlan) -> dict[str, float]:
    resources: dict[str, float] = {}
    if worker.cpus:
        resources["cores"] = len(worker.cpus)
    if worker.accelerators:
        resources["GPU"] = len(worker.accelerators)
    return resources


def _environment(worker: WorkerPlan, block: str, node: int) -> dict[str, str]:
    return {
        variables.BLOCK: block,
        variables.NODE: str(node),
        variables.SLOT: str(worker.slot),
        variables.CPUS: _joined(worker.cpus),
        variables.ACCELERATORS: _joined(worker.accelerators),
    }


def _joined(values: Sequence[object]) -> str:
    return ",".join(map(str, values))
