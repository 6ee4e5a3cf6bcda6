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
A large value that is passed on (`daskflow.graph.passing`) is none of these to the call that takes it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Container, Sequence, Set
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from daskflow.graph.arguments import Foreign, Packed
from daskflow.graph.call import AppSpec, Call, Options, State
from daskflow.graph.costs import Cost, Costs
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

    `kind` is what calls must have in common to share a task, `rule` whether and how many may, `room` how
    many of these may at the most. What follows from one that `is_costly` waits for that one alone.
    """

    kind: Kind
    rule: bool | int
    room: int
    seconds: float
    bytes: float
    is_costly: bool


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

    def takes_after(self, like: _Like, apart: Set[object], given_bytes: float) -> bool:
        """Tell whether a call that follows from those in it may be added.

        If it is given values of `given_bytes`, which go once it has run, its own may be as large.
        """
        if self.kind != like.kind or not (apart is _NOTHING or apart <= self.apart):
            return False
        if like.rule is not True:
            return len(self.calls) < like.rule
        return (
            len(self.calls) < MOST_CALLS
            and self.seconds + like.seconds <= FOLLOWERS_S
            and self.bytes - given_bytes + (0 if given_bytes else like.bytes) <= TARGET_BYTES
        )


def coarsen(  # noqa: PLR0913 # all that is known
    calls: Sequence[Call],
    costs: Costs,
    shares: int,
    *,
    alone: Container[Call] = (),
    suspects: Collection[Call] = (),
    passed: Collection[Call] = (),
    default_batch: bool | int = True,
) -> list[list[Call]]:
    """Group calls into batches.

    Parameters
    ----------
    calls
        What is to be sent now, in an order in which parents come first; those with another `label`
        share no task.
    costs
        What is known of their apps.
    shares
        Into how many batches like calls are divided at least, so that nothing stays idle.
    alone
        Calls that must not share a task.
    suspects
        Calls that may share a task with each other only.
    passed
        Calls whose large values are `passed_on`.
    default_batch
        For apps whose option `batch` is None: True (learn), False (never), or a number of calls.
    """
    likes = _Likes(calls, costs, shares, default_batch, suspects)
    groups: list[_Group] = []
    place: dict[Call, _Group] = {}
    marks: dict[Call, object] = {}
    open_groups: dict[tuple[object, ...], _Group] = {}
    for call in calls:
        like = likes.of(call)
        is_alone = like.rule is False or call in alone
        if call.parents or type(call.args) is Packed:
            before, apart = _before(call, place, marks, costs)
        else:
            before, apart = _NOTHING, _NOTHING
        group = None if is_alone or not before else _group_of_arguments(before)
        given = [p for p in call.parents if p in passed and place[p] is group] if passed else ()
        given_bytes = sum([likes.of(p).bytes for p in given]) if given else 0.0
        rest = apart.difference([marks[p] for p in given if p in marks]) if given else apart
        if group is None or not group.takes_after(like, rest, given_bytes):
            rank = 1 + max(map(_rank, before)) if before else 0
            slot = (id(call.app), like.kind, rank, apart)
            group = open_groups.get(slot)
            if group is None or is_alone or not group.takes(like):
                kind, room = (_ALONE, 1) if is_alone else (like.kind, like.room)
                group = _Group(kind, rank, room, apart)
                groups.append(group)
                if not is_alone:
                    open_groups[slot] = group
        else:
            group.bytes -= given_bytes
        group.calls.append(call)
        group.seconds += like.seconds
        group.bytes += like.bytes
        place[call] = group
        if is_alone or like.is_costly:
            marks[call] = group if is_alone else call
    # By rank, since a batch of higher rank may have been begun before one that it needs.
    groups.sort(key=_rank)
    return [group.calls for group in groups]


class _Likes:
    """What is known of each call through what it has in common with others."""

    def __init__(
        self,
        calls: Sequence[Call],
        costs: Costs,
        shares: int,
        default_batch: bool | int,
        suspects: Collection[Call],
    ):
        self._costs = costs
        self._default_batch = default_batch
        self._suspects = suspects
        # For each app, how many calls a batch may have so that there are enough batches.
        count = Counter(map(attrgetter("app"), calls))
        self._rooms = {app: math.ceil(n / max(1, shares)) for app, n in count.items()}
        self._known: dict[tuple[object, ...], _Like] = {}
        self._app: AppSpec | None = None
        self._options: Options | None = None
        self._label: str | None = None

    def of(self, call: Call) -> _Like:
        """Return what a call has in common with others; quickly if it is like the one before it."""
        is_as_before = (
            call.app is self._app and call.options is self._options and call.label == self._label
        )
        if not is_as_before or self._suspects:
            self._app, self._options, self._label = call.app, call.options, call.label
            self._like = self._find(call)
        return self._like

    def _find(self, call: Call) -> _Like:
        is_suspect = call in self._suspects
        key = (id(call.app), id(call.options), call.label, is_suspect)
        like = self._known.get(key)
        if like is None:
            like = self._known[key] = self._make(call, is_suspect=is_suspect)
        return like

    def _make(self, call: Call, *, is_suspect: bool) -> _Like:
        rule = call.options.batch
        known = self._costs.estimate(call.app.name)
        return _Like(
            kind=(call.options.placement, call.label, is_suspect),
            rule=self._default_batch if rule is None else rule,
            room=min(self._rooms[call.app], MOST_LIKE_CALLS),
            seconds=UNKNOWN_S if known is None else max(LEAST_S, known.seconds),
            bytes=0.0 if known is None else known.bytes,
            is_costly=_is_costly(known),
        )


def _before(
    call: Call, place: dict[Call, _Group], marks: dict[Call, object], costs: Costs
) -> tuple[Set[_Group], frozenset[object]]:
    """Return the groups that hold the arguments of `call`, and what keeps it apart from like calls.

    `marks` are what keeps apart all that follows from a call in a group.
    """
    before: set[_Group] = set()
    apart: set[object] = set()
    for parent in call.parents:
        source = parent.source if parent.state is State.JOINING else parent
        group = place.get(source)
        if group is not None:
            before.add(group)
            if marks and source in marks:
                apart.add(marks[source])
        elif _is_costly_to_move(source, costs):
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


def _is_costly_to_move(source: Call, costs: Costs) -> bool:
    """Tell whether the value of a call, which was sent earlier, is long in coming or large."""
    if source.state is State.DONE:
        return source.value is REMOTE
    return _is_costly(costs.estimate(source.app.name))


def _is_costly(known: Cost | None) -> bool:
    return known is not None and (2 * known.seconds > TARGET_S or known.bytes >= TARGET_BYTES)


def _group_of_arguments(before: Set[_Group]) -> _Group | None:
    """Return the group whose rank is above that of all others, None if there is no such."""
    if len(before) == 1:
        (only,) = before
        return only
    top = max(before, key=_rank)
    return top if sum(g.rank == top.rank for g in before) == 1 else None


def _rank(group: _Group) -> int:
    return group.rank
