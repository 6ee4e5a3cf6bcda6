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

A batch begins once all its arguments are there, and has them all on one worker. So calls share one only
if the same costly things come before them: calls that run long, large values, tasks that are not ours.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from daskflow.graph.arguments import Foreign, Packed
from daskflow.graph.call import Call, State
from daskflow.graph.costs import Costs
from daskflow.worker.outcome import REMOTE

TARGET_S = 0.1
# What follows from the calls of a batch may join it beyond the target, or it would wait for many batches.
FOLLOWERS_S = 2 * TARGET_S
UNKNOWN_S = TARGET_S / 1000
LEAST_S = 2e-6
MOST_LIKE_CALLS = 1000
MOST_CALLS = 5000
TARGET_BYTES = 2**19
# Batches of like calls for each slot, so that the last ones even out.
SHARES = 2
_ALONE = ("alone", None, False)
_NOTHING: frozenset[Any] = frozenset()


Kind = tuple[str, str | None, bool]


@dataclass(frozen=True, slots=True)
class _Like:
    """What calls of one app, with the same options and for one executor, have in common.

    `kind` is what calls must have in common to share a task, `rule` whether and how many may.
    """

    kind: Kind
    rule: bool | int
    seconds: float
    bytes: float


@dataclass(slots=True, eq=False)
class _Group:
    """A batch in the making; what is in `apart` comes before it."""

    kind: Kind
    rank: int
    room: int
    apart: frozenset[object] = _NOTHING
    calls: list[Call] = field(default_factory=list)
    seconds: float = 0.0
    bytes: float = 0.0

    def takes(self, like: _Like) -> bool:
        """Tell whether a like call may be added."""
        if like.rule is not True:
            return len(self.calls) < like.rule
        return (
            len(self.calls) < self.room
            and self.seconds + like.seconds <= TARGET_S
            and self.bytes + like.bytes <= TARGET_BYTES
        )

    def takes_after(self, like: _Like, apart: Set[object]) -> bool:
        """Tell whether a call that follows from those in it may be added."""
        if self.kind != like.kind or not apart <= self.apart:
            return False
        if like.rule is not True:
            return len(self.calls) < like.rule
        return (
            len(self.calls) < MOST_CALLS
            and self.seconds + like.seconds <= FOLLOWERS_S
            and self.bytes + like.bytes <= TARGET_BYTES
        )


def coarsen(  # noqa: PLR0913 # all that decides about granularity
    calls: Sequence[Call],
    costs: Costs,
    shares: int,
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
    shares
        Into how many batches like calls are divided at least, so that nothing stays idle.
    labels
        The executor of each call.
    alone
        Calls that must not share a task.
    suspects
        Calls that may share a task with each other only.
    default_batch
        For apps whose option `batch` is None: True (learn), False (never), or a number of calls.
    """
    rooms = _rooms(calls, shares)
    groups: list[_Group] = []
    place: dict[Call, _Group] = {}
    open_groups: dict[tuple[object, ...], _Group] = {}
    likes: dict[tuple[object, ...], _Like] = {}
    for call, label in zip(calls, labels, strict=True):
        known = (id(call.app), id(call.options), label, call in suspects)
        like = likes.get(known)
        if like is None:
            like = likes[known] = _like(call, label, costs, default_batch, call in suspects)
        is_alone = like.rule is False or call in alone
        if call.parents or type(call.args) is Packed:
            before, apart = _before(call, place, costs)
        else:
            before, apart = _NOTHING, _NOTHING
        group = None if is_alone or not before else _group_of_arguments(before)
        if group is None or not group.takes_after(like, apart):
            rank = 1 + max((g.rank for g in before), default=-1) if before else 0
            slot = (id(call.app), like.kind, rank, apart)
            group = open_groups.get(slot)
            if group is None or is_alone or not group.takes(like):
                room = 1 if is_alone else min(rooms[id(call.app)], MOST_LIKE_CALLS)
                group = _Group(_ALONE if is_alone else like.kind, rank, room, apart)
                groups.append(group)
                if not is_alone:
                    open_groups[slot] = group
        group.calls.append(call)
        group.seconds += like.seconds
        group.bytes += like.bytes
        place[call] = group
    # By rank, since a batch of higher rank may have been begun before one that it needs.
    groups.sort(key=_rank)
    return [group.calls for group in groups]


def _before(
    call: Call, place: dict[Call, _Group], costs: Costs
) -> tuple[Set[_Group], frozenset[object]]:
    """Return the groups that hold the arguments of `call`, and what keeps it apart from like calls."""
    before: set[_Group] = set()
    apart: set[object] = set()
    for parent in call.parents:
        source = parent.source
        group = place.get(source)
        if group is not None:
            before.add(group)
        if group is not None and group.kind is _ALONE:
            apart.add(group)
        elif source.state is State.DONE:
            if source.value is REMOTE:
                apart.add(source)
        elif (known := costs.estimate(source.app.name)) is not None and (
            2 * known.seconds > TARGET_S or known.bytes >= TARGET_BYTES
        ):
            apart.add(source)
    if type(call.args) is Packed:
        for slot in call.args.slots:
            if (
                type(slot) is Foreign
                and slot.resolved is not None
                and slot.resolved.key is not None
            ):
                apart.add(slot.resolved.key)
    return before, frozenset(apart) if apart else _NOTHING


def _group_of_arguments(before: Set[_Group]) -> _Group | None:
    """Return the group whose rank is above that of all others, None if there is no such."""
    top = max(before, key=_rank)
    return top if sum(g.rank == top.rank for g in before) == 1 else None


def _rank(group: _Group) -> int:
    return group.rank


def _rooms(calls: Sequence[Call], shares: int) -> dict[int, int]:
    """Return, for each app, how many calls a batch may have so that there are enough batches."""
    count = Counter(id(call.app) for call in calls)
    return {app: max(1, math.ceil(n / max(1, shares))) for app, n in count.items()}


def _like(
    call: Call, label: str | None, costs: Costs, default_batch: bool | int, is_suspect: bool
) -> _Like:
    rule = call.options.batch if call.options.batch is not None else default_batch
    kind = (call.options.placement, label, is_suspect)
    known = costs.estimate(call.app.name)
    if known is None:
        return _Like(kind, rule, UNKNOWN_S, 0.0)
    return _Like(kind, rule, max(LEAST_S, known.seconds), known.bytes)
