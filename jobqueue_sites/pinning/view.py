"""What a picture of a plan shows: each CPU, what became of it, and the accelerators beside it. Pure."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from jobqueue_sites.pinning.accelerators import find_accelerator, vendor_of
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.pinning.plan import NodePlan, reserved_cpus
from jobqueue_sites.pinning.topology import Gpu, Topology

# Colours that can be told apart beside each other; workers take them in turn.
COLOURS = (
    "#4e79a7",
    "#f28e2b",
    "#59a14f",
    "#e15759",
    "#76b7b2",
    "#b07aa1",
    "#edc948",
    "#9c755f",
    "#ff9da7",
    "#2f4b7c",
    "#8cd17d",
    "#d37295",
)


class Use(StrEnum):
    """What a plan does with a CPU."""

    WORKER = "a worker's"
    UNUSED = "unused"
    RESERVED = "reserved for the system"
    FORBIDDEN = "not the job's"


@dataclass(frozen=True, kw_only=True)
class CpuView:
    """A CPU; `slot` is the worker that it belongs to, if it is a worker's."""

    id: int
    use: Use
    slot: int | None = None


@dataclass(frozen=True, kw_only=True)
class GpuView:
    """An accelerator, and the workers that use it."""

    name: str
    slots: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class DomainView:
    """A NUMA domain: its cores, each with its hardware threads, and the accelerators near it."""

    socket: int
    numa: int
    cores: tuple[tuple[CpuView, ...], ...]
    gpus: tuple[GpuView, ...]

    @property
    def cpus(self) -> tuple[int, ...]:
        """The numbers of its CPUs."""
        return tuple(cpu.id for core in self.cores for cpu in core)


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """A node, domain by domain; `elsewhere` are accelerators of which nobody knows where they are."""

    domains: tuple[DomainView, ...]
    elsewhere: tuple[GpuView, ...]


def view_node(topology: Topology, layout: NodeLayout, plan: NodePlan) -> NodeView:
    """Return what a picture of a plan shows."""
    owner = {cpu: worker.slot for worker in plan.workers for cpu in worker.cpus}
    reserved = reserved_cpus(topology, layout)
    users: dict[Gpu, list[int]] = {gpu: [] for gpu in topology.gpus}
    for worker in plan.workers:
        own = [gpu for gpu in topology.gpus if gpu.vendor is vendor_of(worker.env)]
        among = dataclasses.replace(topology, gpus=tuple(own))
        for name in worker.accelerators:
            for gpu in find_accelerator(among, name).gpus:
                users[gpu].append(worker.slot)

    def cpu_view(cpu: int) -> CpuView:
        if cpu in owner:
            return CpuView(id=cpu, use=Use.WORKER, slot=owner[cpu])
        if cpu not in topology.allowed:
            return CpuView(id=cpu, use=Use.FORBIDDEN)
        return CpuView(id=cpu, use=Use.RESERVED if cpu in reserved else Use.UNUSED)

    places: dict[tuple[int, int], dict[int, list[int]]] = {}
    for cpu in sorted(topology.cpus, key=lambda cpu: cpu.id):
        cores = places.setdefault((cpu.socket, cpu.numa), {})
        cores.setdefault(cpu.core, []).append(cpu.id)
    beside: dict[tuple[int, int] | None, list[GpuView]] = {}
    for gpu, slots in users.items():
        shown = GpuView(name=gpu.name, slots=tuple(dict.fromkeys(slots)))
        beside.setdefault(_place(topology, gpu), []).append(shown)
    return NodeView(
        domains=tuple(
            DomainView(
                socket=socket,
                numa=numa,
                cores=tuple(tuple(map(cpu_view, cpus)) for cpus in cores.values()),
                gpus=tuple(beside.get((socket, numa), ())),
            )
            for (socket, numa), cores in sorted(places.items())
        ),
        elsewhere=tuple(beside.get(None, ())),
    )


def _place(topology: Topology, gpu: Gpu) -> tuple[int, int] | None:
    """Return the domain that an accelerator is drawn beside: the first that it is near."""
    near = topology.near(gpu)
    return min(((cpu.socket, cpu.numa) for cpu in topology.cpus if cpu.id in near), default=None)


def colour(slot: int) -> str:
    """Return the colour of a worker."""
    return COLOURS[slot % len(COLOURS)]


def ink(background: str) -> str:
    """Return black or white, whichever is read better on a colour (by its luminance, ITU-R BT.709)."""
    red, green, blue = (int(background[at : at + 2], 16) for at in (1, 3, 5))
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 128 else "#ffffff"
