"""Passing on: values that one call makes, one other takes, and nobody else can ask for.

::

    array = load()          load ──► step ──► step ──► look      one task; each value goes once it is taken
    array = step(array)
    array = step(array)     (an assignment drops the only future of the array before)
    look(array).result()

Whether anybody else can ask is told by the references to a call and to its future: those that lead from the
calls that are sent now are counted, and any other means that somebody else has it.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Collection
from dataclasses import dataclass

from daskflow.graph.arguments import Packed
from daskflow.graph.call import AppSpec, Call, State


@dataclass(slots=True)
class _Use:
    """How others of the calls use one: how many, which is the last of them, how often they refer to it."""

    calls: int = 0
    last: int = -1
    references: int = 0


def passed_on(calls: list[Call], apps: Collection[AppSpec]) -> set[Call]:
    """Return those of `calls`, of one of `apps`, whose value only the one call that takes it can see.

    That one is among `calls`, too, and waits for nothing else.
    """
    if not apps or not _counts_references():
        return set()
    uses = _uses(calls, apps)
    found = [index for index in range(len(calls)) if _is_passed_on(calls, index, uses)]
    return {calls[index] for index in found}


def _uses(calls: list[Call], apps: Collection[AppSpec]) -> dict[int, _Use]:
    """Return by whom calls are used, by their identity: a reference more would count."""
    uses = {id(call): _Use() for call in calls if call.app in apps and call.app.kind != "join"}
    for index, call in enumerate(calls):
        for parent in set(call.parents):
            use = uses.get(id(parent))
            if use is not None:
                use.calls += 1
                use.last = index
                use.references += sum(place is parent for place in _places(call))
    return uses


def _places(call: Call) -> list[object]:
    """Return all that a call refers to as its argument or parent."""
    if type(call.args) is Packed:
        return [*call.parents, *call.args.slots]
    return [*call.parents, *call.args, *(call.kwargs or {}).values()]


def _is_passed_on(calls: list[Call], index: int, uses: dict[int, _Use]) -> bool:
    call = calls[index]
    use = uses.get(id(call))
    if use is None or use.calls != 1:
        return False
    if any(p is not call and p.state is not State.DONE for p in calls[use.last].parents):
        return False
    future = call.future
    if future is None or future.callbacks or weakref.getweakrefcount(future):
        return False
    # The variable here, and the call.
    if _count(future) != 2:
        return False
    # The variable here, the list, the future, and those that use it.
    return _count(call) == 3 + use.references


def _count(thing: object) -> int:
    """Return how many references there are to `thing`, a variable of the caller, with that one."""
    return sys.getrefcount(thing) - _COUNTING


def _references_of_counting() -> int:
    thing = object()
    return _count(thing) - 1


_COUNTING = 0
_COUNTING = _references_of_counting()


def _counts_references() -> bool:
    """Tell whether this interpreter can: not if threads may do so at once, or if it does not count."""
    is_locked = getattr(sys, "_is_gil_enabled", lambda: True)
    return hasattr(sys, "getrefcount") and is_locked()
