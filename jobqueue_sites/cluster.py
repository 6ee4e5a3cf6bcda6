"""Dask clusters of blocks, on dask-jobqueue's Job and Cluster classes.

Only here is dask_jobqueue imported.

::

    scale(blocks=2) ─► worker_spec {name-0, name-1} ─► Job: one batch job of nodes x workers each
                              ▲                           │
        policy ◄── supervise, each second ──► BlockWatch (batch system, agents' reports)

One entry of the specification is one block; its workers are called ``{block}-{node}-{slot}``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import html
import logging
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn, cast

import cloudpickle
from distributed import Scheduler
from distributed.core import Status
from distributed.security import Security
from distributed.utils import NoOpAwaitable

from jobqueue_sites import importing
from jobqueue_sites.address import contact_addresses, listening_host
from jobqueue_sites.agent import checks
from jobqueue_sites.agent.settings import AgentSettings
from jobqueue_sites.blocks import explain as words
from jobqueue_sites.blocks.block import Block
from jobqueue_sites.blocks.policy import Bounds, blocks_wanted, to_close
from jobqueue_sites.blocks.watch import BlockWatch
from jobqueue_sites.errors import BlocksFailed, SettingsError
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.pinning.plan import workers_per_node
from jobqueue_sites.providers.base import BlockJob, Provider
from jobqueue_sites.settings import ClusterSettings

with importing.without_side_effects():
    from dask_jobqueue.core import Job, JobQueueCluster

logger = logging.getLogger("jobqueue_sites.cluster")
_STEP_S = 1.0
_RETIRE_TIMEOUT_S = 20.0
_FIRST_WORD_S = 15.0
_RARER = 4


class BlockEntry(Job):
    """One block, as an entry of the cluster's specification."""

    config_name = "local"

    def __init__(
        self, scheduler: Any = None, name: Any = None, cluster: Any = None, **_unused: Any
    ):
        # Job's own construction builds the command of `dask worker` from the user's settings of
        # dask_jobqueue, neither of which applies to a block.
        super(Job, self).__init__()
        self.scheduler, self.name = scheduler, name
        self.job_id, self.job_header, self.job_name = None, "", name
        self._owner = cluster

    def job_script(self) -> str:
        return cast(str, self._owner.job_script(self.name))

    async def start(self) -> None:
        """Submit the job. That it is refused is told by the block, not by an exception."""
        number = int(str(self.name).rsplit("-", 1)[1])
        await self._owner._watch.submit(self.name, number)
        self.status = Status.running

    async def close(self) -> None:
        """End the job."""
        await self._owner._watch.cancel([self.name])
        self.status = Status.closed
        self._event_finished.set()


class _Elsewhere:
    """Stands in a SpecCluster for a scheduler that somebody else runs."""

    status = Status.running

    def __init__(self, address: str, **_unused: Any):
        self.address = address

    def __await__(self) -> Any:
        async def itself() -> _Elsewhere:
            return self

        return itself().__await__()

    async def close(self) -> None:
        """Leave it alone."""


def agent_command(settings: ClusterSettings, folder: Path, block: str) -> tuple[str, ...]:
    """Return the command that runs an agent."""
    python = settings.python or sys.executable
    return (python, "-m", "jobqueue_sites.agent", str(folder), block)


def job_script(provider: Provider, settings: ClusterSettings, block: str | None = None) -> str:
    """Return the script that would be submitted for a block."""
    folder = Path(settings.directory).absolute() / settings.name
    name = block or f"{settings.name}-0"
    job = BlockJob(
        name=name,
        agent=agent_command(settings, folder, name),
        stdout=str(folder / f"{name}.out"),
        stderr=str(folder / f"{name}.err"),
    )
    return provider.script(job)


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
        self._has_started = False
        self._watch: BlockWatch  # from the start on
        self._supervision: asyncio.Task[None] | None = None
        self._opening: asyncio.Future[Any] | None = None
        self._nudged = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._waiting_since_s, self._tell_after_s = time.monotonic(), _FIRST_WORD_S
        self._bounds = Bounds(
            init_blocks=provider.init_blocks,
            min_blocks=provider.min_blocks,
            max_blocks=provider.max_blocks,
            parallelism=provider.parallelism,
        )
        self._owed = max(provider.init_blocks, provider.min_blocks)
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
        super().__init__(
            name=chosen.name,
            security=self._security(),
            scheduler_cls=Scheduler if chosen.scheduler is None else _Elsewhere,
            scheduler_options={**scheduler, **chosen.dask_scheduler_options},
            asynchronous=asynchronous,
            loop=loop,
            cluster=self,
        )

    # ---- for users --------------------------------------------------------------------------

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks this cluster has or had, oldest first."""
        return tuple(self._watch.blocks.values()) if self._has_started else ()

    @property
    def open_blocks(self) -> tuple[Block, ...]:
        """The blocks that have not ended."""
        return tuple(block for block in self.blocks if not block.is_over)

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
            return job_script(self.provider, self.settings, name)
        return self.provider.script(self._watch.job(name or f"{self._name}-0"))

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
            self._watch.health,
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

        async def wait() -> None:
            while not self._watch.blocks[name].is_over:
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
                if self._watch.health.is_resting(time.time()):
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
        await super()._start()
        if self._has_started:
            return
        if self.settings.scheduler is None:
            self._contacts = contact_addresses(str(self.scheduler_address), self._host)
        else:
            self.shutdown_scheduler = False
        self._folder = self.settings.new_folder()
        self._agent_settings().write(self._folder)
        self._watch = BlockWatch(
            self.provider,
            self._folder,
            lambda block: agent_command(self.settings, cast(Path, self._folder), block),
            self._changed,
        )
        self.new_spec["group"] = self._group(self.expected_workers or 1)
        self._has_started = True
        self._supervision = asyncio.create_task(self._supervise())

    def _agent_settings(self) -> AgentSettings:
        chosen = self.settings
        tls = self.security.get_tls_config_for_role("worker") if chosen.encrypted else {}
        names = {"ca_file": "tls_ca_file", "cert": "tls_worker_cert", "key": "tls_worker_key"}
        plugins = base64.b64encode(cloudpickle.dumps(list(chosen.plugins))).decode()
        return AgentSettings(
            scheduler=tuple(self._contacts),
            security={names[name]: _text(tls[name]) for name in names} if tls else None,
            versions=checks.versions([*checks.PACKAGES, *chosen.packages]),
            layout=self.layout,
            nodes=self.provider.nodes_per_block,
            resources=dict(chosen.resources),
            env=dict(chosen.env),
            plugins=plugins if chosen.plugins else "",
            start_method=chosen.start_method,
            interface=chosen.worker_interface,
            local_directory=chosen.local_directory,
            death_timeout_s=chosen.death_timeout,
            connect_timeout_s=chosen.connect_timeout,
            dask_config=dict(chosen.dask_config),
        )

    async def _close(self) -> None:
        if self._supervision is not None:
            self._supervision.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervision
            self._supervision = None
        if self._opening is not None:
            with contextlib.suppress(Exception):
                await self._opening
        if self._has_started:
            await self._watch.cancel([block.name for block in self.open_blocks])
        await super()._close()

    # ---- supervision ------------------------------------------------------------------------

    async def _supervise(self) -> None:
        while True:
            try:
                await self._step()
            except Exception:
                logger.exception("watching over the blocks failed, and goes on")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), _STEP_S)
            self._nudged.clear()

    async def _step(self) -> None:
        self._watch.count(Counter(_block_of(name) for name in self.observed))
        await self._watch.look()
        self._forget_ended()
        demand = self._demand()
        now_s = time.time()
        if demand and self._watch.health.is_resting(now_s) and not self._is_any_up():
            self._fail_waiting()
            return
        self._tell_why_it_waits(demand)
        staying = self._staying()
        wanted = blocks_wanted(self._bounds, demand, self.slots_per_block, len(staying))
        if sum(block.workers > 0 for block in staying) >= self._owed:
            self._owed = 0  # what was asked for came up; from now on the work decides
        wanted = max(wanted, self._owed)
        missing = self._watch.health.most_submissions(wanted - len(staying))
        if missing > 0 and self._watch.health.may_submit(now_s):
            await self._open(missing)

    def _demand(self) -> int:
        if self.settings.demand is not None:
            return self.settings.demand()
        if self.settings.scheduler is not None:
            return 0
        state: Any = self.scheduler
        running = sum(len(worker.processing) for worker in state.workers.values())
        return running + len(state.queued) + len(state.unrunnable)

    def _staying(self) -> list[Block]:
        """Return the open blocks that are not about to end for our wish."""
        return [block for block in self.open_blocks if not block.is_closing]

    def _is_any_up(self) -> bool:
        return any(block.workers for block in self.open_blocks)

    async def _open(self, count: int) -> None:
        if self._opening is not None and not self._opening.done():
            return
        for _ in range(count):
            self.worker_spec.update(self.new_worker_spec())
        # Submitting may take long; the watch over the others goes on.
        self._opening = asyncio.ensure_future(self._correct_state())

    def new_worker_spec(self) -> dict[str, Any]:
        """Return the entry of a new block; a name is never used twice."""
        name = self._new_worker_name(self._i)
        self._i += 1
        return {name: dict(self.new_spec)}

    async def _rescale(self, target: int) -> None:
        self._bounds = dataclasses.replace(self._bounds, min_blocks=0, max_blocks=target)
        self._watch.health = type(self._watch.health)()
        staying = self._staying()
        surplus = to_close(staying, len(staying) - target)
        self._owed = target
        if surplus:
            await self._close_blocks([block.name for block in surplus])
        self._nudged.set()

    async def _close_blocks(self, names: list[str]) -> None:
        """Move the data of blocks elsewhere, then end their jobs."""
        self._watch.want_closed(names)
        leaving = [name for name in self.observed if _block_of(name) in names]
        if leaving:
            try:
                scheduler: Any = self.scheduler_comm
                await asyncio.wait_for(scheduler.retire_workers(names=leaving), _RETIRE_TIMEOUT_S)
            except (TimeoutError, OSError) as error:
                logger.warning("could not move the data of %s: %r", ", ".join(names), error)
        await self._watch.cancel(names)
        for name in names:
            self.worker_spec.pop(name, None)
        await self._correct_state()

    def _forget_ended(self) -> None:
        """Take blocks that ended out of the specification: nothing is left to close."""
        for block in self.blocks:
            if block.is_over and block.name in self.worker_spec and block.name in self.workers:
                del self.worker_spec[block.name]
                entry = self.workers.pop(block.name)
                entry.status = Status.closed
        for name, reports in self._watch.reports.items():
            workers = max((report.workers or 0 for report in reports), default=0)
            if workers:
                self.expected_workers = workers
                if name in self.worker_spec:
                    self.worker_spec[name]["group"] = self._group(workers)

    def _group(self, workers: int) -> list[str]:
        nodes = range(self.provider.nodes_per_block)
        return [f"-{node}-{slot}" for node in nodes for slot in range(workers)]

    def _changed(self, before: Block, block: Block) -> None:
        self._nudged.set()
        changed, self._has_changed = self._has_changed, asyncio.Event()
        changed.set()
        if not block.is_over or before.is_over:
            return
        if not block.state.is_normal_end:
            logger.warning("%s", words.of_ended(block))
        if not block.has_failed_to_start:
            return
        self._watch.health = self._watch.health.failed(
            words.of_ended(block),
            time.time(),
            is_final=block.is_setup_fault,
            has_others=any(other.workers for other in self.open_blocks),
        )
        if self._watch.health.is_resting(time.time()):
            logger.error("%s", self.explain())

    def _tell_why_it_waits(self, demand: int) -> None:
        """Explain once in a while, less and less often, why work finds no worker."""
        now_s = time.monotonic()
        if not demand or self._is_any_up():
            self._waiting_since_s, self._tell_after_s = now_s, _FIRST_WORD_S
        elif now_s - self._waiting_since_s >= self._tell_after_s:
            self._tell_after_s *= _RARER
            why = self.explain()
            if self.settings.on_waiting is not None:
                self.settings.on_waiting(why)
            else:
                logger.warning("no worker yet: %s", why)

    def _fail_waiting(self) -> None:
        if self.settings.on_failure is not None:
            self.settings.on_failure(BlocksFailed(self.explain()))

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
