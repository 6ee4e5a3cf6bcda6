"""ExistingExecutor: calls run on a Dask cluster that somebody else has started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daskflow.errors import ConfigurationError
from daskflow.executors.base import LABEL_CAPACITY, Session, check_label


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
        if marks:
            session.client.run(_mark, dict(marks))
        return lambda: None


async def _mark(marks: dict[str, float], dask_worker: Any) -> None:
    await dask_worker.set_resources(**dict.fromkeys(marks, LABEL_CAPACITY))
