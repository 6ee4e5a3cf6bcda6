"""ExistingExecutor: calls run on a Dask cluster that somebody else has started."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daskflow.errors import ConfigurationError
from daskflow.executors.base import Session, check_label


@dataclass(frozen=True)
class ExistingExecutor:
    """Run calls on the workers of an existing cluster.

    Parameters
    ----------
    client_or_cluster
        A `distributed.Client`, a Dask cluster object, or the address of a scheduler. It is not
        closed with the kernel.
    label
        The name by which apps choose it.
    """

    client_or_cluster: Any
    label: str = "existing"

    def __post_init__(self) -> None:
        check_label(self.label)
        given = self.client_or_cluster
        known = ("scheduler_info", "scheduler_address")
        if not (given if isinstance(given, str) else any(hasattr(given, name) for name in known)):
            raise ConfigurationError(
                f"ExistingExecutor({self.client_or_cluster!r}): "
                "must be a Client, a cluster or an address"
            )

    @property
    def offers(self) -> Mapping[str, float] | None:
        return None

    @property
    def slots(self) -> None:
        return None

    def connect(self) -> tuple[Any, bool]:
        """Return a synchronous client of the cluster, and whether we made it."""
        from distributed import Client  # slow to import

        if isinstance(self.client_or_cluster, Client):
            if self.client_or_cluster.asynchronous:
                raise ConfigurationError(
                    "ExistingExecutor needs a synchronous Client, not asynchronous=True"
                )
            return self.client_or_cluster, False
        return Client(self.client_or_cluster), True

    def start(self, session: Session) -> Callable[[], None]:
        marks = session.label_resources(self.label)
        if not marks:
            return lambda: None
        from daskflow.executors.startup import Label, LabelAtOnce  # imports distributed

        others = [r for x in session.labels if x != self.label for r in session.label_resources(x)]
        client, plugin = session.client, Label(marks, others)
        client.register_plugin(LabelAtOnce(marks, others))
        client.register_plugin(plugin)

        def stop() -> None:
            client.unregister_scheduler_plugin(plugin.name)
            client.unregister_worker_plugin(plugin.name)

        return stop


def watch(client: Any, on_lost: Callable[[str], object]) -> Callable[[], None]:
    """Call ``on_lost(how)`` in a thread when `client` loses its scheduler; return what stops that.

    A client that connects anew has lost all its futures, so the first loss is the end.
    """
    address = client.scheduler.address
    stopped = asyncio.Event()

    async def look() -> None:
        while client.status == "running":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), _LOOK_EVERY_S)
                return
        how = f"the connection to the scheduler at {address} was lost"
        threading.Thread(target=on_lost, args=(how,), daemon=True).start()

    client.loop.add_callback(look)
    return lambda: client.loop.add_callback(stopped.set)


_LOOK_EVERY_S = 0.25
