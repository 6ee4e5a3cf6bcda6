"""Where calls run: threads, local processes, blocks of a batch system, or any Dask cluster, all under one scheduler."""

from daskflow.executors.blocks import BlockExecutor
from daskflow.executors.existing import ExistingExecutor
from daskflow.executors.local import LocalExecutor
from daskflow.executors.threads import ThreadExecutor

__all__ = ["BlockExecutor", "ExistingExecutor", "LocalExecutor", "ThreadExecutor"]
