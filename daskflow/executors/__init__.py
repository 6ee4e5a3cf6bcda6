"""Where calls run: threads, processes, blocks of a batch system, any Dask cluster; one scheduler."""

from daskflow.executors.blocks import BlockExecutor
from daskflow.executors.existing import ExistingExecutor
from daskflow.executors.local import LocalExecutor
from daskflow.executors.threads import ThreadExecutor

__all__ = ["BlockExecutor", "ExistingExecutor", "LocalExecutor", "ThreadExecutor"]
