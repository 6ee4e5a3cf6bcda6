"""Arguments that are not ours: plain futures, futures of distributed, dask collections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary, ref

from daskflow.futures.local import finalized
from daskflow.graph import tasks
from daskflow.graph.arguments import Foreign
from daskflow.graph.call import Call
from daskflow.graph.lower import Bound

Computing = WeakKeyDictionary[Bound, "ref[Bound]"]
"""The collections that are being computed for calls of one kernel, by their finalized form."""


def bind_collections(foreigners: Iterable[Foreign], client: Any, computing: Computing) -> None:
    """Find out where the values of foreign arguments are; start the computation of collections.

    Plain futures must have ended. Raises what a plain future raised.
    """
    for foreign in foreigners:
        if foreign.is_future:
            foreign.resolved = Bound(value=foreign.source.result())
        elif foreign.is_dask_future:
            foreign.resolved = _bound_dask_future(foreign.source, client)
        else:
            foreign.resolved = _computed(foreign.source, client, computing)


def calls_inside(foreign: Foreign) -> list[Call]:
    """Return the calls that a dask collection is built on; none for a future."""
    if foreign.is_future or foreign.is_dask_future:
        return []
    finite: Any = finalized(foreign.source).keeps
    return [binding.call for binding in tasks.bindings_in(finite.dask)]


def _bound_dask_future(future: Any, client: Any) -> Bound:
    if future.client is client or future.client.scheduler.address == client.scheduler.address:
        return Bound(key=future.key, keeps=future)
    return Bound(value=future.result())


def _computed(collection: Any, client: Any, computing: Computing) -> Bound:
    finite = finalized(collection)
    known = computing.get(finite)
    bound = known() if known is not None else None
    if bound is None:
        with tasks.order_kept():
            future = client.compute(collection)
        bound = Bound(key=future.key, keeps=(future, finite))
        computing[finite] = ref(bound)
    return bound
