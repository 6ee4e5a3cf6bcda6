"""What a cluster of Dask's consists of: blocks as its entries, and a stand-in for a scheduler elsewhere.

Only here is dask_jobqueue imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import cloudpickle
from distributed.core import Status, rpc

from jobqueue_sites import importing

with importing.without_side_effects():
    from dask_jobqueue.core import Job, JobQueueCluster

__all__ = ["BlockEntry", "JobQueueCluster", "SchedulerElsewhere", "make_room_for_subscription"]


class BlockEntry(Job):
    """One block, as an entry of the cluster's specification."""

    config_name = "local"

    def __init__(
        self, scheduler: Any = None, name: Any = None, cluster: Any = None, **_unused: Any
    ):
        # Job's own construction builds the command of `dask worker` from the user's settings of
        # dask_jobqueue, neither of which applies to a block.
        super(Job, self).__init__()  # type: ignore[no-untyped-call] # of distributed
        self.scheduler, self.name = scheduler, name
        self.job_id, self.job_header, self.job_name = None, "", name
        self._owner = cluster

    def job_script(self) -> str:
        return cast(str, self._owner.job_script(self.name))

    async def start(self) -> None:
        """Have the job submitted. Whether it is, or is refused, the block tells."""
        number = int(str(self.name).rsplit("-", 1)[1])
        self._owner._watch.submit(self.name, number)
        self.status = Status.running

    async def close(self) -> None:
        """End the job."""
        await self._owner._watch.cancel([self.name])
        self.status = Status.closed
        self._event_finished.set()


class SchedulerElsewhere:
    """Stands in a SpecCluster for a scheduler that somebody else runs."""

    status = Status.running

    def __init__(self, address: str, **_unused: Any):
        self.address = address

    def __await__(self) -> Any:
        async def itself() -> SchedulerElsewhere:
            return self

        return itself().__await__()

    async def close(self) -> None:
        """Leave it alone."""


async def make_room_for_subscription(address: str, connection_args: Any) -> None:
    """Keep the news of workers that other clusters of a scheduler have subscribed to.

    A scheduler has one such subscription by name; that of the next cluster takes its place.
    """
    async with rpc(address, connection_args=connection_args) as scheduler:
        await scheduler.run_function(function=cloudpickle.dumps(_subscription_mover()))


def _subscription_mover() -> Callable[..., None]:
    """Return a function for the scheduler, whose machine may lack this package."""

    def give_it_a_name_of_its_own(dask_scheduler: Any) -> None:
        plugin = dask_scheduler.plugins.pop("worker-status", None)
        if plugin is not None:
            plugin.name = f"worker-status-{id(plugin)}"
            dask_scheduler.plugins[plugin.name] = plugin

    return give_it_a_name_of_its_own
