"""DataFlowKernel: takes calls, and answers for them until they have ended.

::

    App ──record──► Dispatcher ──graphs──► scheduler ──► Collector ──settle──► AppFuture
                        ▲                                   │
                        └────── again, inner calls ─────────┘
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from daskflow.config import Config
from daskflow.errors import (
    ExecutorError,
    KernelClosedError,
    KernelForkedError,
    SchedulerLost,
    WorkerLost,
    WouldDeadlockError,
)
from daskflow.executors import LocalExecutor
from daskflow.futures import settling
from daskflow.futures.appfuture import AppFuture
from daskflow.futures.local import task_of_final
from daskflow.futures.recording import key_of, process, warn_of_calls_never_run
from daskflow.futures.settling import Settlement
from daskflow.graph import tasks
from daskflow.graph.call import Call, State
from daskflow.graph.lower import Batch
from daskflow.kernel import exposing
from daskflow.kernel.client import teach
from daskflow.kernel.collector import Collector
from daskflow.kernel.dispatcher import Dispatcher
from daskflow.kernel.interrupts import Interrupts
from daskflow.kernel.opening import KernelSide, OpenSession
from daskflow.kernel.placing import Placing
from daskflow.kernel.retry import RetryRules
from daskflow.kernel.unasked import UnaskedFailures
from daskflow.logs import log_to, new_run_folder
from daskflow.retries import as_retry
from daskflow.worker.batch import pick
from daskflow.worker.handback import TOPIC, Message
from daskflow.worker.news import NEWS_TOPIC
from daskflow.worker.outcome import Outcome
from daskflow.worker.running import interrupt_all, is_inside_call

logger = logging.getLogger("daskflow.kernel")
_END_TIMEOUT_S = 3.0
_FLUSH_TIMEOUT_S = 1.0


class DataFlowKernel:
    """Runs calls on the executors of a Config. Made by `daskflow.load`; usable with ``with``.

    Attributes
    ----------
    config
        Its settings.
    client
        The `distributed.Client` of its scheduler, Dask's default while the kernel is loaded.
    run_dir
        The numbered folder of its logs.
    """

    def __init__(self, config: Config):
        self.config = config
        self._pid = os.getpid()
        self._run = process.run
        self._closed = False
        self._is_open = False
        self._lost: ExecutorError | None = None
        self._close_lock = threading.Lock()
        self._is_eager = config.submit == "eager"
        self._flush_is_due = False
        self.run_dir: Path = new_run_folder(config.run_dir)
        self._stop_log: Callable[[], None] = lambda: None
        if config.log_level is not None:
            self._stop_log = log_to(self.run_dir / "daskflow.log", config.log_level)
        try:
            self._session = OpenSession(
                config,
                KernelSide(
                    folder=str(self.run_dir),
                    demand=self._demand,
                    on_failure=self._on_executor_failed,
                    on_waiting=_tell,
                ),
            )
        except BaseException:
            self._stop_log()
            raise
        try:
            self._begin(config)
        except BaseException:  # nobody else could close it
            self._session.close()
            self._stop_log()
            raise
        self._is_open = True
        logger.info("kernel loaded: %s, logs in %s", config.executors, self.run_dir)

    def _begin(self, config: Config) -> None:
        """Take calls for the session that is open."""
        self.client = self._session.client
        rules = RetryRules(as_retry(config.retries), config.retry_handler)
        self._failures = UnaskedFailures()
        self._placing = Placing(config.executors, self.client)
        self._dispatcher = Dispatcher(config, self.client, rules, self._settle, self._placing)
        self._collector = Collector(self.client, self._dispatcher, rules, self._settle)
        self._interrupts = Interrupts(self.client)
        self._unteach = teach(self.client)
        self._collector.start()
        self._session.subscribe(TOPIC + process.run, self._on_hand_back)
        self._session.subscribe(NEWS_TOPIC + process.run, self._on_news)
        self._session.watch(lambda how: self._on_lost(SchedulerLost(how)))
        self._hear_of_trouble()

    def _hear_of_trouble(self) -> None:
        """Learn of local workers that cannot start."""
        if self._session.host is not None:
            from daskflow.executors.startup import TROUBLE_TOPIC  # imports distributed

            self._not_started: set[str] = set()
            self._session.subscribe(TROUBLE_TOPIC, self._on_trouble)
            for event in self.client.get_events(TROUBLE_TOPIC):  # before we listened
                self._on_trouble(event)

    # ---- for futures (the protocol `daskflow.futures.recording.Owner`) ----------------------

    def record(self, call: Call) -> None:
        """Take a new call."""
        if call.options.executors != "all" or call.options.resources:
            self._placing.check(call)
        self._check_usable()
        call.owner = self
        self._resolve_logs(call)
        waiting = self._dispatcher.record(call)
        if self._is_eager:
            self._flush_soon()
        elif waiting >= self.config.submit_every:
            self._flush_and_wait()

    def adopt(self, call: Call) -> None:
        """Take a call that was made elsewhere: before there was a kernel, or by a join body.

        What is wrong with it becomes its own failure.
        """
        call.owner = self
        self._resolve_logs(call)
        try:
            self._placing.check(call)
        except ExecutorError as error:
            self._settle([(call, State.FAILED, error)])
        else:
            self._dispatcher.record(call)

    def demand(self, call: Call) -> None:
        """See that the call, and all that was recorded so far, is on its way."""
        self._check_usable()
        if call.app.derived and call.state is State.RECORDED:
            self._dispatcher.record(call)
        self._flush_soon()

    def check_may_wait(self) -> None:
        """Raise if this thread must not wait for a call."""
        if self._collector.is_this_thread():
            raise WouldDeadlockError(
                "waiting for an unfinished future inside a done-callback would never end, since "
                "the same thread resolves futures: add a callback to that future instead"
            )
        if is_inside_call():
            process.pool.check_may_wait()
        if self.client.asynchronous:
            raise WouldDeadlockError(
                "waiting for a future in the event loop of its client would never end: await it"
            )

    def cancel(self, call: Call) -> bool:
        """See that the call delivers no result; False if it has one."""
        with self._dispatcher.lock:
            if call.is_final:
                return call.state is State.CANCELLED
            inner = self._collector.inner_calls(call)
            batch = call.batch if call.state is State.SUBMITTED else None
            self._collector.has_cancelled = True
            # Under the lock, so that the call is not just being sent, or sent again.
            error = CancelledError(f"call {key_of(call)} was cancelled")
            ended = settling.end([(call, State.CANCELLED, error)])
        settling.call_back(ended)
        self._settle(self._followers([call]))
        if batch is not None and not self._closed:
            self._end_on_workers([call], batch)
        for each in inner:
            self.cancel(each)
        self._flush_soon()
        return call.state is State.CANCELLED

    def fetch(self, call: Call) -> Any:
        """Return the value of a finished call that stayed on its worker."""
        if self._closed:
            raise KernelClosedError(
                f"the value of call {key_of(call)} was large and stayed on its worker; "
                "it went with the kernel. Demand large values before the kernel is closed"
            )
        value = self._fetched(call)
        if isinstance(value, Outcome):
            raise WorkerLost(
                call.app.name,
                f"the value of call {key_of(call)} was large, stayed on a worker, and was lost with it",
            )
        return value

    def _fetched(self, call: Call) -> Any:
        batch = call.batch
        # Straight from the worker where that can be reached for sure; else by way of the scheduler.
        direct = True if self._session.host is not None else None
        if batch.members == 1:
            return self.client.gather(batch.future, direct=direct).entries[0]
        key = f"pick-{call.member}-of-{batch.key}"
        graph = tasks.high_level_graph(
            [({key: tasks.task(key, pick, call.member, inputs=[batch.key])}, {})]
        )
        (future,) = self.client.get(graph, [key], sync=False)
        return self.client.gather(future, direct=direct)

    def wire_task(self, call: Call) -> Any:
        """Return the Dask task that stands for the call in a graph on its way to the scheduler."""
        key = key_of(call)
        while True:
            keeps_remotely = call.state is State.DONE and call.batch is not None
            task = self._dispatcher.exposed_task(call)
            if task is not None:
                return task
            if call.is_final and not keeps_remotely:
                return task_of_final(call, key)
            if exposing.note(call):  # it is asked again, when all that the graph needs are exposed
                return tasks.data(key, None)
            self.expose([call])
            if self._dispatcher.exposed_task(call) is None:
                # It may come back from its task, or waits here, so the scheduler cannot know it yet.
                self.check_may_wait()
                AppFuture.wait_for(call)

    def expose(self, calls: Sequence[Call]) -> None:
        """Let the scheduler know calls by their own keys, as far as that can be now."""
        self._check_usable()
        for call in calls:
            if call.app.derived and call.state is State.RECORDED:
                self._dispatcher.record(call)
        self._dispatcher.expose(calls)

    def was_shown(self, error: BaseException) -> None:
        """Note that somebody has seen the exception of a failed call."""
        self._failures.seen(error)

    def log_folder(self) -> str:
        """Return the folder of the logs that `AUTO_LOGNAME` names."""
        return str(self.run_dir / "task_logs")

    # ---- for users --------------------------------------------------------------------------

    def submit(self, *futures: AppFuture) -> None:
        """Submit all that was recorded so far, `futures` included, and return at once."""
        for future in futures:
            if future.call.app.derived and not future.call.is_final:
                self.demand(future.call)
        self._check_usable()
        self._flush_and_wait()

    def explain(self) -> str:
        """Say what the blocks of each `BlockExecutor` do, and why nothing is running if nothing is."""
        return "\n".join(
            f"{label}: {cluster.explain()}" for label, cluster in self._session.clusters.items()
        )

    @property
    def clusters(self) -> Mapping[str, Any]:
        """The `jobqueue_sites.BlockCluster` of each `BlockExecutor`, by label."""
        return self._session.clusters

    def wait_for_current_tasks(self, timeout: float | None = None) -> None:
        """Run and wait for all calls recorded so far.

        Raises
        ------
        TimeoutError
            They have not all ended within `timeout` seconds; they go on.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        self._check_usable()
        self._flush_soon()
        for call in self._unfinished():
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            AppFuture.wait_for(call, left)

    def close(self, *, wait: bool = False) -> int:
        """Close the kernel; return how many calls were cancelled for it.

        With `wait`, all recorded calls are run first. Harmless when repeated.
        """
        if self._pid != os.getpid():  # a forked child leaves it to the parent
            return 0
        if wait and not self._closed:
            self._run_to_the_end()
        with self._close_lock:
            if self._closed:
                return 0
            self._closed = True
        if process.kernel is self:
            process.kernel = None
        unfinished = self._unfinished()
        submitted = [call.batch for call in unfinished if call.state is State.SUBMITTED]
        self._collector.stop()
        error = CancelledError("the kernel was closed before this call had ended")
        self._settle([(call, State.CANCELLED, error) for call in unfinished])
        self._unteach()
        if submitted and self._lost is None:
            self._end_all_on_workers({batch.key: batch.future for batch in submitted})
        self._session.close(is_lost=self._lost is not None)
        logger.info("kernel closed, %d calls cancelled", len(unfinished))
        self._failures.tell(f"{self.run_dir / 'daskflow.log'}")
        self._stop_log()
        return len(unfinished)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and self.config.exit_mode == "wait" and not self._closed:
                self._run_to_the_end()
        except BaseException:
            kind = KeyboardInterrupt
            raise
        finally:
            cancelled = self.close()
            if cancelled:
                why = "an exception left" if kind is not None else "exit_mode='cancel' ended"
                warn_of_calls_never_run(cancelled, f"{why} the with block, so they were cancelled")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "loaded"
        labels = ", ".join(executor.label for executor in self.config.executors)
        return f"<DataFlowKernel {state}: executors {labels}; logs in {self.run_dir}>"

    # ---- inside -----------------------------------------------------------------------------

    @property
    def is_lost(self) -> bool:
        """Whether its scheduler or workers are gone, so that all that is left is to close it."""
        return self._lost is not None

    @property
    def is_closed(self) -> bool:
        """Whether the kernel has been closed."""
        return self._closed

    def _unfinished(self) -> list[Call]:
        return [*self._dispatcher.unfinished(), *self._collector.joining()]

    def _run_to_the_end(self) -> None:
        """Run and wait for all calls, also for those that done-callbacks record meanwhile."""
        while True:
            self.wait_for_current_tasks()
            callbacks_are_through = threading.Event()
            self._dispatcher.completions.call_soon(callbacks_are_through.set)
            while not callbacks_are_through.wait(_FLUSH_TIMEOUT_S) and not self._closed:
                continue
            if not self._unfinished():
                return

    def _check_usable(self) -> None:
        if self._run is not process.run:  # a forked child is another run
            raise KernelForkedError(
                f"this kernel belongs to process {self._pid}, which this process ({os.getpid()}) "
                "was forked from: call daskflow.load() here"
            )
        if self._closed:
            raise KernelClosedError("the kernel of this call has been closed")
        if self._lost is not None:
            raise self._lost.with_traceback(None)

    def _resolve_logs(self, call: Call) -> None:
        if call.extras is not None:
            call.extras = call.extras.with_log_folder(self.log_folder(), key_of(call))

    def _flush_soon(self) -> None:
        """Submit what can be, in the collector's thread: there, no Ctrl-C can tear it apart."""
        if not self._flush_is_due:
            self._flush_is_due = True
            self._dispatcher.completions.call_soon(self._flush_now)

    def _flush_and_wait(self) -> None:
        """Do as `_flush_soon`, and wait for it, though not for ever: a callback may wait for us."""
        self._flush_soon()
        if not self._collector.is_this_thread():
            flushed = threading.Event()
            self._dispatcher.completions.call_soon(flushed.set)
            flushed.wait(_FLUSH_TIMEOUT_S)

    def _flush_now(self) -> None:
        self._flush_is_due = False
        self._dispatcher.flush()

    def _settle(self, settlements: Iterable[Settlement]) -> None:
        """End calls, and what follows from their end."""
        todo = list(settlements)
        while todo:
            for call, state, value in todo:
                if state is State.FAILED and not call.is_final:
                    self._failures.add(call, value)  # before somebody can have seen it
            settling.settle(todo)
            for call, state, value in todo:
                # It had ended otherwise, or Dask shows the failure.
                if state is State.FAILED and (
                    call.value is not value or self._dispatcher.is_exposed(call)
                ):
                    self._failures.seen(value)
            todo = self._followers([settlement[0] for settlement in todo])

    def _followers(self, calls: Sequence[Call]) -> list[Settlement]:
        """Make ready what waited for the end of `calls`; return the joins that end with them."""
        self._dispatcher.release_held(calls)
        return self._collector.ended(calls)

    def _end_on_workers(self, calls: Sequence[Call], batch: Any) -> None:
        is_on_its_way = isinstance(batch, Batch) and batch.future is not None
        if is_on_its_way and all(call.is_final for call in batch.calls):
            with contextlib.suppress(Exception):
                self.client.cancel([batch.future])
        self._interrupts.send([key_of(call) for call in calls])

    def _end_all_on_workers(self, tasks_left: Mapping[str, Any]) -> None:
        """Let no task of this kernel wait or run on workers that may go on without it."""
        interrupt_all(process.run)  # those of a ThreadExecutor
        if self._session.owns_scheduler:
            return  # its workers end with it

        async def end() -> None:
            await self.client.cancel([f for f in tasks_left.values() if f is not None], force=True)
            await self.client.run(interrupt_all, process.run, on_error="ignore")

        with contextlib.suppress(Exception):
            self.client.sync(end, callback_timeout=_END_TIMEOUT_S)

    def _on_lost(self, error: ExecutorError) -> None:
        self._lost = error
        logger.error("%s", error)
        self._settle([(call, State.FAILED, error) for call in self._unfinished()])

    def _demand(self, label: str) -> int:
        """Return how many Dask tasks run or could run on the executor `label`."""
        return self._dispatcher.demand(label) if self._is_open else 0

    def _on_executor_failed(self, label: str, error: ExecutorError) -> None:
        """Fail the calls that can run nowhere but on executors that failed."""
        labels = [executor.label for executor in self.config.executors]
        clusters = self._session.clusters.items()
        hopeless = {label, *(name for name, cluster in clusters if cluster.has_given_up)}

        def fail() -> None:
            failed = []
            for call in self._unfinished():
                wanted = labels if call.options.executors == "all" else call.options.executors
                if call.label == label or hopeless.issuperset(wanted):
                    failed.append(call)
            batches = {
                call.batch.key: call.batch for call in failed if call.state is State.SUBMITTED
            }
            self._settle([(call, State.FAILED, error) for call in failed])
            for batch in batches.values():
                self._end_on_workers(batch.calls, batch)

        self._dispatcher.completions.call_soon(fail)

    def _on_hand_back(self, event: tuple[float, Message]) -> None:
        self._dispatcher.completions.call_soon(
            lambda: self._collector.hand_back(pickle.loads(event[1][1]))
        )

    def _on_news(self, event: tuple[float, bytes]) -> None:
        self._dispatcher.completions.call_soon(
            lambda: self._collector.take_news(*pickle.loads(event[1]))
        )

    def _on_trouble(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take note of a worker that could not start; an event may come twice."""
        report = event[1]
        name, host = report["worker"], self._session.host
        if host is None or report["host"] != host.pid or name in self._not_started:
            return
        self._not_started.add(name)
        logger.error("worker %s could not start: %s", name, report["error"])
        for executor in self.config.executors:
            if isinstance(executor, LocalExecutor) and self._not_started >= executor.worker_names:
                label = executor.label
                why = f"no worker of executor {label!r} could start; the last: {report['error']}"
                self._on_lost(ExecutorError(why))


def _tell(why: str) -> None:
    """Tell the user why nothing runs yet; a thread of Dask's loop calls this."""
    logger.warning("no worker yet: %s", why)
    with contextlib.suppress(UserWarning):  # where warnings are errors: they are none of Dask's
        warnings.warn(f"calls wait, and no worker is there yet: {why}", UserWarning, stacklevel=2)
