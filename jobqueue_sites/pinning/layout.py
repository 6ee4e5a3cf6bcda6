"""NodeLayout: how the workers of a node are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.pinning.topology import format_cpus, parse_cpus

AUTO = "auto"


class Affinity(StrEnum):
    """How the CPUs of a node are divided among its workers."""

    NONE = "none"
    BLOCK = "block"
    BLOCK_REVERSE = "block-reverse"
    ALTERNATING = "alternating"
    LIST = "list"
    AUTO = AUTO


@dataclass(frozen=True, kw_only=True)
class NodeLayout:
    """How a node is divided among workers. The names are Parsl's where the meaning is.

    A core is here what the operating system and the batch systems count: a hardware thread.

    Parameters
    ----------
    available_accelerators
        How many accelerators of a node to use, or ``"auto"``: all that the job has there, or a list
        of their names, where ``"0,1"`` gives two to one worker. One worker for each: a list is taken
        as it stands, ``["0", "0"]`` are two workers of accelerator 0.
    workers_per_accelerator
        How many workers share each of them.
    cpu_affinity
        ``"none"``, ``"block"``, ``"block-reverse"``, ``"alternating"``, ``"list:0-7:8-15"`` (one set of
        cores for each worker) or ``"auto"`` (by NUMA domain, each worker near its accelerator).
    cores_per_worker, mem_per_worker
        What one worker needs: cores, and memory in GB of 2**30 bytes. They limit how many workers a
        node has. None: no limit, and an equal share; without accelerators there is then one worker for
        each `threads_per_worker` cores.
    max_workers_per_node
        A further limit to how many workers a node has.
    threads_per_worker
        How many calls a worker runs at once.
    reserved_cpus
        CPUs that no worker gets, such as ``"0,52"``; ``""``: none; None: those that the site keeps for
        the system.

    Raises
    ------
    SettingsError
        A value, or a combination of values, that cannot work on any node.
    """

    available_accelerators: int | str | Sequence[str] = ()
    workers_per_accelerator: int = 1
    cpu_affinity: str = "none"
    cores_per_worker: float | None = None
    mem_per_worker: float | None = None
    max_workers_per_node: int | None = None
    threads_per_worker: int = 1
    reserved_cpus: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "available_accelerators", _accelerators(self))
        _check_count("workers_per_accelerator", self.workers_per_accelerator)
        _check_count("threads_per_worker", self.threads_per_worker)
        if self.max_workers_per_node is not None:
            _check_count("max_workers_per_node", self.max_workers_per_node)
        for name in ("cores_per_worker", "mem_per_worker"):
            _check_amount(name, getattr(self, name))
        if self.workers_per_accelerator > 1 and not self.available_accelerators:
            raise SettingsError(
                f"workers_per_accelerator={self.workers_per_accelerator}: no accelerators are asked "
                "for; give available_accelerators too"
            )
        reserved = parse_cpus(
            "" if self.reserved_cpus is None else self.reserved_cpus, "reserved_cpus"
        )
        if self.affinity is Affinity.LIST:
            _check_sets(self, set(reserved))

    @property
    def affinity(self) -> Affinity:
        """The kind of `cpu_affinity`."""
        kind = self.cpu_affinity
        if str(kind).startswith("list:"):
            return Affinity.LIST
        if kind == Affinity.LIST or kind not in list(Affinity):
            raise SettingsError(_affinity_message(kind))
        return Affinity(kind)

    @property
    def cpu_sets(self) -> tuple[tuple[int, ...], ...]:
        """The sets of CPUs of ``"list:…"``, one for each worker."""
        sets = self.cpu_affinity.split(":")[1:]
        return tuple(parse_cpus(text, f"cpu_affinity={self.cpu_affinity!r}: set") for text in sets)

    @property
    def accelerator_names(self) -> tuple[tuple[str, ...], ...] | None:
        """The names of each entry of a list; None if accelerators are counted, or found."""
        if isinstance(self.available_accelerators, int | str):
            return None
        return tuple(tuple(entry.split(",")) for entry in self.available_accelerators)

    @property
    def wanted_workers(self) -> int | None:
        """How many workers the accelerators or the list of CPUs stand for, if a node need not be asked."""
        match self.available_accelerators:
            case str():
                return None
            case int(count) if count:
                return count * self.workers_per_accelerator
            case [*entries] if entries:
                return len(entries) * self.workers_per_accelerator
        return len(self.cpu_sets) or None


def _accelerators(layout: NodeLayout) -> int | str | tuple[str, ...]:
    """Return `available_accelerators` in the form that everything else reads."""
    value = layout.available_accelerators
    complaint = f"available_accelerators={value!r}: "
    if isinstance(value, bool) or value is None:
        raise SettingsError(f"{complaint}must be a number, a list of names, or 'auto'")
    if isinstance(value, int):
        if value < 0:
            raise SettingsError(f"{complaint}must not be negative")
        return value
    if isinstance(value, str):
        if value == AUTO:
            return value
        raise SettingsError(
            f"{complaint}must be a number, a list of names, or 'auto'; [{value!r}] is a list of one"
        )
    entries = []
    for entry in value:
        names = [name.strip() for name in str(entry).split(",")]
        if not all(names) or len(set(names)) < len(names) or isinstance(entry, bool | float):
            raise SettingsError(
                f"{complaint}{entry!r} must be the name of an accelerator, or several names that "
                "differ, such as '0,1'"
            )
        entries.append(",".join(names))
    return tuple(entries)


def _check_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SettingsError(f"{name}={value!r}: must be a whole number, 1 or more")


def _check_amount(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SettingsError(f"{name}={value!r}: must be a number above 0")


def _affinity_message(value: str) -> str:
    return (
        f"cpu_affinity={value!r}: must be 'none', 'block', 'block-reverse', 'alternating', 'auto', "
        "or 'list:' with one set of CPUs for each worker, such as 'list:0-7:8-15'"
    )


def _check_sets(layout: NodeLayout, reserved: set[int]) -> None:
    """Check ``"list:…"`` as far as it can be without a node."""
    sets = layout.cpu_sets
    text = f"cpu_affinity={layout.cpu_affinity!r}"
    if not sets or not all(sets):
        raise SettingsError(_affinity_message(layout.cpu_affinity))
    owner: dict[int, int] = {}
    for worker, cpus in enumerate(sets):
        for cpu in cpus:
            if owner.setdefault(cpu, worker) != worker:
                raise SettingsError(f"{text}: workers {owner[cpu]} and {worker} both get CPU {cpu}")
    if taken := reserved & set(owner):
        raise SettingsError(
            f"{text}: CPUs {format_cpus(taken)} are in reserved_cpus={layout.reserved_cpus!r}"
        )
    wanted = layout.wanted_workers
    if wanted is not None and wanted != len(sets):
        raise SettingsError(
            f"{text}: it has {len(sets)} sets of CPUs for {wanted} workers "
            f"(available_accelerators={layout.available_accelerators!r}, "
            f"workers_per_accelerator={layout.workers_per_accelerator})"
        )
