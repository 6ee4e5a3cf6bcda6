"""One call on a worker: its attempts, and what becomes of them.

::

    Member + values ──► arguments ──► attempt ──► value, packed for its way
                                        │  raises: in-place retry, or Failed with the evidence
                                        │  join body: Joined (what it recorded)
                                        └─ isolated: the same in a child process
"""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from daskflow.errors import AppTimeout, FailureReport, MissingOutputs
from daskflow.files import File
from daskflow.worker import bash, running, streams, wire
from daskflow.worker.exceptions import recorded
from daskflow.worker.functions import FunctionSpec, load_function
from daskflow.worker.keys import call_key
from daskflow.worker.outcome import Failed, Joined, NotRun
from daskflow.worker.running import CallInterrupted, Guard, Reason


@dataclass(frozen=True, slots=True)
class Extras:
    """What a call brings beyond its arguments; most calls have none."""

    walltime_s: float | None = None
    stdout: streams.StreamSpec | None = None
    stderr: streams.StreamSpec | None = None
    outputs: tuple[File, ...] = ()
    isolate: bool = False
    earlier_attempts: int = 0

    def with_log_folder(self, folder: str, key: str) -> Extras:
        """Return these extras with `folder` in place of `AUTO_FOLDER` in the names of streams."""
        if not (_is_auto(self.stdout) or _is_auto(self.stderr)):
            return self
        return replace(
            self, stdout=_moved(self.stdout, folder, key), stderr=_moved(self.stderr, folder, key)
        )

    def with_stream_names(self, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a function's keywords with the names that `with_log_folder` gave to streams."""
        names = {
            name: getattr(self, name)
            for name in ("stdout", "stderr")
            if _is_auto(kwargs.get(name)) and getattr(self, name) is not None
        }
        return {**kwargs, **names} if names else kwargs


NO_EXTRAS = Extras()
AUTO_FOLDER = "<auto>"
"""Stands for the folder of logs in the name of a stream, until it is known."""


def _is_auto(stream: object) -> bool:
    return isinstance(stream, str) and stream.startswith(AUTO_FOLDER)


def _moved(stream: Any, folder: str, key: str) -> Any:
    if not _is_auto(stream):
        return stream
    return folder + stream[len(AUTO_FOLDER) :].replace("<key>", key)


def run_call(
    spec: FunctionSpec,
    run: str,
    number: int,
    arguments: Callable[[], tuple[Sequence[Any], Mapping[str, Any]]],
    extras: Extras = NO_EXTRAS,
) -> object:
    """Run a call until it succeeds or its policy allows no further try here.

    `arguments` makes the positional and keyword arguments afresh for each try. Returns a value in
    its travelling form or an `Outcome`; raises nothing.
    """
    attempts = extras.earlier_attempts
    while True:
        attempts += 1
        key = call_key(spec.name, run, number)
        error: BaseException
        if running.was_cancelled(key):
            return NotRun()
        try:
            result = _attempt(spec, key, arguments, extras)
            return replace(result, attempts=attempts) if isinstance(result, Joined) else result
        except CallInterrupted:
            return NotRun()
        except BaseException as caught:  # noqa: BLE001 # SystemExit and all: it fails this call only
            error = caught
        if spec.ask_home or spec.retry is None:
            return failed(spec, key, error, attempts, retryable=spec.ask_home)
        try:
            if attempts >= spec.retry.attempts or not spec.retry.applies_to(error):
                return failed(spec, key, error, attempts)
        except Exception as own:  # noqa: BLE001 # the user's filter is broken
            return failed(spec, key, own, attempts)
        pause_s = spec.retry.pause_s(attempts, random.Random())  # spreads load only
        if pause_s:
            time.sleep(pause_s)


def failed(
    spec: FunctionSpec, key: str, error: BaseException, attempts: int, *, retryable: bool = False
) -> Failed:
    """Return the evidence of a failed attempt of a call."""
    record = recorded(error, skip_frames=_our_frames(error))
    report = FailureReport(
        app=spec.name,
        key=key,
        host=socket.gethostname(),
        worker=worker_name(),
        attempt=attempts,
        traceback=record.formatted,
    )
    return Failed(record, report, attempts, retryable)


def this_worker() -> Any | None:
    """Return the Dask worker of this thread; None if it is no worker's."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker  # only where it is loaded anyway

    try:
        return get_worker()
    except (ValueError, AttributeError):
        return None


def worker_name() -> str:
    """Name the Dask worker of this thread, else this process."""
    worker = this_worker()
    return f"pid-{os.getpid()}" if worker is None else str(worker.name)


def _attempt(
    spec: FunctionSpec,
    key: str,
    arguments: Callable[[], tuple[Sequence[Any], Mapping[str, Any]]],
    extras: Extras,
) -> object:
    walltime_s = extras.walltime_s if extras.walltime_s is not None else spec.walltime_s
    if extras.isolate or spec.isolate:
        from daskflow.worker.isolate import run_isolated  # rarely needed

        return run_isolated(spec, key, arguments, extras, walltime_s)
    function = load_function(spec)
    args, kwargs = arguments()
    guard = Guard(key, walltime_s)
    result: object = None
    try:
        with guard:
            result = run_function(spec, function, args, kwargs, extras, guard)
    except CallInterrupted:
        guard.close()
    except BaseException:
        if guard.reason is None:
            raise
        raise_interrupted(guard, spec.name, walltime_s)  # it only followed from the interruption
    if guard.reason is not None:
        raise_interrupted(guard, spec.name, walltime_s)
    if extras.outputs:
        check_outputs(spec.name, extras.outputs)
    if type(result) in wire.ATOMS or type(result) is Joined:
        return result
    return wire.packed(result, f"the result of app {spec.name!r}")


def run_function(  # one place where all of a call comes together
    spec: FunctionSpec,
    function: Callable[..., object],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    extras: Extras,
    guard: Guard,
) -> object:
    """Run the function of an app as its kind demands."""
    if extras is NO_EXTRAS and spec.runner is None and spec.kind != "bash":
        return function(*args, **kwargs)  # most calls
    if extras.stdout is not None or extras.stderr is not None:
        kwargs = extras.with_stream_names(kwargs)

    def body() -> object:
        return function(*args, **kwargs)

    if spec.kind == "bash":
        return bash.run_command(body, spec.name, guard, extras.stdout, extras.stderr)
    if extras.stdout is None and extras.stderr is None:
        return body() if spec.runner is None else spec.runner(body)
    with streams.redirected(extras.stdout, extras.stderr):
        return body() if spec.runner is None else spec.runner(body)


def raise_interrupted(guard: Guard, app_name: str, walltime_s: float | None) -> None:
    """Turn an interruption into what the kernel must hear of it."""
    if guard.reason is Reason.WALLTIME:
        raise AppTimeout(f"app {app_name!r} ran longer than its walltime of {walltime_s} s")
    raise CallInterrupted


def check_outputs(app_name: str, outputs: Sequence[File]) -> None:
    """Raise MissingOutputs unless each local file of `outputs` exists."""
    missing = [f.filepath for f in outputs if f.scheme == "file" and not os.path.exists(f.filepath)]  # noqa: PTH110 # a File is no Path
    if missing:
        raise MissingOutputs(app_name, missing)


def _our_frames(error: BaseException) -> int:
    """Count the leading frames of a traceback that lie in this package, not in the user's code."""
    count = 0
    trace = error.__traceback__
    here = os.path.dirname(__file__)  # noqa: PTH120 # once for each failure
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(here):
        count += 1
        trace = trace.tb_next
    return count


_thread_values = threading.local()


def argument(index: int) -> object:
    """Return value `index` of the call whose arguments this thread is opening (used in pickles)."""
    return _thread_values.current[index]


def with_values(data: bytes, values: Sequence[object]) -> Any:
    """Unpickle `data`, in which `argument` stands for each of `values`."""
    before = getattr(_thread_values, "current", ())
    _thread_values.current = values
    try:
        return wire.Pickled(data).load()
    finally:
        _thread_values.current = before
