"""The only module that touches Dask's task specification (``dask._task_spec``, formally private).

Stable from dask 2024.12 to 2026.8; tested against the oldest and the newest version supported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from dask._task_spec import DataNode, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.typing import Key


def task(key: Key, func: Callable[..., Any], *args: object, inputs: Sequence[Key] = ()) -> Task:
    """Return the Dask task ``func(*args, *values of inputs)``."""
    return Task(key, func, *args, *[TaskRef(k) for k in inputs])


def data(key: Key, value: object) -> DataNode:
    """Return the Dask task that is the literal `value`."""
    return DataNode(key, value)


def high_level_graph(
    layers: Iterable[tuple[Mapping[Key, Any], Mapping[str, Any]]],
) -> HighLevelGraph:
    """Return a graph of layers, each given as (tasks, annotations)."""
    named = {
        f"daskflow-{next(iter(tasks))}": MaterializedLayer(
            dict(tasks), annotations=dict(annotations) or None
        )
        for tasks, annotations in layers
        if tasks
    }
    return HighLevelGraph(named, {name: set() for name in named})


class Binding(Protocol):
    """What stands behind the task of a call in a graph that is not ours."""

    @property
    def key(self) -> str: ...
    def run(self, values: Mapping[Key, Any]) -> object:
        """Run the call in this process, or wait for it, and return its value."""

    def wire_task(self) -> Any:
        """Return the task that stands for it on its way to a scheduler."""


class CallTask(Task):
    """A call inside any Dask graph, bound late.

    Other collections copy tasks when they are built, long before anything is submitted. Called in
    this process (Dask's own schedulers), it runs the call. Pickled (on its way to a scheduler), it
    becomes what is right at that moment: see `daskflow.futures`.
    """

    __slots__ = ("binding",)

    def __init__(self, binding: Binding, inputs: Sequence[Key]):
        super().__init__(binding.key, _never, *[TaskRef(k) for k in inputs])
        self.binding = binding

    @property
    def block_fusion(self) -> bool:
        """Never let a foreign optimizer swallow a call: its key must stay visible."""
        return True

    def __call__(self, values: Mapping[Key, Any] = {}) -> object:  # never changed
        return self.binding.run(values)

    def copy(self) -> CallTask:
        return self

    def substitute(self, subs: dict[Key, Any], key: Key | None = None) -> Any:
        wanted = {k: v for k, v in subs.items() if k in self.dependencies and k != v}
        if not wanted and (key is None or key == self.key):
            return self
        renamed = self.binding
        inputs = [wanted.get(k, k) for k in self.dependencies]
        back = {wanted.get(k, k): k for k in self.dependencies}
        return _Renamed(key or self.key, renamed, inputs, back)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _itself, (self.binding.wire_task(),)

    def __repr__(self) -> str:
        return f"<CallTask {self.key}>"


class _Renamed(Task):
    """A CallTask under another key, or with renamed inputs (persist and clone rename)."""

    __slots__ = ("back", "binding")

    def __init__(self, key: Key, binding: Binding, inputs: Sequence[Key], back: Mapping[Key, Key]):
        super().__init__(key, _never, *[TaskRef(k) for k in inputs])
        self.binding = binding
        self.back = back

    @property
    def block_fusion(self) -> bool:
        return True

    def __call__(self, values: Mapping[Key, Any] = {}) -> object:  # never changed
        return self.binding.run({self.back.get(k, k): v for k, v in values.items()})

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _renamed_wire, (self.key, self.binding.wire_task())


def _renamed_wire(key: Key, wire: Any) -> Any:
    return wire.substitute({}, key=key)


def _never(*_values: object) -> object:
    raise AssertionError("a CallTask is run by its binding")


def _itself(wire: Any) -> Any:
    return wire
