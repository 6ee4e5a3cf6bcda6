"""Calls without a kernel that Dask runs in its own pool of processes (``scheduler="processes"``).

::

    this process      the task of a call, pickled: it knows whose child is to tell of the value
    child             runs the call; its value goes back as a `_Told`
    this process      unpickling the `_Told` gives the value, and ends the call with it

A call that fails there is not ended by it: Dask raises the exception, and whoever demands the call runs it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from daskflow.futures.recording import process
from daskflow.futures.settling import settle
from daskflow.graph import tasks
from daskflow.graph.call import Call, State
from daskflow.graph.lower import Home
from daskflow.worker.attempt import this_worker
from daskflow.worker.batch import run_alone

_on_their_way: WeakValueDictionary[int, Call] = WeakValueDictionary()


def telling_task(call: Call, task: Any) -> Any:
    """Return `task`, which runs `call`, such that the call ends with the value that it has in a child."""
    _on_their_way[call.number] = call
    payload, *references = task.args
    inputs = [reference.key for reference in references]
    whose = os.getpid(), process.run, call.number
    return tasks.task(task.key, _run_and_tell, whose, payload, inputs=inputs)


def _run_and_tell(whose: tuple[int, str, int], payload: bytes, *values: object) -> object:
    value = run_alone(payload, *values)
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != whose[0] or this_worker() is not None:
        return value  # it goes to other tasks, as it is
    return _Told(*whose[1:], value)


class _Told:
    """A value on its way out of a child."""

    __slots__ = ("number", "run", "value")

    def __init__(self, run: str, number: int, value: object):
        self.run = run
        self.number = number
        self.value = value

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int, object]]:
        return _arrived, (self.run, self.number, self.value)


def _arrived(run: str, number: int, value: object) -> object:
    call = _on_their_way.get(number)
    if run == process.run and call is not None:
        settle([(call, State.DONE, Home(value))])
    return value
