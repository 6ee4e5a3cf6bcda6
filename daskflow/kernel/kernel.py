"""DataFlowKernel: takes calls, and answers for them until they have ended.

::

    App ──record──► Dispatcher ──graphs──► scheduler ──► Collector ──settle──► AppFuture
                        ▲                                   │
                        └────── again, inner calls ─────────┘
"""

from __future__ import annotations

import logging
import os
import threading
import time
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
    WouldDeadlockError,
)
from daskflow.futures import settling
from daskflow.futures.appfuture import AppFuture
from daskflow.futures.local import task_of_final
from daskflow.futures.recording import key_of, process, warn_of_calls_never_run
from daskflow.futures.settling import Settlement
from daskflow.graph import tasks
from daskflow.graph.call import Call, CallReference, State
from daskflow.kernel.client import teach
from daskflow.kernel.collector import Collector
from daskflow.kernel.dispatcher import Dispatcher
from daskflow.kernel.exposing import pickling
from daskflow.kernel.interrupts import Interrupts
from daskflow.kernel.opening import KernelSide, OpenSession
from daskflow.kernel.placing import Placing
from daskflow.kernel.remote import fetched
from daskflow.kernel.reports import Reports, tell_of_waiting
from daskflow.kernel.retry import RetryRules
from daskflow.kernel.unasked import UnaskedFailures
from daskflow.logs import log_to, new_run_folder
from daskflow.retries import as_retry
from daskflow.worker.running import is_inside_call
from jobqueue_sites.deferring import signals_deferred

logger = logging.getLogger("daskflow.kernel")
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
        """Make a kernel that is not `open` yet."""
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

    def open(self) -> None:
        """Start what is needed to run calls; if that fails, nothing of it is left."""
        config = self.config
        if config.log_level is not None:
            self._stop_log = log_to(self.run_dir / "daskflow.log", config.log_level)
        side = KernelSide(
            folder=str(self.run_dir),
            demand=self._demand,
            on_failure=self._on_executor_failed,
            on_waiting=tell_of_waiting,
        )
        self._session = OpenSession(config)
        try:
            self._session.open(side)
            self._begin(config)
        except BaseException:
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
        self._placing = Placing(config.executors, self.client, self._session.clusters)
        self._dispatcher = Dispatcher(config, self.client, rules, self._settle, self._placing)
        self._collector = Collector(self.client, self._dispatcher, rules, self._settle)
        self._interrupts = Interrupts(self.client)
        self._unteach = teach(self.client)
        self._collector.start()
        self._session.watch(lambda how: self._on_lost(SchedulerLost(how)))
        self._reports = Reports(
            self._session,
            config.executors,
            self._dispatcher.completions,
            self._collector,
            self._on_lost,
        )

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
            self._interrupts.end([call], batch)
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
        # Straight from the worker where that can be reached for sure.
        return fetched(self.client, call, may_connect=self._session.host is not None)

    def wire_task(self, call: Call) -> Any:
        """Return the Dask task that stands for the call in a graph that is being pickled.

        On its way to the scheduler, one that the scheduler knows; on any other, one that is the value.
        """
        key = key_of(call)
        now = pickling()
        if now is None:
            self.demand(call)
        while now is not None:
            keeps_remotely = call.state is State.DONE and call.batch is not None
            task = self._dispatcher.exposed_task(call)
            if task is not None:
                return task
            if call.is_final and not keeps_remotely:
                break
            if now.asks:
                now.needed.append(call)
                return tasks.data(key, None)
            self.expose([call])
            if self._dispatcher.exposed_task(call) is None:
                # It may come back from its task, or waits here, so the scheduler cannot know it yet.
                self._wait_for(call)
        self._wait_for(call)
        return task_of_final(call, key)

    def _wait_for(self, call: Call) -> None:
        if not call.is_final:
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
            if not isinstance(future, CallReference):
                raise TypeError(
                    f"submit: {future!r} is no future; give several as submit(*futures)"
                )
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

        With `wait`, all recorded calls are run first. Harmless when repeated. A Ctrl-C while it closes acts
        when that is done; a second one acts at once.
        """
        if self._pid != os.getpid():  # a forked child leaves it to the parent
            return 0
        if wait and not self._closed:
            self._run_to_the_end()
        with signals_deferred():
            with self._close_lock:
                if self._closed or not self._is_open:
                    return 0
                self._closed = True
            return self._close()

    def _close(self) -> int:
        if process.kernel is self:
            process.kernel = None
        unfinished = self._unfinished()
        submitted = [call.batch for call in unfinished if call.state is State.SUBMITTED]
        self._collector.stop()
        error = CancelledError("the kernel was closed before this call had ended")
        self._settle([(call, State.CANCELLED, error) for call in unfinished])
        self._unteach()
        if submitted and self._lost is None:
            self._interrupts.end_all(submitted, workers_go_on=not self._session.owns_scheduler)
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
            try:
                cancelled = self.close()
            except BaseException:  # a Ctrl-C, perhaps before it had begun
                self.close()
                raise
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

    def _on_lost(self, error: ExecutorError) -> None:
        self._lost = error
        logger.error("%s", error)
        self._settle([(call, State.FAILED, error) for call in self._unfinished()])

    def _demand(self, label: str) -> int:
        """Return how many Dask tasks run or could run on the executor `label`."""
        if not self._is_open:
            return 0
        if self._dispatcher.has_ready:  # there may be workers now that were not there before
            self._flush_soon()
        return self._dispatcher.demand(label)

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
                self._interrupts.end(batch.calls, batch)

        self._dispatcher.completions.call_soon(fail)
