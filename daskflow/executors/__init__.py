"""Where calls run: threads, local processes, or any Dask cluster, all under one scheduler."""

from daskflow.executors.existing import ExistingExecutor
from daskflow.executors.local import LocalExecutor
from daskflow.executors.threads import ThreadExecutor

__all__ = ["ExistingExecutor", "LocalExecutor", "ThreadExecutor"]
