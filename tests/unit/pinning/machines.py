"""Nodes to divide in tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobqueue_sites.pinning.topology import Cpu, Gpu, Topology, Vendor, parse_cpus


def cpus_of(
    *, sockets: int = 1, domains: int = 1, cores: int, threads: int = 1, adjacent: bool = False
) -> tuple[Cpu, ...]:
    """Return the CPUs of a node; `domains` are in each socket, `cores` in each domain.

    Hardware threads of a core are far apart in number, or `adjacent`.
    """
    total = sockets * domains * cores
    return tuple(
        Cpu(
            id=core * threads + thread if adjacent else core + total * thread,
            core=core,
            socket=core // (domains * cores),
            numa=core // cores,
        )
        for thread in range(threads)
        for core in range(total)
    )


def node(
    cpus: Iterable[Cpu],
    *,
    gpus: Mapping[str, str] | None = None,
    vendor: Vendor = Vendor.NVIDIA,
    allowed: str | None = None,
    reserved: str = "",
    memory_gb: float | None = None,
) -> Topology:
    """Return a node; `gpus` are the CPUs near each accelerator, "" if they are not known."""
    cpus = tuple(cpus)
    return Topology(
        cpus=cpus,
        allowed=frozenset(cpu.id for cpu in cpus)
        if allowed is None
        else frozenset(parse_cpus(allowed)),
        gpus=tuple(
            Gpu(name=name, vendor=vendor, cpus=parse_cpus(near))
            for name, near in (gpus or {}).items()
        ),
        memory_bytes=None if memory_gb is None else int(memory_gb * 2**30),
        reserved=frozenset(parse_cpus(reserved)),
        hostname="node1",
    )
