"""Where calls run: threads, processes, blocks of a batch system, any Dask cluster; one scheduler."""

from typing import TYPE_CHECKING, Any

from daskflow.executors.existing import ExistingExecutor
from daskflow.executors.local import LocalExecutor
from daskflow.executors.threads import ThreadExecutor

if TYPE_CHECKING:
    from daskflow.executors.blocks import BlockExecutor

__all__ = ["BlockExecutor", "ExistingExecutor", "LocalExecutor", "ThreadExecutor"]


def __getattr__(name: str) -> Any:
    if name == "BlockExecutor":
        from daskflow.executors.blocks import BlockExecutor  # imports all of jobqueue_sites

        return BlockExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
