"""daskflow: plain Python functions and shell commands as lazy Dask graphs.

Everything public is importable from here; nothing is imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskflow.apps import AUTO_LOGNAME, App, bash_app, join_app, python_app
    from daskflow.config import Config
    from daskflow.errors import *  # noqa: F403 # the error tree is public as a whole
    from daskflow.executors import (
        BlockExecutor,
        ExistingExecutor,
        LocalExecutor,
        ThreadExecutor,
    )
    from daskflow.files import File
    from daskflow.futures import AppFuture, DataFuture
    from daskflow.graph.call import Options
    from daskflow.kernel.current import (
        clear,
        compute,
        dfk,
        gather,
        load,
        submit,
        wait_for_current_tasks,
    )
    from daskflow.kernel.kernel import DataFlowKernel
    from daskflow.logs import set_file_logger, set_stream_logger
    from daskflow.retries import Retry

    __version__: str

_HOMES = {
    "daskflow.apps": "AUTO_LOGNAME App bash_app join_app python_app",
    "daskflow.config": "Config",
    "daskflow.errors": (
        "AppBadFormatting AppException AppTimeout BadStdStreamFile BashAppNoReturn "
        "BashExitFailure BlocksFailed CapturedFutureError ConfigurationError DataFlowException "
        "DaskflowError DependencyError DeserializationError ExecutorError FailureReport "
        "InvalidResourceSpecification JoinError KernelClosedError KernelForkedError "
        "MissingOutputs NoDataFlowKernelError PropagatedException RemoteException "
        "SchedulerLost SerializationError UnknownExecutor VersionMismatch WorkerLost "
        "WouldDeadlockError WrongResult"
    ),
    "daskflow.executors": "BlockExecutor ExistingExecutor LocalExecutor ThreadExecutor",
    "daskflow.files": "File",
    "daskflow.futures": "AppFuture DataFuture",
    "daskflow.graph.call": "Options",
    "daskflow.kernel.current": "clear compute dfk gather load submit wait_for_current_tasks",
    "daskflow.kernel.kernel": "DataFlowKernel",
    "daskflow.logs": "set_file_logger set_stream_logger",
    "daskflow.retries": "Retry",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AUTO_LOGNAME",
    "App",
    "AppBadFormatting",
    "AppException",
    "AppFuture",
    "AppTimeout",
    "BadStdStreamFile",
    "BashAppNoReturn",
    "BashExitFailure",
    "BlockExecutor",
    "BlocksFailed",
    "CapturedFutureError",
    "Config",
    "ConfigurationError",
    "DaskflowError",
    "DataFlowException",
    "DataFlowKernel",
    "DataFuture",
    "DependencyError",
    "DeserializationError",
    "ExecutorError",
    "ExistingExecutor",
    "FailureReport",
    "File",
    "InvalidResourceSpecification",
    "JoinError",
    "KernelClosedError",
    "KernelForkedError",
    "LocalExecutor",
    "MissingOutputs",
    "NoDataFlowKernelError",
    "Options",
    "PropagatedException",
    "RemoteException",
    "Retry",
    "SchedulerLost",
    "SerializationError",
    "ThreadExecutor",
    "UnknownExecutor",
    "VersionMismatch",
    "WorkerLost",
    "WouldDeadlockError",
    "WrongResult",
    "__version__",
    "bash_app",
    "clear",
    "compute",
    "dfk",
    "gather",
    "join_app",
    "load",
    "python_app",
    "set_file_logger",
    "set_stream_logger",
    "submit",
    "wait_for_current_tasks",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version  # slow

        try:
            return version("daskflow")
        except PackageNotFoundError:
            return "0+unknown"
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'daskflow' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
