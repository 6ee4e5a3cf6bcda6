"""The plan of a node: what each of its workers gets. Pure: a topology and a layout → a plan.

::

    Topology ─┐                                   ┌─► cpus          (splitting)
              ├─► how many workers ─► each worker ├─► accelerators  (accelerators)
    NodeLayout┘                                   └─► threads, memory, variables
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from jobqueue_sites.errors import PinningError, SettingsError
from jobqueue_sites.pinning.accelerators import Share, kept, shares, visibility
from jobqueue_sites.pinning.conflicts import conflicts
from jobqueue_sites.pinning.layout import AUTO, Affinity, NodeLayout
from jobqueue_sites.pinning.splitting import near_split, simple_split
from jobqueue_sites.pinning.topology import Topology, format_cpus, parse_cpus

BYTES_PER_GB = 2**30  # as Slurm's and PBS's own suffixes count

# Libraries that start as many threads as the node has cores, unless they are told. There is no
# GOMP_CPU_AFFINITY, KMP_AFFINITY or OMP_PROC_BIND among them: the worker's mask, which its threads and
# children inherit, keeps them all on its cores, while these would bind the thread that first uses
# OpenMP, and with it each process that it starts, to one core.
_THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


@dataclass(frozen=True, kw_only=True)
class WorkerPlan:
    """What one worker gets.

    Attributes
    ----------
    slot
        Its number on the node, from 0.
    cpus
        The CPUs that it is bound to; none: it is not bound.
    accelerators
        The names of its accelerators.
    threads
        How many calls it runs at once.
    memory_bytes
        Its share of the node's memory, if that is known.
    env
        Environment variables that it and its children are started with.
    """

    slot: int
    cpus: tuple[int, ...] = ()
    accelerators: tuple[str, ...] = ()
    threads: int = 1
    memory_bytes: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NodePlan:
    """What the workers of a node get, and what is odd about it.

    Attributes
    ----------
    notes
        Sentences about what works but may not be meant, such as workers away from their accelerators.
    """

    workers: tuple[WorkerPlan, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the plan as text."""
        workers = [
            {**asdict(worker), "cpus": format_cpus(worker.cpus), "env": dict(worker.env)}
            for worker in self.workers
        ]
        return json.dumps({"workers": workers, "notes": self.notes})

    @classmethod
    def from_json(cls, text: str) -> NodePlan:
        """Read what `to_json` wrote."""
        data = json.loads(text)
        workers = [
            WorkerPlan(
                **{
                    **worker,
                    "cpus": parse_cpus(worker["cpus"]),
                    "accelerators": tuple(worker["accelerators"]),
                }
            )
            for worker in data["workers"]
        ]
        return cls(workers=tuple(workers), notes=tuple(data["notes"]))


def plan_node(topology: Topology, layout: NodeLayout) -> NodePlan:
    """Divide a node among workers.

    Raises
    ------
    PinningError
        It cannot be divided so; the message names what is asked for and what is possible.
    """
    reserved = reserved_cpus(topology, layout)
    usable = tuple(sorted(topology.allowed - reserved))
    if not usable:
        raise PinningError(
            f"no CPU is left for workers: the job may use {format_cpus(topology.allowed) or 'none'}, "
            f"and {format_cpus(reserved) or 'none'} are reserved"
        )
    wanted = shares(topology, layout)
    count = _count(topology, layout, len(usable), len(wanted) or len(layout.cpu_sets) or None)
    slots = kept(wanted, count) if wanted else tuple(range(count))
    mine = tuple(wanted[slot] for slot in slots) if wanted else (Share(),) * count
    cpus = _cpus(topology, layout, usable, mine, slots, len(wanted))
    workers = tuple(
        WorkerPlan(
            slot=slot,
            cpus=own,
            accelerators=share.names,
            threads=layout.threads_per_worker,
            memory_bytes=_memory(topology, layout, count),
            env={
                **visibility(share),
                **_thread_counts(topology, layout, own or usable, 1 if own else count),
            },
        )
        for slot, (own, share) in enumerate(zip(cpus, mine, strict=True))
    )
    return NodePlan(
        workers=workers,
        notes=conflicts(topology, layout, usable=usable, wanted=wanted, cpus=cpus, mine=mine),
    )


def reserved_cpus(topology: Topology, layout: NodeLayout) -> frozenset[int]:
    """Return the CPUs that no worker gets, although the job may use them."""
    if layout.reserved_cpus is None:
        return topology.reserved
    return frozenset(parse_cpus(layout.reserved_cpus, "reserved_cpus"))


def workers_per_node(
    layout: NodeLayout, *, cores: int | None, memory_gb: float | None, gpus: int | None
) -> int | None:
    """Return how many workers a node will have, or None if only the node itself can tell.

    Parameters
    ----------
    cores, memory_gb, gpus
        What a job asks for on each node: cores as the batch system counts them, GB of 2**30 bytes,
        accelerators. None: not known.

    Raises
    ------
    SettingsError
        No node that has what the job asks for can be divided so.
    """
    wanted = layout.wanted_workers
    if layout.available_accelerators == AUTO:
        if gpus is None:
            return None
        wanted = gpus * layout.workers_per_accelerator or len(layout.cpu_sets) or None
    elif gpus is not None:
        _check_gpus(layout, gpus)
    if cores is not None and layout.reserved_cpus:
        cores -= len(parse_cpus(layout.reserved_cpus))
        if cores < 1:
            raise SettingsError(
                f"reserved_cpus={layout.reserved_cpus!r}: no core of a node is left for workers"
            )
    memory_bytes = None if memory_gb is None else int(memory_gb * BYTES_PER_GB)
    limits = _limits(layout, cores, memory_bytes, wanted)
    known = [limit for limit, _ in limits if limit is not None]
    if 0 in known:
        raise SettingsError(_too_little(limits))
    if len(known) < len(limits):
        return None
    count = min(known)
    if layout.affinity is not Affinity.NONE and cores is not None and count > cores:
        raise SettingsError(_too_many(layout, count, f"a node has {cores} cores for them"))
    return count


def _check_gpus(layout: NodeLayout, gpus: int) -> None:
    asked = layout.available_accelerators
    if isinstance(asked, int):
        needed = asked
    else:
        # Tiles and slices have names of their own, and several are of one GPU.
        names = {name for entry in layout.accelerator_names or () for name in entry}
        needed = len({name for name in names if name.isdigit()})
    if needed > gpus:
        raise SettingsError(
            f"available_accelerators={asked!r}: that is {needed} accelerators, and a node of the job "
            f"has {gpus}; ask the batch system for more, or, if they are tiles or slices, name them"
        )


def _limits(
    layout: NodeLayout, cores: int | None, memory_bytes: int | None, wanted: int | None
) -> list[tuple[int | None, str]]:
    """Return limits to the number of workers, None where they cannot be known, and what they are.

    There is one at least, and the smallest is how many workers there will be.
    """
    found: list[tuple[int | None, str]] = []
    if wanted is not None:
        found.append((wanted, "the workers that are asked for"))
    elif layout.cores_per_worker is None:
        each = None if cores is None else max(1, cores // layout.threads_per_worker)
        found.append((each, f"threads_per_worker={layout.threads_per_worker}"))
    if layout.cores_per_worker is not None:
        # Rounded a little up, for thirty workers of 1.1 cores on 33.
        fitting = None if cores is None else int(cores / layout.cores_per_worker + 1e-9)
        found.append(
            (fitting, f"cores_per_worker={layout.cores_per_worker}: there are {cores} cores")
        )
    if layout.mem_per_worker is not None:
        needed = layout.mem_per_worker * BYTES_PER_GB
        fitting = None if memory_bytes is None else int(memory_bytes / needed + 1e-9)
        has = None if memory_bytes is None else f"{memory_bytes / BYTES_PER_GB:.4g}"
        found.append((fitting, f"mem_per_worker={layout.mem_per_worker}: there are {has} GB"))
    if layout.max_workers_per_node is not None:
        found.append((layout.max_workers_per_node, "max_workers_per_node"))
    return found


def _count(topology: Topology, layout: NodeLayout, cores: int, wanted: int | None) -> int:
    """Return how many workers the node gets."""
    limits = _limits(layout, cores, topology.memory_bytes, wanted)
    count = min(limit for limit, _ in limits if limit is not None)
    if count < 1:
        raise PinningError(_too_little(limits))
    if layout.affinity not in (Affinity.NONE, Affinity.LIST) and count > cores:
        raise PinningError(
            _too_many(
                layout,
                count,
                f"they may use {cores} of the node's {len(topology.cpus)} CPUs",
            )
        )
    return count


def _too_little(limits: Sequence[tuple[int | None, str]]) -> str:
    return next(name for limit, name in limits if limit == 0) + ", too few for one worker"


def _too_many(layout: NodeLayout, count: int, have: str) -> str:
    return (
        f"cpu_affinity={layout.cpu_affinity!r}: {count} workers need a core each, and {have}; have the "
        "batch system, and the launcher if it binds, give more, set max_workers_per_node, or let "
        "workers share with cpu_affinity='none'"
    )


def _cpus(
    topology: Topology,
    layout: NodeLayout,
    usable: tuple[int, ...],
    mine: Sequence[Share],
    slots: Sequence[int],
    wanted: int,
) -> list[tuple[int, ...]]:
    """Return the CPUs of each worker."""
    match layout.affinity:
        case Affinity.NONE:
            return [()] * len(mine)
        case Affinity.AUTO:
            by_id = topology.by_id
            near = [
                frozenset(by_id[cpu] for gpu in share.gpus for cpu in topology.near(gpu))
                for share in mine
            ]
            return near_split([by_id[cpu] for cpu in usable], near)
        case Affinity.LIST:
            sets = layout.cpu_sets
            if wanted not in (0, len(sets)):
                raise PinningError(
                    f"cpu_affinity={layout.cpu_affinity!r}: it has {len(sets)} sets of CPUs for "
                    f"{wanted} workers"
                )
            _check_sets(topology, layout, usable)
            return [sets[slot] for slot in slots]
    return simple_split(layout.affinity, usable, len(mine))


def _check_sets(topology: Topology, layout: NodeLayout, usable: tuple[int, ...]) -> None:
    missing = {cpu for cpus in layout.cpu_sets for cpu in cpus} - set(usable)
    if missing:
        reserved = missing & topology.allowed
        why = "are reserved" if reserved else "are not the job's"
        raise PinningError(
            f"cpu_affinity={layout.cpu_affinity!r}: CPUs {format_cpus(reserved or missing)} {why}; "
            f"workers may use {format_cpus(usable)}"
        )


def _memory(topology: Topology, layout: NodeLayout, count: int) -> int | None:
    if layout.mem_per_worker is not None:
        return round(layout.mem_per_worker * BYTES_PER_GB)
    return None if topology.memory_bytes is None else topology.memory_bytes // count


def _thread_counts(
    topology: Topology, layout: NodeLayout, cpus: Sequence[int], sharing: int
) -> Mapping[str, str]:
    """Return the variables for libraries with threads: one for each core, divided among calls."""
    by_id = topology.by_id
    cores = len({by_id[cpu].core for cpu in cpus})
    threads = max(1, cores // sharing // layout.threads_per_worker)
    return dict.fromkeys(_THREAD_COUNTS, str(threads))
