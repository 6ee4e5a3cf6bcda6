"""The kernel of this process: `load`, `dfk`, `clear`, and the verbs that use it."""

from __future__ import annotations

import atexit
import threading
import traceback
from collections.abc import Iterable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import dask

from daskflow.config import Config
from daskflow.errors import ConfigurationError, NoDataFlowKernelError
from daskflow.executors import ExistingExecutor
from daskflow.futures.appfuture import AppFuture
from daskflow.futures.recording import process, warn_of_calls_never_run
from daskflow.graph import tasks
from daskflow.graph.call import State
from daskflow.kernel.kernel import DataFlowKernel
from daskflow.worker.running import is_inside_call

_load_lock = threading.RLock()
_loaded_at = ""
_exit_hook_is_set = False


def load(config: Any = None, *, replace: bool = False) -> DataFlowKernel:
    """Load a kernel, which runs the calls of this process; use it with ``with`` or close it.

    Parameters
    ----------
    config
        A `Config`, the path of a TOML file, a Dask client or cluster, the address of a scheduler
        (``"tcp://..."``), or None: the kernel that is loaded, else worker processes on this machine.
    replace
        Close a kernel that is loaded with other settings; without it that is an error. Loading with
        equal settings again returns the kernel that is loaded, unless its scheduler is lost.

    Raises
    ------
    ConfigurationError
        The settings cannot work, or another kernel is loaded.
    """
    global _loaded_at, _exit_hook_is_set  # one kernel for each process
    if is_inside_call():
        process.pool.check_may_wait()
    settings = _as_config(config)
    with _load_lock:
        kernel = process.kernel
        if isinstance(kernel, DataFlowKernel) and kernel.is_lost:
            kernel.close()
        elif isinstance(kernel, DataFlowKernel):
            if config is None or kernel.config == settings:
                return kernel
            if not replace:
                raise ConfigurationError(
                    f"another kernel is loaded, with other settings, from {_loaded_at}: "
                    "close it first (daskflow.clear()), or use load(..., replace=True)"
                )
            why = "load(..., replace=True) closed their kernel, so they were cancelled"
            warn_of_calls_never_run(kernel.close(), why)
        kernel = DataFlowKernel(settings)
        try:
            kernel.open()
            _adopt_calls(kernel)
            _loaded_at = _caller()
            process.kernel = kernel
            if not _exit_hook_is_set:
                _exit_hook_is_set = True
                for _ in range(2):  # should a Ctrl-C come before the first has begun to close
                    atexit.register(_at_exit)
        except BaseException:  # a Ctrl-C: nobody else could close it
            kernel.close()
            raise
        return kernel


def _adopt_calls(kernel: DataFlowKernel) -> None:
    """Hand the calls that were made before to the kernel."""
    for call in process.pool.drain():
        if call.state is State.SUBMITTED:  # somebody runs it already
            process.pool.demand(call)
            AppFuture.wait_for(call)
        if not call.is_final and not call.app.derived:
            kernel.adopt(call)


def dfk() -> DataFlowKernel:
    """Return the loaded kernel.

    Raises
    ------
    NoDataFlowKernelError
        None is loaded.
    """
    kernel = process.kernel
    if not isinstance(kernel, DataFlowKernel):
        raise NoDataFlowKernelError("no kernel is loaded: use daskflow.load()")
    return kernel


def clear() -> None:
    """Close the loaded kernel, if there is one; calls that have not ended are cancelled."""
    kernel = process.kernel
    if isinstance(kernel, DataFlowKernel):
        warn_of_calls_never_run(kernel.close(), "clear() closed the kernel, so they were cancelled")


def submit(*futures: AppFuture) -> None:
    """Submit all that was recorded so far, `futures` included, and return at once."""
    _loaded().submit(*futures)


def gather(futures: Any, *, return_exceptions: bool = False) -> Any:
    """Return the values of futures in a list, tuple or dict (nested as you like), in its shape.

    With `return_exceptions`, the exception of a failed or cancelled call stands in its place; else
    the first is raised.
    """
    if isinstance(futures, AppFuture):
        return _outcome(futures) if return_exceptions else futures.result()
    if isinstance(futures, dict):
        values = gather(list(futures.values()), return_exceptions=return_exceptions)
        return dict(zip(futures, values, strict=True))
    if isinstance(futures, Iterable) and not isinstance(futures, str | bytes):
        kind = tuple if isinstance(futures, tuple) else list
        parts = list(futures)
        unfinished = [f for f in parts if isinstance(f, AppFuture) and not f.call.is_final]
        if unfinished:
            submit(*unfinished)
        return kind(gather(part, return_exceptions=return_exceptions) for part in parts)
    raise TypeError(f"gather: {futures!r} is no future, nor a list, tuple or dict of futures")


def _outcome(future: AppFuture) -> Any:
    try:
        error = future.exception()
    except CancelledError as cancelled:
        return cancelled
    return future.result() if error is None else error


def wait_for_current_tasks(timeout: float | None = None) -> None:
    """Run and wait for all calls recorded so far; TimeoutError after `timeout` seconds."""
    _loaded().wait_for_current_tasks(timeout)


def compute(*collections: Any, **kwargs: Any) -> tuple[Any, ...]:
    """Do as `dask.compute`, but return the values in the order asked, whatever is mixed."""
    with tasks.order_kept():
        values: tuple[Any, ...] = dask.compute(*collections, **kwargs)
    return values


def _loaded() -> DataFlowKernel:
    """Return the kernel; load the default one if there is none."""
    if process.kernel is None:
        return load()
    return dfk()


def _as_config(config: Any) -> Config:
    if config is None:
        return Config()
    if isinstance(config, Config):
        return config
    if isinstance(config, str) and "://" in config:
        return Config(executors=[ExistingExecutor(config)])
    if isinstance(config, str | Path):
        return Config.from_toml(config)
    if hasattr(config, "scheduler_info") or hasattr(config, "scheduler_address"):
        return Config(executors=[ExistingExecutor(config)])
    raise ConfigurationError(
        f"load({config!r}): must be a Config, a TOML path, a Dask client or cluster, or an address"
    )


def _caller() -> str:
    """Return the place outside this package that asked for a kernel, directly or by a demand."""
    package = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_stack()):
        if package not in Path(frame.filename).parents:
            return f"{frame.filename}:{frame.lineno}"
    return "an unknown place"


def _at_exit() -> None:
    kernel = process.kernel
    if isinstance(kernel, DataFlowKernel):
        warn_of_calls_never_run(
            kernel.close(), "the interpreter ends; use 'with daskflow.load():' or wait for them"
        )


def _at_exit_without_kernel() -> None:
    if not isinstance(process.kernel, DataFlowKernel):
        warn_of_calls_never_run(
            process.pool.never_run(), "the interpreter ends and nothing demanded them"
        )


process.load_default = load
atexit.register(_at_exit_without_kernel)
