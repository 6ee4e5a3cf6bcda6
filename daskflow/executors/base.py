"""What an executor is: settings that can start workers for the scheduler of a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from daskflow.errors import ConfigurationError, ExecutorError

LABEL_CAPACITY = 1_000_000
"""How much a worker has of its executor's label: more than it ever runs at once."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What an executor needs to start its workers.

    `client` is connected to the scheduler (for local workers there may be none yet), `host` starts
    processes on this machine, and `label_resources` gives the resources that mark an executor's
    workers. Workers on this machine listen on `interface` (None: any).

    Executors whose workers come and go also use: `contacts`, the addresses that other machines may
    reach the scheduler under; `folder`, the kernel's for logs; `demand`, which tells how many Dask
    tasks of a label run or could run; `on_failure`, to be told that a label will have no worker, and
    why; `on_waiting`, to be told why there is none yet; and `clusters`, where they leave their own.
    """

    client: Any
    host: Any
    label_resources: Callable[[str], Mapping[str, float]]
    labels: Sequence[str]
    security: Any
    interface: str | None
    contacts: Sequence[str]
    folder: str
    demand: Callable[[str], int]
    on_failure: Callable[[str, ExecutorError], object]
    on_waiting: Callable[[str], object]
    clusters: dict[str, Any]


@runtime_checkable
class Executor(Protocol):
    """A labelled place where calls run. Implementations are frozen dataclasses."""

    @property
    def label(self) -> str:
        """The name by which apps choose it."""

    @property
    def offers(self) -> Mapping[str, float] | None:
        """The Dask resources of each of its workers; None if they are not known beforehand."""

    @property
    def slots(self) -> int | None:
        """How many calls it runs at once; None if that changes as it likes."""

    def start(self, session: Session) -> Callable[[], None]:
        """Start its workers; return what stops them."""


def check_label(label: object) -> None:
    """Raise ConfigurationError unless `label` can name an executor."""
    if not isinstance(label, str) or not label or label == "all" or not label.isprintable():
        raise ConfigurationError(f"label={label!r}: must be a non-empty name other than 'all'")


def check_count(value: object, name: str) -> None:
    """Raise ConfigurationError unless `value` is an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name}={value!r}: must be an int >= 1")


def check_resources(resources: object) -> None:
    """Raise ConfigurationError unless `resources` maps names to amounts that a worker can have."""
    if not isinstance(resources, Mapping):
        raise ConfigurationError(f"resources={resources!r}: must be a dict such as {{'GPU': 1}}")
    for name, amount in resources.items():
        good = isinstance(amount, int | float) and not isinstance(amount, bool) and amount >= 0
        if not isinstance(name, str) or not good:
            raise ConfigurationError(
                f"resources={resources!r}: must map names to numbers >= 0, not {name!r}: {amount!r}"
            )
