"""Site: a machine as it is described, and the topology of its nodes. Values; pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.pinning.plan import BYTES_PER_GB
from jobqueue_sites.pinning.topology import Cpu, Gpu, Topology, Vendor, parse_cpus


@dataclass(frozen=True, kw_only=True)
class NodeType:
    """One kind of node of a site, as its documentation describes it.

    CPU `core + cores * thread` is a hardware thread of core `core`, as on all nodes in the catalogue;
    cores are numbered socket by socket, and NUMA domain by NUMA domain.

    Parameters
    ----------
    sockets, cores, threads_per_core
        Cores and hardware threads of the whole node.
    numa
        How many NUMA domains it has; None: not published, and each socket is taken for one.
    memory_gb
        GB of 2**30 bytes.
    allowed_cpus
        The CPUs that a job of a whole node gets; "": all.
    reserved_cpus
        CPUs that are kept for the system, with the other hardware threads of their cores.
    gpu, gpu_vendor
        What its accelerators are.
    gpu_affinity
        The CPUs near each accelerator, by their names, in the order of their numbers.
    inferred
        Which of these values are inferred, and not published.
    """

    sockets: int
    cores: int
    threads_per_core: int = 1
    numa: int | None = None
    memory_gb: float | None = None
    allowed_cpus: str = ""
    reserved_cpus: str = ""
    gpu: str = ""
    gpu_vendor: Vendor | None = None
    gpu_affinity: Mapping[str, str] = field(default_factory=dict)
    inferred: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("sockets", "cores", "threads_per_core", "numa"):
            value = getattr(self, name)
            if not (value is None and name == "numa") and not _is_count(value):
                raise SettingsError(f"{name}={value!r}: must be a whole number, 1 or more")
        for name in ("sockets", "numa"):
            parts = getattr(self, name)
            if parts is not None and self.cores % parts:
                raise SettingsError(f"cores={self.cores}: cannot be divided by {name}={parts}")
        if self.numa is not None and self.numa % self.sockets:
            raise SettingsError(f"numa={self.numa}: cannot be divided by sockets={self.sockets}")
        if self.gpu_vendor is not None and self.gpu_vendor not in list(Vendor):
            raise SettingsError(
                f"gpu_vendor={self.gpu_vendor!r}: must be one of {', '.join(Vendor)}"
            )
        if not isinstance(self.gpu_affinity, Mapping):
            raise SettingsError(f"gpu_affinity={self.gpu_affinity!r}: must be a table")
        if self.gpu_affinity and self.gpu_vendor is None:
            raise SettingsError("gpu_affinity: gpu_vendor must be given too")
        if self.memory_gb is not None and not isinstance(self.memory_gb, int | float):
            raise SettingsError(f"memory_gb={self.memory_gb!r}: must be a number")
        names = {known.name for known in dataclasses.fields(self)}
        if unknown := sorted(set(self.inferred) - names):
            raise SettingsError(
                f"inferred={list(self.inferred)!r}: {unknown[0]!r} is no key of a node"
            )
        self.topology()  # checks the lists of CPUs

    def topology(self, hostname: str = "") -> Topology:
        """Return the topology that a job of a whole node sees."""
        per_numa = self.cores // (self.numa or self.sockets)
        per_socket = self.cores // self.sockets
        cpus = tuple(
            Cpu(
                id=core + self.cores * thread,
                core=core,
                socket=core // per_socket,
                numa=core // per_numa,
            )
            for thread in range(self.threads_per_core)
            for core in range(self.cores)
        )
        allowed = parse_cpus(self.allowed_cpus, "allowed_cpus") or [cpu.id for cpu in cpus]
        reserved = {cpu % self.cores for cpu in parse_cpus(self.reserved_cpus, "reserved_cpus")}
        return Topology(
            cpus=cpus,
            allowed=frozenset(allowed),
            gpus=tuple(
                self._gpu(name, parse_cpus(near, f"gpu_affinity: {name!r}"), per_numa)
                for name, near in self.gpu_affinity.items()
            ),
            memory_bytes=None if self.memory_gb is None else int(self.memory_gb * BYTES_PER_GB),
            reserved=frozenset(cpu.id for cpu in cpus if cpu.core in reserved),
            hostname=hostname,
        )

    def _gpu(self, name: str, near: tuple[int, ...], per_numa: int) -> Gpu:
        assert self.gpu_vendor is not None
        numa = near[0] % self.cores // per_numa if near else None
        return Gpu(name=name, vendor=Vendor(self.gpu_vendor), numa=numa, cpus=near)


@dataclass(frozen=True, kw_only=True)
class Site:
    """A machine as it is described.

    Parameters
    ----------
    facility
        Who runs it.
    batch_system
        ``"slurm"``, ``"pbspro"``, …
    confidence
        How far the description can be trusted.
    sources
        Where it comes from.
    hostnames
        A regular expression that the names of its compute nodes match, if they can be told from those
        of other machines; "" if not.
    nodes
        Its kinds of nodes, by name.
    """

    name: str
    facility: str = ""
    batch_system: str = ""
    confidence: str = ""
    sources: tuple[str, ...] = ()
    notes: str = ""
    hostnames: str = ""
    nodes: Mapping[str, NodeType] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            re.compile(self.hostnames)
        except (re.error, TypeError) as error:
            raise SettingsError(f"hostnames={self.hostnames!r}: {error}") from error

    def has(self, hostname: str) -> bool:
        """Whether a node is one of this site's, by its name."""
        return bool(self.hostnames) and re.match(self.hostnames, hostname) is not None

    def node(self, node_type: str | None = None) -> tuple[str, NodeType]:
        """Return a kind of node and its name; None: the only one.

        Raises
        ------
        SettingsError
            There is no such kind, or several and none is named.
        """
        known = ", ".join(self.nodes) or "none"
        if node_type is None and len(self.nodes) == 1:
            return next(iter(self.nodes.items()))
        if node_type is None:
            raise SettingsError(f"site {self.name!r} has several node types, name one: {known}")
        if node_type not in self.nodes:
            raise SettingsError(
                f"site {self.name!r} has no node type {node_type!r}; it has: {known}"
            )
        return node_type, self.nodes[node_type]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
