"""Dask clusters of blocks, on dask-jobqueue's Job and Cluster classes.

::

    scale(blocks=2) ─► worker_spec {name-0, name-1} ─► Job: one batch job of nodes x workers each
                              ▲                           │
        BlockKeeper ◄── supervise, each second ──► BlockWatch (batch system, agents' reports)

One entry of the specification is one block; its workers are called ``{block}-{node}-{slot}``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import logging
import math
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, cast

import cloudpickle
from distributed import Scheduler
from distributed.core import Status
from distributed.security import Security
from distributed.utils import NoOpAwaitable

from jobqueue_sites import script
from jobqueue_sites.address import contact_addresses, listening_host
from jobqueue_sites.agent import checks
from jobqueue_sites.agent.settings import AgentSettings, remove_settings
from jobqueue_sites.blocks import explain as words
from jobqueue_sites.blocks.block import Block
from jobqueue_sites.blocks.keeper import BlockKeeper
from jobqueue_sites.blocks.policy import Bounds
from jobqueue_sites.blocks.watch import BlockWatch
from jobqueue_sites.deferring import signals_deferred
from jobqueue_sites.entries import (
    BlockEntry,
    JobQueueCluster,
    SchedulerElsewhere,
    make_room_for_subscription,
)
from jobqueue_sites.errors import BlocksFailed, SettingsError
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.pinning.plan import workers_per_node
from jobqueue_sites.providers.base import BlockJob, Provider
from jobqueue_sites.settings import ClusterSettings

logger = logging.getLogger("jobqueue_sites.cluster")
_STEP_S = 1.0
_LEAST_STEP_S = 0.1
_RETIRE_TIMEOUT_S = 20.0


class BlockCluster(JobQueueCluster):
    """A Dask cluster whose workers come in blocks: each one batch job of some nodes.

    Parameters
    ----------
    provider
        Speaks to the batch system.
    layout
        How each node is divided among workers.
    settings
        All else.
    asynchronous, loop
        As of any Dask cluster.

    Raises
    ------
    SettingsError
        The settings cannot work together.
    """

    job_cls = BlockEntry

    @property
    def _cluster_class_name(self) -> str:
        """What its repr begins with."""
        return type(self).__name__

    def __init__(
        self,
        provider: Provider,
        layout: NodeLayout | None = None,
        settings: ClusterSettings | None = None,
        *,
        asynchronous: bool = False,
        loop: Any = None,
    ):
        self.provider = provider
        self.layout = layout or NodeLayout()
        self.settings = settings or ClusterSettings()
        self.expected_workers = workers_per_node(
            self.layout,
            cores=provider.cores_per_node,
            memory_gb=provider.mem_per_node,
            gpus=getattr(provider, "gpus_per_node", None),
        )
        self._folder: Path | None = None
        self._has_started = self._is_closing = False
        self._is_between_starts = asyncio.Event()
        self._is_between_starts.set()
        self._watch: BlockWatch  # from the start on
        self._supervision: asyncio.Task[None] | None = None
        self._nudged = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._keeper = self._new_keeper()
        chosen = self.settings
        self._host = ""
        if chosen.scheduler is None:
            is_here = not provider.spans_machines and chosen.interface is None
            host = "127.0.0.1" if is_here and chosen.host is None else chosen.host
            self._host = listening_host(host, chosen.interface, encrypted=chosen.encrypted)
            scheduler = {"host": self._host, "dashboard_address": "127.0.0.1:8787"}
        else:
            self._contacts = (
                [chosen.scheduler] if isinstance(chosen.scheduler, str) else [*chosen.scheduler]
            )
            scheduler = {"address": self._contacts[0]}
        try:
            super().__init__(
                name=chosen.name,
                security=self._security(),
                scheduler_cls=Scheduler if chosen.scheduler is None else SchedulerElsewhere,
                scheduler_options={**scheduler, **chosen.dask_scheduler_options},
                asynchronous=asynchronous,
                loop=loop,
                cluster=self,
            )
        except BaseException:
            # A Ctrl-C, say. What was begun in the thread of the loop goes on, and would submit jobs.
            if hasattr(self, "_loop_runner") and self._loop_runner.is_started():
                self.close()
            raise

    def _new_keeper(self) -> BlockKeeper:
        bounds = Bounds(
            init_blocks=self.provider.init_blocks,
            min_blocks=self.provider.min_blocks,
            max_blocks=self.provider.max_blocks,
            parallelism=self.provider.parallelism,
        )
        return BlockKeeper(
            bounds,
            lambda: self.open_blocks,
            self.explain,
            self.settings.on_waiting,
            self.settings.on_failure,
        )

    # ---- for users --------------------------------------------------------------------------

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks this cluster has or had, oldest first; of those that ended, the last thousand."""
        return tuple(self._watch.blocks.values()) if self._has_started else ()

    @property
    def open_blocks(self) -> tuple[Block, ...]:
        """The blocks that have not ended."""
        return tuple(self._watch.open_blocks) if self._has_started else ()

    @property
    def has_given_up(self) -> bool:
        """Whether no block is up or just starting, and none is tried for a while, after failures."""
        return self._keeper.has_given_up

    @property
    def folder(self) -> Path | None:
        """Where scripts, logs and reports of its blocks are; None before it has started."""
        return self._folder

    @property
    def slots_per_block(self) -> int:
        """How many calls a block runs at once; what is not known yet counts as one worker a node."""
        workers = self.expected_workers or 1
        return self.provider.nodes_per_block * workers * self.layout.threads_per_worker

    @property
    def slots_now(self) -> int:
        """How many calls its connected workers run at once."""
        return len(self.observed) * self.layout.threads_per_worker

    def job_script(self, name: str | None = None) -> str:
        """Return the script that is submitted for a block."""
        if not self._has_started:
            return script.job_script(self.provider, self.settings, name)
        return self.provider.script(self._job(name or f"{self._name}-0"))

    def explain(self) -> str:
        """Say in a sentence or two what the blocks do, and why nothing is running if nothing is."""
        return "; ".join(self._sentences())

    def _sentences(self) -> list[str]:
        if not self._has_started:
            return ["the cluster has not started"]
        if self.status is Status.closed:
            return ["the cluster is closed"]
        return words.sentences(
            self.blocks,
            self._keeper.health,
            now_s=time.time(),
            expected_workers=self.slots_per_block // self.layout.threads_per_worker
            if self.expected_workers
            else None,
            room=self._watch.room,
            query_trouble=self._watch.query_trouble,
        )

    def scale(  # type: ignore[override] # what is not for blocks is refused
        self,
        n: int | None = None,
        blocks: int | None = None,
        jobs: int | None = None,
        memory: Any = None,
        cores: int | None = None,
    ) -> Any:
        """Have so many blocks, or as many as so many workers (`n`) or `cores` need, and never more.

        Blocks that end are replaced while there is work. Closing a block moves its data to others
        before its job is cancelled. To scale is also to try at once what rests after failures.
        """
        if memory is not None:
            raise SettingsError("scale(memory=...): ask for blocks, workers (n) or cores")
        given = {"n": n, "blocks": blocks, "jobs": jobs, "cores": cores}
        given = {name: value for name, value in given.items() if value is not None}
        if len(given) != 1:
            said = ", ".join(f"{name}={value!r}" for name, value in given.items())
            raise SettingsError(f"scale({said}): say either blocks, workers (n) or cores")
        ((name, value),) = given.items()
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise SettingsError(f"scale({name}={value!r}): must be an int >= 0")
        if self.status in (Status.closing, Status.closed, Status.failed):
            self.worker_spec.clear()
            return NoOpAwaitable()
        target = blocks if blocks is not None else jobs
        if target is None:
            per_block = self.slots_per_block
            wanted = cores if cores is not None else (n or 0) * self.layout.threads_per_worker
            target = math.ceil(wanted / per_block)
        cast(Any, self.loop).add_callback(self._rescale, target)
        return NoOpAwaitable() if self.asynchronous else None

    def adapt(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Not for blocks: one idle worker would end its whole block."""
        raise SettingsError(
            "adapt() would cancel a whole block because one of its workers is idle. Let blocks follow "
            "the work by init_blocks, min_blocks, max_blocks and parallelism, or call scale(blocks=...)"
        )

    def tail(self, block: Block) -> str:
        """Return the last lines of a block's log."""
        return self._watch.tail(block)

    def wait_for_blocks(self, blocks: int, timeout: float | None = None) -> Any:
        """Wait until just so many blocks are open, and each has workers.

        Raises
        ------
        BlocksFailed
            They do not come up.
        TimeoutError
            They have not within `timeout` seconds; the message says why.
        """
        return self.sync(self._wait_for_blocks, blocks, timeout_s=timeout)

    def wait_for_end(self, name: str, timeout: float | None = None) -> Any:
        """Wait until a block has ended, as the batch system says.

        Raises
        ------
        TimeoutError
            It has not within `timeout` seconds.
        """
        if name not in self._watch.blocks:
            raise KeyError(f"no block is called {name!r}")

        async def wait() -> None:
            while (block := self._watch.blocks.get(name)) is not None and not block.is_over:
                await self._has_changed.wait()

        async def within() -> None:
            await asyncio.wait_for(wait(), timeout)

        return self.sync(within)

    async def _wait_for_blocks(self, blocks: int, timeout_s: float | None) -> None:
        async def wait() -> None:
            while True:
                changed = self._has_changed
                open_blocks = self.open_blocks
                if len(open_blocks) == blocks and all(block.workers for block in open_blocks):
                    return
                if self.has_given_up:
                    raise BlocksFailed(self.explain())
                await changed.wait()

        try:
            await asyncio.wait_for(wait(), timeout_s)
        except TimeoutError as error:
            raise TimeoutError(
                f"not {blocks} blocks are up after {timeout_s:g} s: {self.explain()}"
            ) from error

    # ---- starting and closing ---------------------------------------------------------------

    def _security(self) -> Security | None:
        if not self.settings.encrypted:
            return None
        return cast(Security, self.settings.security or Security.temporary())

    def _get_worker_security(self, _security: Any) -> None:
        """Keep dask_jobqueue from writing keys anywhere: agents get them with their settings."""

    async def _start(self) -> None:
        self._is_between_starts.clear()
        try:
            if self.settings.scheduler is not None:
                self.shutdown_scheduler = False
                arguments = self.security.get_connection_args("client")
                await make_room_for_subscription(self._contacts[0], arguments)
            await super()._start()
            if not self._has_started:
                self._start_supervision()
        except BaseException:
            self._is_between_starts.set()
            if self.status is Status.running:  # else the base class has closed what it had begun
                await self._close()
            raise
        finally:
            self._is_between_starts.set()

    def _start_supervision(self) -> None:
        if self.settings.scheduler is None:
            self._contacts = contact_addresses(str(self.scheduler_address), self._host)
        self.name = self.settings.name  # several clusters of one scheduler would get one name
        self._folder = self.settings.new_folder()
        self._agent_settings().write(self._folder)
        self._watch = BlockWatch(self.provider, self._folder, self._job, self._changed)
        self.new_spec["group"] = self._group(self.expected_workers or 1)
        self._has_started = True
        self._supervision = asyncio.create_task(self._supervise())

    def _job(self, block: str) -> BlockJob:
        return script.block_job(self.settings, cast(Path, self._folder), block)

    def _agent_settings(self) -> AgentSettings:
        chosen = self.settings
        tls = self.security.get_tls_config_for_role("worker") if chosen.encrypted else {}
        names = {"ca_file": "tls_ca_file", "cert": "tls_worker_cert", "key": "tls_worker_key"}
        return AgentSettings(
            scheduler=tuple(self._contacts),
            security={names[name]: _text(tls[name]) for name in names} if tls else None,
            versions=checks.versions([*checks.PACKAGES, *chosen.packages]),
            layout=self.layout,
            nodes=self.provider.nodes_per_block,
            resources=dict(chosen.resources),
            env=dict(chosen.env),
            plugins=[base64.b64encode(cloudpickle.dumps(p)).decode() for p in chosen.plugins],
            start_method=chosen.start_method,
            interface=chosen.worker_interface,
            local_directory=chosen.local_directory,
            death_timeout_s=chosen.death_timeout,
            connect_timeout_s=chosen.connect_timeout,
            dask_config=dict(chosen.dask_config),
        )

    def close(self, timeout: float | None = None) -> Any:
        """Cancel all jobs, and close the scheduler if it is this cluster's own.

        A Ctrl-C acts when that is done; a second one acts at once, and leaves the jobs to the guard.
        """
        with signals_deferred():
            return super().close(timeout)

    async def _close(self) -> None:
        if self.status is not Status.failed:  # which is told in the middle of a start
            await self._is_between_starts.wait()
        self._is_closing = True
        if self._supervision is not None:
            self._supervision.cancel()
            await asyncio.wait({self._supervision})
        if self._has_started:
            remove_settings(cast(Path, self._folder))
            await self._watch.stop()
            # The base class would ask a scheduler that may be gone to let the workers go.
            self._forget([*self.worker_spec, *self.workers])
        await super()._close()

    # ---- supervision ------------------------------------------------------------------------

    async def _supervise(self) -> None:
        trouble = ""
        while not self._is_closing:
            try:
                await self._step()
            except Exception as error:
                if str(error) != trouble:  # not each second again
                    logger.exception("keeping the blocks failed, and is tried again")
                trouble = str(error)
            await asyncio.sleep(_LEAST_STEP_S)  # workers come by hundreds
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), _STEP_S)
            self._nudged.clear()

    async def _step(self) -> None:
        self._watch.count(Counter(_block_of(name) for name in self.observed))
        self._watch.look()
        self._forget([name for name in self.worker_spec if self._is_over(name)])
        if self._watch.workers_per_node not in (None, self.expected_workers):
            self.expected_workers = self._watch.workers_per_node
            for spec in (self.new_spec, *self.worker_spec.values()):
                spec["group"] = self._group(self.expected_workers)
        to_open = self._keeper.to_open(await self._demand(), self.slots_per_block)
        for _ in range(to_open):
            self.worker_spec.update(self.new_worker_spec())
        if to_open:
            await self._correct_state()

    async def _demand(self) -> int:
        if self.settings.demand is not None:
            # In a thread, since it may wait for whoever is just adding to the calls.
            return await asyncio.to_thread(self.settings.demand)
        if self.settings.scheduler is not None:
            return 0
        state: Any = self.scheduler
        running = sum(len(worker.processing) for worker in state.workers.values())
        return running + len(state.queued) + len(state.unrunnable)

    def new_worker_spec(self) -> dict[str, Any]:
        """Return the entry of a new block; a name is never used twice."""
        name = self._new_worker_name(self._i)
        self._i += 1
        return {name: dict(self.new_spec)}

    async def _rescale(self, target: int) -> None:
        surplus = [block.name for block in self._keeper.rescale(target)]
        self._watch.want_closed(surplus)
        self._nudged.set()
        if surplus:
            await self._let_go(surplus)
            await self._watch.cancel(surplus)

    async def _let_go(self, names: list[str]) -> None:
        """Move the data of blocks elsewhere."""
        leaving = [name for name in self.observed if _block_of(name) in names]
        if not leaving:
            return
        try:
            scheduler: Any = self.scheduler_comm
            await asyncio.wait_for(scheduler.retire_workers(names=leaving), _RETIRE_TIMEOUT_S)
        except (TimeoutError, OSError) as error:
            logger.warning("could not move the data of %s: %r", ", ".join(names), error)

    def _is_over(self, name: str) -> bool:
        block = self._watch.blocks.get(name)
        return name in self.workers and (block is None or block.is_over)

    def _forget(self, names: Iterable[str]) -> None:
        """Take blocks out of the specification: nothing is left to close."""
        for name in names:
            self.worker_spec.pop(name, None)
            if (entry := self.workers.pop(name, None)) is not None:
                entry.status = Status.closed

    def _group(self, workers: int) -> list[str]:
        nodes = range(self.provider.nodes_per_block)
        return [f"-{node}-{slot}" for node in nodes for slot in range(workers)]

    def _changed(self, before: Block, block: Block) -> None:
        self._keeper.changed(before, block)
        self._nudged.set()
        changed, self._has_changed = self._has_changed, asyncio.Event()
        changed.set()

    def _update_worker_status(self, op: str, msg: Any) -> None:
        super()._update_worker_status(op, msg)
        self._nudged.set()

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        rows = "".join(
            f'<tr><td colspan="2" style="text-align: left;">{_escaped(sentence)}</td></tr>'
            for sentence in self._sentences()
        )
        return cast(str, super()._repr_html_(cluster_status=(cluster_status or "") + rows))


def _block_of(worker_name: object) -> str:
    return str(worker_name).rsplit("-", 2)[0]


def _text(pem: str) -> str:
    """Return a certificate or key that is given as text, or as the path of a file."""
    return pem if "\n" in pem else Path(pem).read_text()


def _escaped(text: str) -> str:
    return html.escape(text)
