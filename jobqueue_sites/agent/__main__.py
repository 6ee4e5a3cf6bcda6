"""``python -m jobqueue_sites.agent FOLDER BLOCK``: run the agent of this node.

::

    rank, probe ─► plan ─► versions, scheduler in reach? ─► workers ─► until SIGTERM, or none is left
         └──────────┴────────────────┴── a report, and exit code 1, if it cannot go on
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import platform
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobqueue_sites.agent import checks
from jobqueue_sites.agent.probe import probe_node
from jobqueue_sites.agent.rank import find_rank
from jobqueue_sites.agent.report import TOPIC, Phase, Report
from jobqueue_sites.agent.settings import AgentSettings, is_disowned
from jobqueue_sites.errors import JobqueueSitesError
from jobqueue_sites.pinning.plan import NodePlan, plan_node

if TYPE_CHECKING:
    from jobqueue_sites.agent.workers import NodeWorkers

logger = logging.getLogger("jobqueue_sites.agent")
_STAGGER_S = 0.02
_LONGEST_STAGGER_S = 20.0


class CannotGoOn(Exception):
    """What keeps this node from having workers, in words for the user.

    `is_setup_fault` tells whether the next block would meet it too.
    """

    def __init__(self, message: str, *, is_setup_fault: bool):
        super().__init__(message)
        self.is_setup_fault = is_setup_fault


class Agent:
    """The agent of one node of one block."""

    def __init__(self, folder: Path, settings: AgentSettings, block: str, node: int):
        self._folder = folder
        self._settings = settings
        self._block = block
        self._node = node
        self._place = (block, node)
        self._host = platform.node()
        self._topology: Mapping[str, Any] = {}
        self._plan: Mapping[str, Any] = {}
        self._lost: list[str] = []
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Run until the job ends or no worker is left; return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        try:
            workers = await self._start()
            if workers is not None:
                await self._run_workers(workers)
        except CannotGoOn as fault:
            if self._stopping.is_set():
                return 0
            logger.error("%s", fault)
            sys.stderr.write(f"jobqueue-sites: {fault}\n")
            self._report(Phase.FAILED, str(fault), is_setup_fault=fault.is_setup_fault)
            return 1
        self._report(Phase.ENDED)
        return 0

    async def _run_workers(self, workers: NodeWorkers) -> None:
        report = self._report(Phase.UP)
        is_one = report.workers == 1
        logger.info("%d %s up", report.workers, "worker is" if is_one else "workers are")
        try:
            await workers.tell(TOPIC, dataclasses.asdict(report))
        except (OSError, TimeoutError) as error:
            logger.warning("cannot tell the scheduler of the plan: %s", error)
        await self._first(workers.finished(self._has_lost))
        logger.info("ending the workers")
        await workers.close()
        if len(self._lost) == report.workers:
            raise CannotGoOn(self._loss(), is_setup_fault=False)

    def _has_lost(self, worker: str) -> None:
        if not self._stopping.is_set():
            self._lost.append(worker)
            logger.error("%s", self._loss())
            self._report(Phase.UP, self._loss())

    def _loss(self) -> str:
        count = len(self._lost)
        which = self._lost[0] if count == 1 else f"{count} of {len(self._plan['workers'])} workers"
        return f"{self._host}: {which} died and could not be started again"

    def _stop(self, number: signal.Signals) -> None:
        logger.info("told to end by %s", signal.Signals(number).name)
        self._stopping.set()

    async def _start(self) -> NodeWorkers | None:
        """Return the node's workers when they are up; None if the job ends before."""
        settings = self._settings
        logger.info("agent of node %d of block %s on %s", self._node, self._block, self._host)
        self._report(Phase.STARTING)
        try:
            topology = probe_node()
            self._topology = json.loads(topology.to_json())
            plan = plan_node(topology, settings.layout)
        except JobqueueSitesError as error:
            raise CannotGoOn(f"{self._host}: {error}", is_setup_fault=True) from error
        self._plan = json.loads(plan.to_json())
        for note in plan.notes:
            logger.warning("%s", note)
        self._report(Phase.STARTING)
        if different := checks.differences(settings.versions, self._host):
            raise CannotGoOn(different, is_setup_fault=True)
        # Hundreds of nodes must not knock at the scheduler's door in the same moment.
        await self._pause(min(self._node * _STAGGER_S, _LONGEST_STAGGER_S))
        return await self._start_workers(plan)

    async def _start_workers(self, plan: NodePlan) -> NodeWorkers | None:
        import dask.config

        method = {"distributed.worker.multiprocessing-method": self._settings.start_method}
        dask.config.set({**method, **self._settings.dask_config})
        from jobqueue_sites.agent.workers import NodeWorkers, security_of  # 0.5 s: distributed

        address = await self._address(security_of(self._settings))
        if self._stopping.is_set():
            return None
        workers = NodeWorkers(self._settings, address, plan, self._place)
        starting = asyncio.ensure_future(workers.start())
        await self._first(starting)
        if not starting.done():
            starting.cancel()
            await workers.close()
            return None
        if (error := starting.exception()) is not None:
            await workers.close()
            why = f"{self._host}: a worker cannot start: {_cause(error)}"
            raise CannotGoOn(why, is_setup_fault=False)
        return workers

    async def _address(self, security: Any) -> str:
        """Return the address of the scheduler that this node reaches."""
        from jobqueue_sites.agent.reach import first_in_reach  # imports distributed

        settings = self._settings
        arguments = security.get_connection_args("worker")
        address, trouble = await first_in_reach(
            settings.scheduler, arguments, settings.connect_timeout_s
        )
        if address is None:
            raise CannotGoOn(
                f"{self._host} cannot reach the scheduler at {trouble}, tried for "
                f"{settings.connect_timeout_s:g} s. Choose an address that compute nodes can reach with "
                "interface=... or host=..., and see that no firewall is between",
                is_setup_fault=True,
            )
        return address

    async def _first(self, work: Any) -> None:
        """Wait for `work`, or until the agent is to stop."""
        stop = asyncio.ensure_future(self._stopping.wait())
        work = asyncio.ensure_future(work)
        await asyncio.wait({stop, work}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _report(self, phase: Phase, message: str = "", *, is_setup_fault: bool = False) -> Report:
        report = Report(
            block=self._block,
            node=self._node,
            host=self._host,
            pid=os.getpid(),
            phase=phase,
            message=message,
            is_setup_fault=is_setup_fault,
            workers=len(self._plan["workers"]) if self._plan else None,
            topology=self._topology,
            plan=self._plan,
        )
        try:
            report.write(self._folder)
        except OSError as error:
            logger.error("cannot write to %s: %s", self._folder, error)
        return report


def _cause(error: BaseException) -> str:
    """Say what was at the beginning of a chain of errors."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    if isinstance(error, TimeoutError | asyncio.CancelledError):
        return "it took too long"
    return f"{type(error).__name__}: {error}"


def main() -> None:
    """Run the agent that the command line describes."""
    folder, block = Path(sys.argv[1]), sys.argv[2]
    try:
        code = _run(folder, block)
    except CannotGoOn as fault:
        sys.stderr.write(f"jobqueue-sites: {fault}\n")
        code = 1
    except Exception:  # noqa: BLE001 # or else Python would wait for the workers before it ends
        traceback.print_exc()
        code = 1
    logging.shutdown()
    # Whatever thread or child a library has left behind: the job is over.
    sys.stderr.flush()
    os._exit(code)


def _run(folder: Path, block: str) -> int:
    host = platform.node()
    if not folder.is_dir():
        raise CannotGoOn(
            f"{host} does not see the folder {folder}: directory=... must be one that compute nodes "
            "see under the same path",
            is_setup_fault=True,
        )
    try:
        settings = AgentSettings.read(folder)
    except FileNotFoundError:
        sys.stderr.write("jobqueue-sites: the cluster of this job has been closed\n")
        return 0
    except TypeError as error:
        raise CannotGoOn(
            f"{host} has another version of jobqueue_sites than the client: {error}. Let worker_init "
            "activate the client's environment",
            is_setup_fault=True,
        ) from error
    if is_disowned(folder, block):
        sys.stderr.write("jobqueue-sites: the cluster has given this block up\n")
        return 0
    node = _node(settings.nodes)
    # What workers say while all is well would bury what a user looks for in the job's output.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
    logging.basicConfig(
        filename=folder / f"{block}-node{node}.log",
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
        level=logging.INFO,
    )
    return asyncio.run(Agent(folder, settings, block, node).run())


def _node(nodes: int) -> int:
    """Return which node of its block this is."""
    if nodes == 1:
        return 0  # whatever is set: the client may itself run under a launcher
    node, _ = find_rank(os.environ)
    if node >= nodes:
        raise CannotGoOn(
            f"{platform.node()} is node {node}, counted from 0, of a block of {nodes}: the launcher "
            "starts too many agents",
            is_setup_fault=True,
        )
    return node


if __name__ == "__main__":
    main()
