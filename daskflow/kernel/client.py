"""Teach a Dask client our futures: in ``submit``, ``map`` and ``gather``, which ask no collection.

Dask from 2026 on knows how to take them in ``submit``; no version does in ``gather``.

A client pickles a graph under a lock that its event loop needs, too. Pickling a graph with our calls in
it may have to wait for one (a join's), hence for the loop, so the graph is pickled before.

A graph of one task needs no ordering, for which the scheduler would change threads twice.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

from daskflow.futures.appfuture import AppFuture
from daskflow.graph import tasks
from daskflow.kernel.exposing import pickled_for_scheduler


def teach(client: Any) -> Callable[[], None]:
    """Let ``client.submit``, ``map`` and ``gather`` take AppFutures; return what undoes it."""
    submit, map_, gather = client.submit, client.map, client.gather

    def taught_submit(func: Any, *args: Any, **kwargs: Any) -> Any:
        args_, kwargs_ = _replaced(client, (args, kwargs))
        return submit(func, *args_, **kwargs_)

    def taught_map(func: Any, *iterables: Any, **kwargs: Any) -> Any:
        lists = [_replaced(client, list(i)) if _has_ours(i) else i for i in iterables]
        return map_(func, *lists, **_replaced(client, kwargs))

    def taught_gather(futures: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(futures, AppFuture):
            return futures.result()
        return gather(_replaced(client, futures), *args, **kwargs)

    graph_to_futures = client._graph_to_futures

    may_order = "internal_priority" in inspect.signature(graph_to_futures).parameters

    def taught_graph_to_futures(expr: Any, *args: Any, **kwargs: Any) -> Any:
        if may_order and (key := tasks.only_key(expr)) is not None:
            kwargs["internal_priority"] = {key: 0}
        return graph_to_futures(_Pickled(expr), *args, **kwargs)

    client.submit, client.map, client.gather = taught_submit, taught_map, taught_gather
    client._graph_to_futures = taught_graph_to_futures

    def undo() -> None:
        for name in ("submit", "map", "gather", "_graph_to_futures"):
            client.__dict__.pop(name, None)

    return undo


class _Pickled:
    """Something pickled already; on the other side it is what it was."""

    def __init__(self, content: Any):
        with pickled_for_scheduler(asks=True) as now:
            self._pickle(content)
        if now.needed:  # and has not got yet: the scheduler is to know them all before
            now.needed[0].owner.expose(now.needed)
            with pickled_for_scheduler(asks=False):
                self._pickle(content)

    def _pickle(self, content: Any) -> None:
        self._buffers: list[pickle.PickleBuffer] = []
        from distributed.protocol.pickle import dumps  # slow to import

        self._data = dumps(content, buffer_callback=self._buffers.append)

    def __reduce__(self) -> tuple[Any, ...]:
        return _loads, (self._data, *self._buffers)


def _loads(data: bytes, *buffers: Any) -> Any:
    return pickle.loads(data, buffers=buffers)


def _has_ours(values: Any) -> bool:
    return isinstance(values, list | tuple) and any(isinstance(v, AppFuture) for v in values)


def _replaced(client: Any, value: Any) -> Any:
    """Return `value` with each AppFuture in lists, tuples, sets and dicts as a future of `client`."""
    kind = type(value)
    if isinstance(value, AppFuture):
        return client.compute(value)
    if kind in (list, tuple, set):
        return kind(_replaced(client, v) for v in value)
    if kind is dict:
        return {k: _replaced(client, v) for k, v in value.items()}
    return value
