"""Calls without a kernel on a plain Dask cluster: each is sent there once, under its own key.

When a graph with such a call is pickled on its way to the scheduler of Dask's default client, the call
and what it depends on are sent ahead, and held, so that further graphs with it run nothing again.
Its value comes home when somebody demands it.
"""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from daskflow.errors import DependencyError
from daskflow.futures import local
from daskflow.futures.recording import key_of, process
from daskflow.futures.settling import settle
from daskflow.graph import tasks
from daskflow.graph.call import Call, State
from daskflow.graph.lower import Home, annotations_of, foreigners_of

_sent: WeakKeyDictionary[Call, Any] = WeakKeyDictionary()
_asked: WeakKeyDictionary[Call, bool] = WeakKeyDictionary()


def send(call: Call) -> None:
    """Send `call`, and what it depends on, to the cluster of Dask's default client, if there is one."""
    client = _default_client()
    if client is None:
        return
    claimed = [each for each in _unsent(call) if local.claim(each)]
    if not claimed:
        return
    try:
        layers: list[tuple[dict[Any, Any], Any]] = []
        for each in claimed:
            key = key_of(each)
            layers.append(({key: local.own_task(each)}, annotations_of(each.options, None)))
            layers += [(dict(local.foreign_tasks(f)), {}) for f in foreigners_of(each)]
        keys = [key_of(each) for each in claimed]
        futures = client.get(tasks.high_level_graph(layers), keys, sync=False)
    except BaseException:
        for each in claimed:
            each.state = State.RECORDED
        raise
    _sent.update(zip(claimed, futures, strict=True))


def knows(call: Call) -> bool:
    """Tell whether a scheduler knows the call by its key; without a kernel, it is sent for that."""
    if call.owner is not process.pool:
        return True
    send(call)
    return has(call)


def has(call: Call) -> bool:
    """Tell whether the call was sent."""
    return call in _sent


def demand(call: Call) -> bool:
    """See that a call that was sent ends with its value; False if it was not sent."""
    future = _sent.get(call)
    if future is None:
        return False
    if not call.is_final and call not in _asked:
        _asked[call] = True
        future.add_done_callback(partial(_end, call))
    return True


def cancel(call: Call) -> None:
    """Take back a call that was sent and has been cancelled."""
    if call.state is State.CANCELLED and (future := _sent.pop(call, None)) is not None:
        future.cancel()


def _end(call: Call, future: Any) -> None:
    if future.status == "finished":
        settle([(call, State.DONE, Home(future.result()))])
        return
    if future.status != "error":
        gone = CancelledError(f"the cluster that ran call {key_of(call)} is gone")
        settle([(call, State.CANCELLED, gone)])
        return
    error = future.exception()
    via = next((p for p in call.parents if getattr(_sent.get(p), "status", "") == "error"), None)
    if via is None:
        settle([(call, State.FAILED, error)])
    else:
        settle([(call, State.DEP_FAILED, DependencyError(key_of(call), key_of(via), error))])


def _unsent(call: Call) -> list[Call]:
    """Return the calls that nobody has begun to run, `call` last and each after its parents."""
    found: dict[int, Call] = {}
    stack = [call]
    while stack:
        each = stack[-1]
        missing = [p for p in each.parents if _is_unsent(p) and p.number not in found]
        if missing and each.number not in found:
            stack.extend(missing)
            continue
        stack.pop()
        if _is_unsent(each):
            found.setdefault(each.number, each)
    return list(found.values())


def _is_unsent(call: Call) -> bool:
    return call.owner is process.pool and call.state is State.RECORDED


def _default_client() -> Any:
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        client = distributed.default_client()
    except ValueError:
        return None
    return None if client.asynchronous or client.status != "running" else client
