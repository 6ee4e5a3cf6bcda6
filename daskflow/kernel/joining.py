"""Join calls whose bodies have run, until the calls that they returned have ended.

::

    body returned        a future: the join call stands for that inner call; what needs it is sent at once
                         a structure of futures: what needs it waits here
    all of them ended    the value is that inner call's, or is put together: here if it is small, else by a
                         call of its own, so that what is large does not pass through this process
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from daskflow.futures.appfuture import AppFuture
from daskflow.futures.recording import key_of, process
from daskflow.futures.settling import Settlement
from daskflow.graph.arguments import capture
from daskflow.graph.call import AppSpec, Call, Options, State
from daskflow.graph.lower import Home
from daskflow.kernel import joins
from daskflow.worker.keys import inner_number
from daskflow.worker.outcome import REMOTE, Joined


@dataclass(slots=True, eq=False)
class _Join:
    """A join call, what its body returned, the calls in that, and all that it recorded."""

    call: Call
    returned: Any
    inner: list[Call]
    all_calls: list[Call]
    open_calls: int


class Joins:
    """The join calls of a kernel that wait for inner calls. Needs a lock around it.

    `release` is told of join calls that now stand for an inner call.
    """

    def __init__(self, release: Callable[[Iterable[Call]], object]):
        self._release = release
        self._waiting: dict[Call, list[_Join]] = {}

    def joining(self) -> list[Call]:
        """Return the join calls that wait."""
        return list(dict.fromkeys(join.call for joins in self._waiting.values() for join in joins))

    def inner_calls(self, call: Call) -> list[Call]:
        """Return the unfinished inner calls of a join call, also those it did not return."""
        every = (join for joins in self._waiting.values() for join in joins)
        join = next((join for join in every if join.call is call), None)
        return [c for c in join.all_calls if not c.is_final] if join is not None else []

    def expand(self, call: Call, entry: Joined) -> list[Settlement]:
        """Record what a join body did; return the end of the call if nothing is to be waited for."""
        call.attempts = entry.attempts
        try:
            inner, returned = joins.rebuilt(
                entry.description, lambda place: inner_number(call.number, entry.attempts, place)
            )
        except Exception as error:  # noqa: BLE001 # it becomes the outcome
            return [(call, State.FAILED, error)]
        wanted = list(dict.fromkeys(joins.leaves(returned)))
        join = _Join(call, returned, wanted, inner, len(wanted))
        call.batch = None
        call.value = returned if isinstance(returned, Call) else None
        call.state = State.JOINING
        for each in wanted:
            self._waiting.setdefault(each, []).append(join)
        owner = call.owner
        for each in inner:
            owner.adopt(each)
        if call.value is not None:
            self._release([call])
        return [] if wanted else self._end(join)

    def ended(self, calls: Iterable[Call]) -> list[Settlement]:
        """Return the ends of join calls that follow from the end of `calls`."""
        if not self._waiting:
            return []
        settlements: list[Settlement] = []
        for call in calls:
            for join in self._waiting.pop(call, ()):
                join.open_calls -= 1
                if join.open_calls == 0:
                    settlements += self._end(join)
        return settlements

    def _end(self, join: _Join) -> list[Settlement]:
        failure = joins.join_failure(key_of(join.call), join.inner)
        if failure is not None:
            return [(join.call, State.FAILED, failure)]
        if isinstance(join.returned, Call):
            only = join.returned
            join.call.batch, join.call.member = only.batch, only.member
            return [(join.call, State.DONE, only.value)]
        if any(call.value is REMOTE for call in join.inner):
            self._put_together_elsewhere(join)
            return []
        try:
            value = joins.join_value(join.returned, joins.user_value)
        except Exception as error:  # noqa: BLE001 # a value that cannot be opened here fails the join
            return [(join.call, State.FAILED, error)]
        return [(join.call, State.DONE, Home(value))]

    def _put_together_elsewhere(self, join: _Join) -> None:
        call = join.call
        futures = joins.map_leaves(join.returned, AppFuture)
        captured, kwargs, parents = capture((futures,), {}, process.literals)
        number = inner_number(call.number, call.attempts, len(join.all_calls))
        where = Options(executors=call.options.executors, priority=call.options.priority)
        whole = Call(number, _WHOLE, captured, kwargs, parents, where)
        AppFuture(whole)
        call.value = whole
        self._waiting[whole] = [_Join(call, whole, [whole], [*join.all_calls, whole], 1)]
        call.owner.adopt(whole)
        self._release([call])
        call.owner.demand(whole)


def _same(value: Any) -> Any:
    return value


_WHOLE = AppSpec("join", "python", _same, Options())
