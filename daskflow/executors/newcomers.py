"""Who may run calls on a cluster that somebody else has started: workers with the same versions as here.

::

    at load      all workers are asked; one that differs is an error
    later        a worker joins ──► is given nothing until it has answered
                                      ├─ the same ──► our worker plugins, and work
                                      └─ differs ───► no work while a kernel is loaded; the kernel is told

The plugin does not leave our worker plugins to Dask, which would hand them to every worker that joins: one
without daskflow could not open them, and would not start.
"""

from __future__ import annotations

import asyncio
import pickle
import platform
from collections.abc import Sequence
from importlib import metadata, util
from typing import Any

from distributed.core import rpc
from distributed.diagnostics.plugin import SchedulerPlugin

from daskflow.errors import VersionMismatch
from daskflow.worker.handback import TOPIC
from daskflow.worker.news import NEWS_TOPIC

STRANGERS_TOPIC = "daskflow-strangers-"
"""Dask event topic (with the run appended) that tells of workers that are given no work, and why."""
_ANSWER_TIMEOUT_S = 20.0
_MOST_TRIES = 10
_NO_ANSWER = "it does not answer"
_STATUS_CHANGE = "worker-status-change"
_RUNNING = "running"
_NAMES = ("Python", "distributed", "an importable daskflow", "daskflow")
# Evaluated on workers, which may lack daskflow.
_VERSIONS = (
    "(__import__('platform').python_version(), __import__('distributed').__version__, "
    "__import__('importlib.util').util.find_spec('daskflow') is not None, "
    "next((d.version for d in __import__('importlib.metadata').metadata.distributions("
    "name='daskflow')), None))"
)
_QUESTION = {
    "function": pickle.dumps(eval),
    "args": pickle.dumps((_VERSIONS,)),
    "kwargs": pickle.dumps({}),
    "wait": True,
}
Versions = tuple[object, ...]


def own_versions() -> Versions:
    """Return what must be the same on a worker."""
    return (
        platform.python_version(),
        metadata.version("distributed"),
        util.find_spec("daskflow") is not None,
        next((d.version for d in metadata.distributions(name="daskflow")), None),
    )


def check_versions(client: Any) -> None:
    """Raise VersionMismatch if a cluster's processes lack daskflow or differ from this one."""
    here = own_versions()
    found = client.run(eval, _VERSIONS, on_error="return")
    found["the scheduler"] = client.run_on_scheduler(eval, _VERSIONS)
    problems = [f"  {who}: {why}" for who, there in found.items() if (why := _differs(here, there))]
    if problems:
        raise VersionMismatch("this cluster cannot run calls:\n" + "\n".join(problems))


def _differs(here: Versions, there: object) -> str:
    """Say in which way a process that answered `there` differs; nothing if it does not."""
    if not isinstance(there, tuple):
        return str(there) or type(there).__name__
    return ", ".join(
        f"{name} {value!r} (here: {own!r})"
        for name, own, value in zip(_NAMES, here, there, strict=True)
        if not _compatible(own, value)
    )


def _compatible(here: object, there: object) -> bool:
    if isinstance(here, str) and isinstance(there, str) and here.count(".") == 2:  # x.y.z
        return here.split(".")[:2] == there.split(".")[:2]
    return here == there


class Newcomers(SchedulerPlugin):
    """Admits workers to the calls of `run`, a run of `client`, and gives those the plugins of `plugins`."""

    def __init__(self, run: str, client: str, plugins: Sequence[Any]):
        self.name = f"daskflow-newcomers-{run}"
        self._run = run
        self._client = client
        self._topic = STRANGERS_TOPIC + run
        self._here = own_versions()
        # The scheduler need not open them.
        self._plugins = {f"{plugin.name}-{run}": pickle.dumps(plugin) for plugin in plugins}

    async def start(self, scheduler: Any) -> None:
        """Admit the workers that are there; from now on, hear first when one is ready to run."""
        self._scheduler = scheduler
        # Workers that are given nothing, and whether they are ready.
        self._held: dict[str, bool] = {}
        self._admitting: set[asyncio.Future[None]] = set()
        self._told = scheduler.stream_handlers[_STATUS_CHANGE]
        scheduler.stream_handlers[_STATUS_CHANGE] = self._status_changed
        # These have been asked (`check_versions`); one that is too busy to answer now may run calls.
        await asyncio.gather(*(self._admit(worker, is_known=True) for worker in scheduler.workers))

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Let a worker that joins wait until it is known: it answers only once it has joined."""
        self._hold(worker)
        admitting = asyncio.ensure_future(self._admit(worker))
        self._admitting.add(admitting)
        admitting.add_done_callback(self._admitting.discard)

    def remove_worker(self, scheduler: Any, worker: str, **_kwargs: Any) -> None:
        """Forget a worker."""
        self._held.pop(worker, None)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Leave if the kernel has ended without closing."""
        if client == self._client:
            for topic in (STRANGERS_TOPIC, TOPIC, NEWS_TOPIC):  # Dask forgets to
                scheduler.unsubscribe_topic(topic + self._run, client)
            self._leaving = asyncio.ensure_future(leave(self._run, scheduler))

    async def leave(self) -> None:
        """Undo what was done to the scheduler and the workers."""
        await asyncio.gather(*self._admitting, return_exceptions=True)
        known = [worker for worker in self._scheduler.workers if worker not in self._held]
        for name in self._plugins:
            await asyncio.gather(*(self._ask(w, "plugin-remove", name=name) for w in known))
        for worker in list(self._held):
            self._release(worker)
        handlers = self._scheduler.stream_handlers
        if handlers[_STATUS_CHANGE] == self._status_changed:  # else another kernel came later
            handlers[_STATUS_CHANGE] = self._told

    def _hold(self, worker: str) -> None:
        is_ready = self._scheduler.workers[worker].status.name == _RUNNING
        self._held[worker] = is_ready
        if is_ready:
            self._told(status="paused", worker=worker, stimulus_id=self.name)

    def _release(self, worker: str) -> None:
        if self._held.pop(worker, False):
            self._told(status=_RUNNING, worker=worker, stimulus_id=self.name)

    def _status_changed(self, status: str, worker: Any, **more: Any) -> None:
        if worker in self._held:
            self._held[worker] = status == _RUNNING
            if status == _RUNNING:
                return
        self._told(status=status, worker=worker, **more)

    async def _admit(self, worker: str, *, is_known: bool = False) -> None:
        why = await self._why_not(worker)
        for _ in range(0 if is_known else _MOST_TRIES):
            if why != _NO_ANSWER:
                break
            why = await self._why_not(worker)
        if not why or (is_known and why == _NO_ANSWER):
            self._release(worker)
        elif worker in self._scheduler.workers:
            if worker not in self._held:
                self._hold(worker)
            self._scheduler.log_event(self._topic, f"{worker}: {why}")

    async def _why_not(self, worker: str) -> str:
        """Say why a worker cannot run calls; nothing if it can, and has our plugins."""
        answer = await self._ask(worker, "run", **_QUESTION)
        why = _differs(self._here, answer)
        for name, plugin in self._plugins.items():
            if not why:
                answer = await self._ask(worker, "plugin-add", plugin=plugin, name=name)
                why = "" if answer is None else f"{name}: {answer}"
        return _NO_ANSWER if isinstance(answer, TimeoutError) else why

    async def _ask(self, worker: str, op: str, **order: Any) -> object:
        """Return what a worker answers, or the error that it had or was."""
        keys = self._scheduler.connection_args
        try:
            async with (
                asyncio.timeout(_ANSWER_TIMEOUT_S),
                rpc(worker, connection_args=keys) as asked,
            ):
                answer = await getattr(asked, op)(**order)
        except (OSError, TimeoutError) as error:
            return error
        return answer.get("exception_text" if answer["status"] == "error" else "result")


async def leave(run: str, dask_scheduler: Any) -> None:
    """Take the plugins of `run` off a scheduler (on it)."""
    for name, plugin in list(dask_scheduler.plugins.items()):
        if name.startswith("daskflow-") and name.endswith(run):
            del dask_scheduler.plugins[name]
            if isinstance(plugin, Newcomers):
                await plugin.leave()
