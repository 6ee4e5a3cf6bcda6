"""Calls without a kernel: run by Dask's own schedulers, in this process or on a plain cluster."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError
from typing import Any
from weakref import WeakValueDictionary

from dask.base import tokenize
from dask.delayed import Delayed, unpack_collections
from dask.typing import Key

from daskflow.errors import DependencyError, SerializationError
from daskflow.futures.failure import dependency_error
from daskflow.futures.recording import key_of, process
from daskflow.futures.settling import guard, settle
from daskflow.graph import tasks
from daskflow.graph.arguments import Foreign
from daskflow.graph.call import Call, State
from daskflow.graph.lower import Bound, foreigners_of, lower_alone
from daskflow.graph.specs import SpecMaker
from daskflow.worker.batch import attach_report, run_batch
from daskflow.worker.outcome import TAKEN, Failed, Joined
from daskflow.worker.running import interrupt


def inputs_of(call: Call) -> list[Key]:
    """Return the Dask keys that the task of a call depends on."""
    found: dict[Key, None] = dict.fromkeys(key_of(parent) for parent in call.parents)
    for foreign in own_foreigners(call):
        key = finite_form(foreign).key
        if key is not None:
            found[key] = None
    return list(found)


def own_foreigners(call: Call) -> list[Foreign]:
    """Return the foreign arguments that a graph with the call must bring: none of a kernel's call."""
    return foreigners_of(call) if call.owner is process.pool else []


def foreign_tasks(foreign: Foreign) -> Mapping[Any, Any]:
    """Return the tasks of a dask collection that is an argument."""
    bound = finite_form(foreign)
    return dict(bound.keeps.dask) if isinstance(bound.keeps, Delayed) else {}


def run_here(call: Call, values: Mapping[Any, Any]) -> object:
    """Run a call in this thread, or wait for whoever runs it, and return its value.

    `values` are the values of its `inputs_of`.
    """
    future = call.future
    if future is None or call.owner is not process.pool or not claim(call):
        return _value_of(call)
    if (failure := dependency_error(call)) is not None:
        settle([(call, State.DEP_FAILED, failure)])
        raise failure
    _settle_outcome(call, _run(call, values))
    return future.result()


def _run(call: Call, values: Mapping[Any, Any]) -> object:
    _name_logs(call)
    try:
        here = {id(each): _value_here(each, values) for each in foreigners_of(call)}
    except Exception as error:  # noqa: BLE001 # whatever a future was given as its exception
        return DependencyError(key_of(call), "a foreign argument", error)
    try:
        task = lower_alone(
            call, key_of(call), process.run, SpecMaker(), key_of, lambda each: here[id(each)]
        )
    except SerializationError as error:
        return error
    return run_batch(task.args[0]).entries[0]


def _value_here(foreign: Foreign, values: Mapping[Any, Any]) -> Bound:
    key = finite_form(foreign).key
    if key is None:
        return Bound(value=foreign.source.result())
    if key in values:
        return Bound(value=values[key])
    return Bound(value=foreign.source.compute(scheduler="sync"))


def cancel(call: Call) -> bool:
    """End a call, also one that runs here or on a cluster; return whether it delivers no result."""
    from daskflow.futures import cluster  # a cycle

    error = CancelledError(f"call {key_of(call)} was cancelled")
    settle([(call, State.CANCELLED, error)])
    interrupt([key_of(call)])
    cluster.cancel(call)
    return call.state is State.CANCELLED


def end_blocked(call: Call) -> None:
    """End `call`, and what it depends on, as far as calls that have failed say how."""
    stack, seen = [call], {call.number}
    while stack:
        each = stack[-1]
        if each.is_final or each.owner is not process.pool:
            stack.pop()
        elif (failure := dependency_error(each)) is not None:
            settle([(each, State.DEP_FAILED, failure)])
        else:
            new = [p for p in each.parents if not p.is_final and p.number not in seen]
            if not new:
                stack.pop()
            seen.update(parent.number for parent in new)
            stack.extend(new)


def _name_logs(call: Call) -> None:
    if call.extras is not None:
        call.extras = call.extras.with_log_folder(call.owner.log_folder(), key_of(call))


def _settle_outcome(call: Call, entry: object) -> None:
    if isinstance(entry, Joined):
        try:
            entry = entry.in_place()
        except BaseException as error:  # noqa: BLE001 # it is the call's failure
            entry = error
    if isinstance(entry, Failed):
        failure = entry.record.rebuild()
        attach_report(failure, entry)
        entry = failure
    if isinstance(entry, DependencyError):
        settle([(call, State.DEP_FAILED, entry)])
    elif isinstance(entry, BaseException):
        settle([(call, State.FAILED, entry)])
    else:
        settle([(call, State.DONE, entry)])


def wire_task_without_kernel(call: Call) -> Any:
    """Return the task of a call on its way to a scheduler that knows no kernel."""
    from daskflow.futures import cluster, processes  # a cycle

    cluster.send(call)
    if call.is_final:
        return task_of_final(call, key_of(call))
    return own_task(call) if cluster.has(call) else processes.telling_task(call, own_task(call))


def own_task(call: Call) -> Any:
    """Return the task that runs a call on a cluster, its arguments being tasks under their keys."""
    key = key_of(call)
    _name_logs(call)
    return lower_alone(call, key, process.run, SpecMaker(), key_of, _bound_on_a_cluster)


def _bound_on_a_cluster(foreign: Foreign) -> Bound:
    if foreign.is_future:
        return Bound(value=foreign.source.result())
    if foreign.is_dask_future:
        return Bound(key=foreign.source.key, keeps=foreign.source)
    return finite_form(foreign)


def wire_task_anywhere(call: Call) -> Any:
    """Return a task that means the call under any key: a kernel's call is waited for."""
    if call.owner is process.pool and not call.is_final:
        return wire_task_without_kernel(call)
    future = _future_of(call)
    future.done()
    future.wait_for(call)
    return task_of_final(call, key_of(call))


def task_of_final(call: Call, key: str) -> Any:
    """Return the task that stands for a call that has ended."""
    if call.state is State.DONE:
        return tasks.data(key, _value_of(call))
    call.owner.was_shown(call.value)
    return tasks.task(key, _raise, call.value)


def _raise(error: BaseException) -> None:
    raise error


def claim(call: Call) -> bool:
    """Say that the caller runs a call; False if somebody else does, or did."""
    with guard.lock:
        if call.state is not State.RECORDED:
            return False
        call.state = State.SUBMITTED
        return True


def _value_of(call: Call) -> object:
    """Return the value of a call; a mark if only a call that has ended could see it (graphs have both)."""
    future = _future_of(call)
    future.exception()
    return TAKEN if call.value is TAKEN else future.result()


def _future_of(call: Call) -> Any:
    from daskflow.futures.appfuture import AppFuture  # a cycle

    return call.future if call.future is not None else AppFuture(call)


def finite_form(foreign: Foreign) -> Bound:
    """Return what a foreign argument is without a kernel: the same Bound for equal collections.

    Of a collection: its single key, and the Delayed that computes it; of a future, an empty one.
    """
    if foreign.local is None:
        is_future = foreign.is_future or foreign.is_dask_future
        foreign.local = Bound() if is_future else _finalized(foreign.source)
    bound: Bound = foreign.local
    return bound


def _finalized(collection: Any) -> Bound:
    token = tokenize(collection)
    bound = _known_forms.get(token)
    if bound is None:
        _task, (delayed,) = unpack_collections(collection)
        bound = Bound(key=delayed.key, keeps=delayed)
        _known_forms[token] = bound
    return bound


_known_forms: WeakValueDictionary[str, Bound] = WeakValueDictionary()
