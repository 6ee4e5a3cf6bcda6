"""The host: one process beside this one, with the scheduler and the nannies of local workers.

::

    this process                      host process (a session of its own: no Ctrl-C of the terminal)
    HostProcess ── orders (stdin) ──►  Scheduler
                ◄── answers (pipe) ──  Nanny ── worker process
                                       Nanny ── worker process

A scheduler in a process of its own is not slowed by a busy main thread. When this process ends, however
it ends, the host sees the end of its stdin and stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import select
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

import cloudpickle

from daskflow.errors import SchedulerLost
from daskflow.worker import board

START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 8.0
_SILENCE_TIMEOUT_S = 1.0
_CHILD = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from daskflow.executors.host import main; main(int(sys.argv[1]))"
)


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """One local worker process."""

    name: str
    threads: int
    memory_limit: str | int | float
    resources: Mapping[str, float]
    env: Mapping[str, str] = field(default_factory=dict)
    on_start: Callable[[], object] | None = None
    interface: str | None = "127.0.0.1"

    def plugins(self) -> list[object]:
        """Return the Dask plugins of this worker."""
        from daskflow.executors.prompt import PromptWorker  # imports distributed

        if self.on_start is None:
            return [PromptWorker()]
        from daskflow.executors.startup import StartUp  # imports distributed

        return [PromptWorker(), StartUp(cloudpickle.dumps(self.on_start), os.getpid())]


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings:
    """The scheduler of a host, and what it listens on. `dashboard` is False, or the port to try first."""

    host: str = "127.0.0.1"
    security: Any
    dashboard: int | bool
    dask_config: Mapping[str, Any]


class HostProcess:
    """The host, seen from the process that started it."""

    def __init__(self) -> None:
        readable, writable = os.pipe()
        path = [entry or str(Path.cwd()) for entry in sys.path]
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    _CHILD,
                    str(writable),
                    *path,
                    str(Path(__file__).parents[2]),
                ],
                stdin=subprocess.PIPE,
                pass_fds=(writable,),
                start_new_session=True,
                env={"DASK_LOGGING__DISTRIBUTED": "warning", **os.environ},
            )
        finally:
            os.close(writable)
        self._answers: IO[bytes] = os.fdopen(readable, "rb")
        self._lock = threading.Lock()
        self._stopping = False
        self._what = "scheduler"
        _hosts.add(self)

    @property
    def pid(self) -> int:
        """The process id of the host."""
        return self._process.pid

    def start_scheduler(self, settings: SchedulerSettings) -> str:
        """Start the scheduler and return its address."""
        return str(self._ask("scheduler", settings))

    def join_scheduler(self, address: str, security: Any) -> None:
        """Let the workers join a scheduler that is not ours."""
        self._what = "workers'"
        self._ask("joining", (address, security))

    def start_workers(self, workers: Sequence[WorkerSettings]) -> None:
        """Begin to start local workers; they join the scheduler when they are up."""
        self._ask("workers", list(workers))

    def silence(self) -> None:
        """Let the scheduler say nothing of the end that is near: lost workers are no news then."""
        with contextlib.suppress(SchedulerLost):
            self._ask("silence", None, timeout_s=_SILENCE_TIMEOUT_S)

    def watch(self, on_lost: Callable[[str], object]) -> None:
        """Call ``on_lost(how)`` if the host ends before `stop`."""

        def wait() -> None:
            exitcode = self._process.wait()
            if not self._stopping:
                how = f"exit code {exitcode}" if exitcode >= 0 else f"signal {-exitcode}"
                on_lost(f"the {self._what} process (pid {self.pid}) ended: {how}")

        threading.Thread(target=wait, name="daskflow-host-watch", daemon=True).start()

    def stop(self) -> None:
        """End the scheduler and the workers. Harmless when repeated."""
        self._stopping = True
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

    def leave_to_the_parent(self) -> None:
        """Let go of the host in a forked child, whose open pipe would hide the end of its parent."""
        self._stopping = True
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                os.close(self._process.stdin.fileno())

    def _ask(self, order: str, content: object, timeout_s: float | None = None) -> object:
        with self._lock:
            try:
                assert self._process.stdin is not None
                cloudpickle.dump((order, content), self._process.stdin)
                self._process.stdin.flush()
                if not select.select([self._answers], [], [], timeout_s)[0]:
                    raise SchedulerLost(
                        f"the {self._what} process (pid {self.pid}) does not answer"
                    )
                good, answer = pickle.load(self._answers)  # our own child
            except (EOFError, OSError, ValueError) as error:
                raise SchedulerLost(
                    f"the scheduler process (pid {self.pid}) ended while it started; "
                    "its own messages are on stderr"
                ) from error
        if not good:
            raise SchedulerLost(f"the scheduler process could not start: {answer}")
        return answer


_hosts: WeakSet[HostProcess] = WeakSet()


def _leave_hosts_to_the_parent() -> None:
    for host in list(_hosts):
        host.leave_to_the_parent()


os.register_at_fork(after_in_child=_leave_hosts_to_the_parent)


def main(descriptor: int) -> None:
    """Serve orders from stdin until it ends (in the host process)."""
    os.set_inheritable(descriptor, False)
    orders = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    with tempfile.TemporaryDirectory(prefix="daskflow-") as folder:
        os.environ[board.FOLDER] = folder  # of the scheduler, here, and of the workers
        with os.fdopen(descriptor, "wb") as answers:
            asyncio.run(_Host(orders, answers).serve())
    # At once: threads of the scheduler may go on, and are not waited for.
    os._exit(0)


class _Host:
    def __init__(self, orders: IO[bytes], answers: IO[bytes]):
        self._orders = orders
        self._answers = answers
        self._scheduler: Any = None
        self._nannies: list[Any] = []
        self._starting: list[asyncio.Future[None]] = []
        self._security: Any = None
        self._address = ""

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
            dashboard=dashboard is not False,
            dashboard_address=None if dashboard is False else f"127.0.0.1:{dashboard}",
            plugins=(PromptScheduler(),),
        )
        await self._scheduler
        self._address = str(self._scheduler.address)
        return self._address

    async def _start_joining(self, scheduler: tuple[str, Any]) -> None:
        self._address, self._security = scheduler

    async def _start_workers(self, workers: list[WorkerSettings]) -> None:
        from distributed import Nanny  # only in the host

        for settings in workers:
            nanny = Nanny(
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
            self._nannies.append(nanny)
            self._starting.append(asyncio.ensure_future(self._start(nanny)))

    async def _start(self, nanny: Any) -> None:
        try:
            await nanny
        except Exception as error:  # noqa: BLE001 # told to the other side
            cause: BaseException = error
            while cause.__cause__ is not None:
                cause = cause.__cause__
            why = f"{type(cause).__name__}: {cause}"
            await self._report({"host": os.getpid(), "worker": nanny.name, "error": why})

    async def _report(self, report: dict[str, object]) -> None:
        from distributed.core import rpc  # only in the host

        from daskflow.executors.startup import TROUBLE_TOPIC  # imports distributed

        security = self._security.get_connection_args("scheduler") if self._security else {}
        async with rpc(self._address, connection_args=security) as scheduler:
            await scheduler.log_event(topic=TROUBLE_TOPIC, msg=report)

    async def _start_silence(self, _nothing: None) -> None:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)

    async def _stop(self) -> None:
        await self._start_silence(None)
        closing = [nanny.close(timeout=2) for nanny in self._nannies]
        with contextlib.suppress(Exception):
            await asyncio.wait_for(asyncio.gather(*closing, return_exceptions=True), 4)
        with contextlib.suppress(Exception):
            if self._scheduler is not None:
                await asyncio.wait_for(self._scheduler.close(), 2)
