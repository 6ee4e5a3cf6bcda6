"""Inside the host: serves the orders of `daskflow.executors.host`, and ends with the pipe of them.

::

    host process ──► scheduler, dashboard
        │       └──► a nanny for each worker ──asks──► fork server, which has imported what workers need
        └────────────────────────────────────────────────► worker process, worker process, ...
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import warnings
from multiprocessing import forkserver
from typing import IO, Any

from daskflow.executors.host import SchedulerSettings, WorkerSettings
from daskflow.worker import board

logger = logging.getLogger("daskflow.executors")
_DASHBOARD = "distributed.dashboard.scheduler"
_DASHBOARD_DELAY_S = 1.0
_MOST_DASHBOARD_DELAYS = 5
_MOST_START_TRIES = 3
_DIED_AT_START = "Nanny failed to start worker process"
_SILENCE_TIMEOUT_S = 0.5
_PRELOADED = [
    "distributed",
    "daskflow.worker.batch",
    "daskflow.executors.news",
    "daskflow.executors.prompt",
    "daskflow.executors.startup",
]


def main(descriptor: int) -> None:
    """Serve orders from stdin until it ends (in the host process)."""
    os.set_inheritable(descriptor, False)
    orders = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    _start_forkserver()
    # Whoever asked last may be gone, and the answer with them.
    with contextlib.suppress(BrokenPipeError), os.fdopen(descriptor, "wb") as answers:
        asyncio.run(_Host(orders, answers).serve())


def _start_forkserver() -> None:
    """Start the process that workers are forked from, which imports what they need meanwhile.

    A worker that is started for itself takes half a second of a core to import distributed.
    """
    multiprocessing.set_forkserver_preload(_PRELOADED)
    forkserver.ensure_running()
    import dask  # while the other process imports
    from distributed import utils  # as above

    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    # Dask would import, here and there, whatever large libraries are installed.
    utils._forkserver_preload_set = True


class _Host:
    def __init__(self, orders: IO[bytes], answers: IO[bytes]):
        self._orders = orders
        self._answers = answers
        self._scheduler: Any = None
        self._nannies: list[Any] = []
        self._starting: list[asyncio.Future[None]] = []
        self._showing: asyncio.Future[None] | None = None
        self._security: Any = None
        self._address = ""
        self._is_silent = False

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                order, content = await loop.run_in_executor(None, pickle.load, self._orders)
            except EOFError:
                break
            try:
                answer = True, await getattr(self, f"_start_{order}")(content)
            except Exception as error:  # noqa: BLE001 # told to the other side
                answer = False, f"{type(error).__name__}: {error}"
            try:
                pickle.dump(answer, self._answers)
                self._answers.flush()
            except OSError:
                break
        await self._stop()

    async def _start_scheduler(self, settings: SchedulerSettings) -> str:
        import dask  # only in the host
        from distributed import Scheduler  # only in the host

        from daskflow.executors.prompt import PromptScheduler  # imports distributed

        dask.config.set(settings.dask_config)
        self._security = settings.security
        # A second kernel on this machine takes another port; that is no news.
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        dashboard = settings.dashboard
        warnings.filterwarnings("ignore", r"Port \d+ is already in use")  # then it takes another
        self._scheduler = Scheduler(
            host=settings.host,
            port=0,
            protocol="tls" if self._security else "tcp",
            security=self._security,
            dashboard=False,
            dashboard_address=None if dashboard is False else f"127.0.0.1:{dashboard}",
            plugins=(PromptScheduler(),),
        )
        await self._scheduler
        self._address = str(self._scheduler.address)
        if dashboard is not False:
            self._showing = asyncio.ensure_future(self._show_dashboard())
        return self._address

    async def _show_dashboard(self) -> None:
        """Add the dashboard, which takes half a second to import, when no call waits for that."""
        scheduler = self._scheduler
        for _ in range(_MOST_DASHBOARD_DELAYS):
            await asyncio.sleep(_DASHBOARD_DELAY_S)
            if not any(worker.processing for worker in scheduler.workers.values()):
                break
        try:
            shown: Any = await asyncio.to_thread(importlib.import_module, _DASHBOARD)
        except ImportError as error:
            logger.warning("no dashboard: %s", error)
            return
        shown.connect(scheduler.http_application, scheduler.http_server, scheduler, prefix="/")

    async def _start_joining(self, scheduler: tuple[str, Any]) -> None:
        self._address, self._security = scheduler

    async def _start_workers(self, workers: list[WorkerSettings]) -> None:
        self._starting += [asyncio.ensure_future(self._start(settings)) for settings in workers]

    async def _start(self, settings: WorkerSettings) -> None:
        """Start a worker; its nanny keeps it alive once it is up, and gives up if it dies before."""
        for tries_left in reversed(range(_MOST_START_TRIES)):
            nanny = self._nanny(settings)
            self._nannies.append(nanny)
            try:
                await nanny
                return
            except Exception as error:  # noqa: BLE001 # told to the other side
                self._nannies.remove(nanny)
                cause: BaseException = error
                while cause.__cause__ is not None:
                    cause = cause.__cause__
                why = f"{type(cause).__name__}: {cause}"
                if tries_left == 0 or _DIED_AT_START not in why:
                    await self._report({"host": os.getpid(), "worker": settings.name, "error": why})
                    return

    def _nanny(self, settings: WorkerSettings) -> Any:
        from distributed import Nanny  # only in the host

        return Nanny(
            self._address,
            name=settings.name,
            nthreads=settings.threads,
            memory_limit=settings.memory_limit,
            resources=dict(settings.resources),
            env=dict(settings.env),
            host=settings.interface,
            security=self._security,
            dashboard=False,
            plugins=settings.plugins(),
        )

    async def _report(self, report: dict[str, object]) -> None:
        from distributed.core import rpc  # only in the host

        from daskflow.executors.startup import TROUBLE_TOPIC  # imports distributed

        async with rpc(self._address, connection_args=self._keys()) as scheduler:
            await scheduler.log_event(topic=TROUBLE_TOPIC, msg=report)

    async def _start_silence(self, _nothing: None) -> None:
        """Let nobody complain of what is cut off now; but do not wait for a worker that is busy."""
        from daskflow.executors.startup import silence  # imports distributed

        silence()
        self._is_silent = True
        told = [asyncio.ensure_future(self._silence_worker(nanny)) for nanny in self._nannies]
        if told:
            await asyncio.wait(told, timeout=_SILENCE_TIMEOUT_S)

    async def _silence_worker(self, nanny: Any) -> None:
        from distributed.core import rpc  # only in the host

        from daskflow.executors.startup import silence  # imports distributed

        with contextlib.suppress(OSError):
            if nanny.worker_address is not None:
                async with rpc(nanny.worker_address, connection_args=self._keys()) as worker:
                    await worker.run(function=pickle.dumps(silence))

    def _keys(self) -> Any:
        return self._security.get_connection_args("scheduler") if self._security else {}

    async def _stop(self) -> None:
        if not self._is_silent:
            await self._start_silence(None)
        processes = [nanny.process for nanny in self._nannies if nanny.process is not None]
        closing = [nanny.close(timeout=2) for nanny in self._nannies]
        with contextlib.suppress(Exception):
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), 4)
        # A worker that outlived the scheduler would complain of that.
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
        with contextlib.suppress(Exception):
            if self._scheduler is not None:
                await asyncio.wait_for(self._scheduler.close(), 2)
        shutil.rmtree(os.environ[board.FOLDER], ignore_errors=True)  # if nobody is left to
        os._exit(0)
