"""How CPUs are divided among workers: Parsl's ways, and "auto". Pure.

"auto" divides whole cores, and hardware threads only where there are more workers than cores::

    the CPUs near each worker's accelerator ──► groups: workers with the same CPUs near
    each group gets the cores that are near it, contested ones in turn
    a group with too few cores gets cores that are near nobody, at last some of the largest group
    within a group: by NUMA domain if every worker can have its own share of one

Workers keep their order, and cores theirs, so that the outcome is what a person would write down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from jobqueue_sites.pinning.layout import Affinity
from jobqueue_sites.pinning.topology import Cpu

Home = frozenset[Cpu]  # the CPUs near some accelerators
Unit = tuple[Cpu, ...]  # what is never divided: a core with its hardware threads, or one thread


def simple_split(kind: Affinity, cpus: Sequence[int], workers: int) -> list[tuple[int, ...]]:
    """Divide sorted CPUs as Parsl does; there must be at least as many as workers."""
    size = len(cpus) // workers
    blocks = [tuple(cpus[size * slot : size * (slot + 1)]) for slot in range(workers)]
    match kind:
        case Affinity.BLOCK:
            return blocks
        case Affinity.BLOCK_REVERSE:
            return blocks[::-1]
        case Affinity.ALTERNATING:
            return [tuple(cpus[slot::workers]) for slot in range(workers)]
    raise AssertionError(f"{kind} is not one of Parsl's simple ways")


def near_split(cpus: Iterable[Cpu], near: Sequence[frozenset[Cpu]]) -> list[tuple[int, ...]]:
    """Divide CPUs among workers, each near its accelerator.

    There must be at least as many CPUs as workers.

    Parameters
    ----------
    near
        The CPUs near each worker's accelerators; empty: it has none, or they are not known.
    """
    units = _units(cpus, len(near))
    members: dict[Home, list[int]] = {}
    for worker, nearby in enumerate(near):
        members.setdefault(nearby, []).append(worker)
    if not any(members):  # nobody is near anything
        groups = [units]
    else:
        groups = _divide_among_groups(units, {home: len(who) for home, who in members.items()})
    result: list[tuple[int, ...]] = [()] * len(near)
    for workers, own in zip(members.values(), groups, strict=True):
        for worker, part in zip(workers, _divide(own, len(workers)), strict=True):
            result[worker] = tuple(sorted(cpu.id for unit in part for cpu in unit))
    return result


def _units(cpus: Iterable[Cpu], workers: int) -> list[Unit]:
    """Return whole cores in the order of the node, or hardware threads if cores are too few."""
    cores: dict[int, list[Cpu]] = {}
    for cpu in sorted(cpus, key=lambda cpu: cpu.id):
        cores.setdefault(cpu.core, []).append(cpu)
    in_order = sorted(cores.values(), key=lambda core: (core[0].socket, core[0].numa, core[0].id))
    if len(in_order) >= workers:
        return [tuple(core) for core in in_order]
    return [(cpu,) for core in in_order for cpu in core]


def _divide_among_groups(units: Sequence[Unit], workers: Mapping[Home, int]) -> list[list[Unit]]:
    """Return the units of each group of workers, in the order of the groups; all get enough."""
    own, free = _claimed(units, workers)
    fair = len(units) // sum(workers.values())
    for home in workers:
        sockets = {cpu.socket for cpu in home}
        for is_same_socket in (True, False):
            if len(own[home]) < workers[home]:
                close = [unit for unit in free if not is_same_socket or unit[0].socket in sockets]
                taken = close[: fair * workers[home] - len(own[home])]
                own[home] += taken
                free = [unit for unit in free if unit not in taken]
    for home in workers:
        if len(own[home]) < workers[home]:  # nothing is free: some group has more than a fair share
            while len(own[home]) < fair * workers[home]:
                richest = max(workers, key=lambda home: len(own[home]) / workers[home])
                own[home].append(own[richest].pop())
    rank = {unit: position for position, unit in enumerate(units)}
    return [sorted(own[home], key=rank.__getitem__) for home in workers]


def _claimed(
    units: Sequence[Unit], workers: Mapping[Home, int]
) -> tuple[dict[Home, list[Unit]], list[Unit]]:
    """Return the units near each group, those near several shared out, and those near none."""
    own: dict[Home, list[Unit]] = {home: [] for home in workers}
    free: list[Unit] = []
    contested: list[tuple[Unit, list[Home]]] = []
    for unit in units:
        match [home for home in workers if not home.isdisjoint(unit)]:
            case []:
                free.append(unit)
            case [home]:
                own[home].append(unit)
            case claims:
                contested.append((unit, claims))
    for unit, claims in contested:
        own[min(claims, key=lambda home: len(own[home]) / workers[home])].append(unit)
    return own, free


def _divide(units: Sequence[Unit], workers: int) -> list[list[Unit]]:
    """Divide units among workers, so that the smallest share is as large as can be."""
    domains: dict[tuple[int, int], list[Unit]] = {}
    for unit in units:
        domains.setdefault((unit[0].socket, unit[0].numa), []).append(unit)
    ways = [_within_domains(list(domains.values()), workers)]
    if workers < len(domains):
        ways.insert(0, _whole_domains(list(domains.values()), workers))
    return max(ways, key=lambda parts: min(map(len, parts)))  # the first of equals


def _within_domains(domains: Sequence[Sequence[Unit]], workers: int) -> list[list[Unit]]:
    """Give each worker a share of one domain: always where shares are largest."""
    counts = [0] * len(domains)
    for _ in range(workers):
        best = max(range(len(domains)), key=lambda at: len(domains[at]) / (counts[at] + 1))
        counts[best] += 1
    return [
        part
        for domain, count in zip(domains, counts, strict=True)
        for part in _evenly(domain, count)
    ]


def _whole_domains(domains: Sequence[Sequence[Unit]], workers: int) -> list[list[Unit]]:
    """Give each worker neighbouring domains, about as many cores each."""
    total = sum(map(len, domains))
    parts: list[list[Unit]] = [[]]
    given = 0
    for position, domain in enumerate(domains):
        left = len(domains) - position
        is_due = given + len(domain) / 2 > total * len(parts) / workers
        if parts[-1] and len(parts) < workers and (is_due or left == workers - len(parts)):
            parts.append([])
        parts[-1] += domain
        given += len(domain)
    return parts


def _evenly(units: Sequence[Unit], count: int) -> list[list[Unit]]:
    """Cut a sequence into parts whose lengths differ by one at most, the longer ones first."""
    size, longer = divmod(len(units), count) if count else (0, 0)
    ends = [0]
    for part in range(count):
        ends.append(ends[-1] + size + (part < longer))
    return [list(units[start:end]) for start, end in pairwise(ends)]
