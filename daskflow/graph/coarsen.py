"""Granularity: which calls share one Dask task.

::

    chain       a─a─a─a            one batch
    map, map    b b b b   fused    batches of maps, each with what follows from it
                │ │ │ │
                c c c c
    reduce      └─┴┬┴─┘            in the batch of its arguments if they lie in one,
                   d               else in a batch of higher rank

A call joins the batch of its arguments if that has room (where they lie in several: the one whose rank
is above all others'), else a batch of like calls one rank higher. Edges between batches lead from lower
to higher rank only, so there is no cycle.

A batch has room while its calls together are expected to take `TARGET_S`. Calls of an app that is not
known yet count little: a batch that turns out to be long hands the rest back (`daskflow.worker.batch`),
so a wrong guess costs one call's duration.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from daskflow.graph.call import Call
from daskflow.graph.costs import Costs

TARGET_S = 0.05
UNKNOWN_S = TARGET_S / 200
LEAST_S = 2e-6
MOST_LIKE_CALLS = 1000
MOST_CALLS = 5000
TARGET_BYTES = 2**19
# Batches of like calls for each slot, so that the last ones even out.
_SHARES = 2
_ALONE = ("alone", None, False)


@dataclass(slots=True, eq=False)
class _Group:
    """A batch in the making."""

    kind: tuple[str, str | None, bool]
    rank: int
    room: int
    calls: list[Call] = field(default_factory=list)
    seconds: float = 0.0
    bytes: float = 0.0


def coarsen(  # noqa: PLR0913 # all that decides about granularity
    calls: Sequence[Call],
    costs: Costs,
    slots: int,
    labels: Sequence[str | None],
    *,
    alone: Container[Call] = (),
    suspects: Container[Call] = (),
    default_batch: bool | int = True,
) -> list[list[Call]]:
    """Group calls into batches.

    Parameters
    ----------
    calls
        What is to be sent now, in an order in which parents come first.
    costs
        What is known of their apps.
    slots
        How many calls can run at once.
    labels
        The executor of each call.
    alone
        Calls that must not share a task.
    suspects
        Calls that may share a task with each other only.
    default_batch
        For apps whose option `batch` is None: True (learn), False (never), or a number of calls.
    """
    shares = _fair_shares(calls, slots)
    groups: list[_Group] = []
    place: dict[Call, _Group] = {}
    open_groups: dict[tuple[int, str, str | None, bool, int], _Group] = {}
    group: _Group | None
    for call, label in zip(calls, labels, strict=True):
        rule = call.options.batch if call.options.batch is not None else default_batch
        seconds, size = _expected(call, costs)
        before = {group for p in call.parents if (group := place.get(p)) is not None}
        kind = (call.options.placement, label, call in suspects)
        group = None
        is_alone = rule is False or call in alone
        if not is_alone and before:
            top = max(before, key=_rank)
            is_only = sum(g.rank == top.rank for g in before) == 1
            if is_only and top.kind == kind and _fits(top, seconds, size, rule, MOST_CALLS):
                group = top
        if group is None:
            rank = 1 + max((g.rank for g in before), default=-1)
            slot = (id(call.app), *kind, rank)
            room = 1 if is_alone else min(shares[id(call.app)], MOST_LIKE_CALLS)
            group = open_groups.get(slot)
            if group is None or is_alone or not _fits(group, seconds, size, rule, group.room):
                group = _Group(_ALONE if is_alone else kind, rank, room)
                groups.append(group)
                if not is_alone:
                    open_groups[slot] = group
        group.calls.append(call)
        group.seconds += seconds
        group.bytes += size
        place[call] = group
    # By rank, since a batch of higher rank may have been begun before one that it needs.
    groups.sort(key=_rank)
    return [group.calls for group in groups]


def _rank(group: _Group) -> int:
    return group.rank


def _fair_shares(calls: Sequence[Call], slots: int) -> dict[int, int]:
    """Return, for each app, how many calls a batch may have so that all slots have work."""
    count = Counter(id(call.app) for call in calls)
    return {app: max(1, math.ceil(n / (_SHARES * max(1, slots)))) for app, n in count.items()}


def _expected(call: Call, costs: Costs) -> tuple[float, float]:
    known = costs.estimate(call.app.name)
    if known is None:
        return UNKNOWN_S, 0.0
    return max(LEAST_S, known.seconds), known.bytes


def _fits(group: _Group, seconds: float, size: float, rule: bool | int, room: int) -> bool:
    if rule is not True:
        return len(group.calls) < rule
    return (
        len(group.calls) < room
        and group.seconds + seconds <= TARGET_S
        and group.bytes + size <= TARGET_BYTES
    )
