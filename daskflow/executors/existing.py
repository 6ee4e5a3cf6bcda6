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
from daskflow.futures.recording import process


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
        from daskflow.executors.newcomers import Newcomers  # imports distributed
        from daskflow.executors.news import NewsTeller  # as above
        from daskflow.executors.startup import Label  # as above

        plugins: list[Any] = [NewsTeller()]
        marks = session.label_resources(self.label)
        if marks:
            others = [
                x
                for label in session.labels
                if label != self.label
                for x in session.label_resources(label)
            ]
            plugins.append(Label(marks, others))
        session.client.register_plugin(Newcomers(process.run, session.client.id, plugins))
        return lambda: None  # the session leaves the scheduler


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
