"""What works, but may not be meant: sentences about a plan. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from jobqueue_sites.pinning.accelerators import Share
from jobqueue_sites.pinning.layout import AUTO, Affinity, NodeLayout
from jobqueue_sites.pinning.topology import Topology, format_cpus


def conflicts(
    topology: Topology,
    layout: NodeLayout,
    *,
    usable: Sequence[int],
    wanted: Sequence[Share],
    cpus: Sequence[tuple[int, ...]],
    mine: Sequence[Share],
) -> tuple[str, ...]:
    """Return what a user should know of a plan.

    Parameters
    ----------
    usable
        The CPUs that workers might have been given.
    wanted
        The accelerators of all workers that are asked for, limits aside.
    cpus, mine
        The CPUs and accelerators of each worker.
    """
    found = [
        _unused_accelerators(topology, layout, wanted, mine),
        _several_slices(mine),
        *_far(topology, layout, cpus, mine),
        _shared_cores(topology, layout, cpus),
        _left_over(layout, usable, cpus),
        _few_cores(layout, usable, cpus),
    ]
    return tuple(note for note in found if note)


def _unused_accelerators(
    topology: Topology, layout: NodeLayout, wanted: Sequence[Share], mine: Sequence[Share]
) -> str:
    if layout.available_accelerators == AUTO and not topology.gpus:
        return "available_accelerators='auto': the job has no accelerators; workers get cores only"
    used = {share.names for share in mine}
    unused = list(dict.fromkeys(share.names for share in wanted if share.names not in used))
    if not unused:
        return ""
    names = ", ".join(",".join(entry) for entry in unused)
    return (
        f"{len(mine)} of {len(wanted)} workers fit (cores_per_worker, mem_per_worker, "
        f"max_workers_per_node): nobody uses {_plural('accelerator', unused)} {names}"
    )


def _several_slices(mine: Sequence[Share]) -> str:
    """Tell which workers have more slices than CUDA lets one process see."""
    slots = [
        slot
        for slot, share in enumerate(mine)
        if sum(name.startswith("MIG-") for name in share.names) > 1
    ]
    if not slots:
        return ""
    return f"{_plural('worker', slots)} {format_cpus(slots)}: a process sees one MIG slice only"


def _far(
    topology: Topology,
    layout: NodeLayout,
    cpus: Sequence[tuple[int, ...]],
    mine: Sequence[Share],
) -> Iterable[str]:
    """Tell which workers are away from their accelerators."""
    by_id = topology.by_id
    elsewhere: list[int] = []
    not_nearest: list[int] = []
    for slot, (own, share) in enumerate(zip(cpus, mine, strict=True)):
        near = frozenset().union(*(topology.near(gpu) for gpu in share.gpus))
        if not own or not near or near.issuperset(own):
            continue
        domains = {by_id[cpu].numa for cpu in own}
        (elsewhere if domains - {by_id[cpu].numa for cpu in near} else not_nearest).append(slot)
    for slots, where in (
        (elsewhere, "on another NUMA domain than"),
        (not_nearest, "on other cores than those next to"),
    ):
        if not slots:
            continue
        names = list(dict.fromkeys(",".join(mine[slot].names) for slot in slots))
        its = "its" if len(slots) == 1 else "their"
        hint = (
            "the job may not use enough CPUs near them"
            if layout.affinity is Affinity.AUTO
            else "cpu_affinity='auto' puts each worker next to its own"
        )
        yield (
            f"cpu_affinity={layout.cpu_affinity!r} puts {_plural('worker', slots)} "
            f"{format_cpus(slots)} {where} {its} {_plural('accelerator', names)} "
            f"{', '.join(names)}; {hint}"
        )


def _shared_cores(topology: Topology, layout: NodeLayout, cpus: Sequence[tuple[int, ...]]) -> str:
    """Tell which workers have hardware threads of the same cores."""
    by_id = topology.by_id
    owners: dict[int, set[int]] = {}
    for slot, own in enumerate(cpus):
        for cpu in own:
            owners.setdefault(by_id[cpu].core, set()).add(slot)
    shared = {slot for slots in owners.values() if len(slots) > 1 for slot in slots}
    if not shared:
        return ""
    return (
        f"cpu_affinity={layout.cpu_affinity!r} gives workers {format_cpus(shared)} hardware threads of "
        "the same cores"
    )


def _left_over(layout: NodeLayout, usable: Sequence[int], cpus: Sequence[tuple[int, ...]]) -> str:
    used = {cpu for own in cpus for cpu in own}
    unused = set(usable) - used
    if not used or not unused:
        return ""
    which = f"{_plural('CPU', unused)} {format_cpus(unused)}"
    return f"cpu_affinity={layout.cpu_affinity!r} leaves {which} unused"


def _few_cores(layout: NodeLayout, usable: Sequence[int], cpus: Sequence[tuple[int, ...]]) -> str:
    pinned = [own for own in cpus if own]
    if not pinned and len(cpus) > len(usable):
        return f"{len(cpus)} workers share {len(usable)} {_plural('CPU', usable)}"
    smallest = min(map(len, pinned), default=0)
    if pinned and layout.threads_per_worker > smallest:
        return (
            f"threads_per_worker={layout.threads_per_worker}: some workers have {smallest} "
            f"{_plural('CPU', range(smallest))} only"
        )
    return ""


def _plural(word: str, things: Iterable[object]) -> str:
    return word if len(list(things)) == 1 else f"{word}s"
