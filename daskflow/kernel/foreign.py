"""Arguments that are not ours: plain futures, futures of distributed, dask collections.

::

    a plain future, or one of another cluster    its value, once it has ended
    a future of our scheduler                    its key: Dask waits for it
    a collection                                 the key under which it is computed, many in one graph
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

from toolz import groupby, partition_all

from daskflow.futures.local import finite_form
from daskflow.graph import tasks
from daskflow.graph.arguments import Foreign
from daskflow.graph.call import Call
from daskflow.graph.lower import Bound, foreigners_of

_MOST_IN_A_GRAPH = 500
"""Dask's own optimization of a graph of many collections takes time that grows faster than they."""


def unresolved(call: Call) -> list[Foreign]:
    """Return the foreign arguments of a call that `Foreigners` must still find a place for."""
    return [foreign for foreign in foreigners_of(call) if foreign.resolved is None]


class Foreigners:
    """Finds out where the values of foreign arguments are, for the kernel of `client`."""

    def __init__(self, client: Any):
        self._client = client
        self._inside: WeakKeyDictionary[Bound, tuple[Call, ...]] = WeakKeyDictionary()
        self._computing: WeakKeyDictionary[Bound, ref[Bound]] = WeakKeyDictionary()

    def awaited(self, foreigners: Sequence[Foreign]) -> list[Any]:
        """Return the futures that must end in this process before they can be resolved."""
        return [f.source for f in foreigners if self._has_value(f) and not f.source.done()]

    def resolve_futures(self, foreigners: Sequence[Foreign]) -> None:
        """Resolve those that are futures, none of which is `awaited`; raise what one of them raised."""
        for foreign in foreigners:
            if self._has_value(foreign):
                foreign.resolved = Bound(value=foreign.source.result())
            elif foreign.is_dask_future:
                foreign.resolved = Bound(key=foreign.source.key, keeps=foreign.source)

    def calls_inside(self, foreigners: Sequence[Foreign]) -> list[Call]:
        """Return the calls that collections are directly built on."""
        found: list[Call] = []
        for foreign in foreigners:
            if _is_collection(foreign):
                found += self._calls_in(finite_form(foreign))
        return found

    def compute(self, foreigners: Sequence[Foreign]) -> None:
        """Have collections computed, all in one graph. The calls inside must be exposed."""
        new: dict[Bound, Any] = {}
        for foreign in foreigners:
            if _is_collection(foreign) and self._known(finite_form(foreign)) is None:
                new[finite_form(foreign)] = foreign.source
        kept: list[Bound] = []  # until each foreign argument has its own reference
        for some in _computed_together(new):
            with tasks.order_kept():
                futures = self._client.compute([new[finite] for finite in some])
            for finite, future in zip(some, futures, strict=True):
                bound = Bound(key=future.key, keeps=(future, finite))
                self._computing[finite] = ref(bound)
                kept.append(bound)
        for foreign in foreigners:
            if _is_collection(foreign):
                foreign.resolved = self._known(finite_form(foreign))

    def _known(self, finite: Bound) -> Bound | None:
        known = self._computing.get(finite)
        return known() if known is not None else None

    def _calls_in(self, finite: Bound) -> tuple[Call, ...]:
        inside = self._inside.get(finite)
        if inside is None:
            delayed: Any = finite.keeps
            inside = tuple(binding.call for binding in tasks.bindings_in(delayed.dask))
            self._inside[finite] = inside
        return inside

    def _has_value(self, foreign: Foreign) -> bool:
        """Whether it is a future whose value must pass through this process."""
        return foreign.is_future or (foreign.is_dask_future and not self._is_ours(foreign.source))

    def _is_ours(self, future: Any) -> bool:
        client = future.client
        return client is self._client or client.scheduler.address == self._client.scheduler.address


def _computed_together(collections: Mapping[Bound, Any]) -> Iterator[list[Bound]]:
    """Yield those of which Dask can make one graph: it would warn if expressions and graphs were mixed."""
    kinds = groupby(lambda finite: hasattr(collections[finite], "expr"), collections)
    for some in kinds.values():
        yield from map(list, partition_all(_MOST_IN_A_GRAPH, some))


def when_ended(futures: Sequence[Any], then: Callable[[], object]) -> None:
    """Call `then` once for each of `futures` that ends, in whatever thread that happens."""
    for future in futures:
        future.add_done_callback(partial(_called, then))


def _called(then: Callable[[], object], _future: Any) -> None:
    then()


def _is_collection(foreign: Foreign) -> bool:
    return not foreign.is_future and not foreign.is_dask_future
