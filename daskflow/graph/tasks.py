"""The only module that touches Dask's task specification and expressions (both formally private).

Stable from dask 2024.12 to 2026.8; tested against the oldest and the newest version supported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from dask._expr import _HLGExprSequence
from dask._task_spec import Alias, DataNode, Task, TaskRef
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.typing import Key


class _Visible(Task):
    """A task that no optimizer may swallow, here or on the scheduler: its key is known to others."""

    __slots__ = ()

    @property
    def block_fusion(self) -> bool:
        """Never let a task be fused with another."""
        return True


def task(key: Key, func: Callable[..., Any], *args: object, inputs: Sequence[Key] = ()) -> Task:
    """Return the Dask task ``func(*args, *values of inputs)``."""
    return _Visible(key, func, *args, *[TaskRef(k) for k in inputs])


@contextmanager
def order_kept() -> Iterator[None]:
    """Let Dask return the values of mixed collections in the order asked.

    dask 2025.4 to 2026.8 groups them by optimizer, and forgets the order (`_tune_down`).
    """
    global _tune_down
    if _tune_down is None:
        _tune_down = _HLGExprSequence._tune_down
        setattr(_HLGExprSequence, "_tune_down", _tune_down_unless_kept)  # noqa: B010 # mypy
    keeper = object()
    _keepers.add(keeper)
    try:
        yield
    finally:
        _keepers.discard(keeper)


_keepers: set[object] = set()
_tune_down: Callable[[Any], Any] | None = None


def _tune_down_unless_kept(sequence: Any) -> Any:
    assert _tune_down is not None
    return None if _keepers else _tune_down(sequence)


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


def only_key(expression: Any) -> Key | None:
    """Return the key of a graph of one task, on its way to a scheduler; None for any other."""
    layers: Mapping[str, Any] = getattr(getattr(expression, "hlg", None), "layers", {})
    if len(layers) != 1:
        return None
    (layer,) = layers.values()
    if type(layer) is not MaterializedLayer or len(layer) != 1:
        return None
    key: Key = next(iter(layer))
    return key


class Binding(Protocol):
    """What stands behind the task of a call in a graph that is not ours."""

    @property
    def key(self) -> str: ...
    def run(self, values: Mapping[Key, Any]) -> object:
        """Run the call in this process, or wait for it, and return its value."""

    def wire_task(self) -> Any:
        """Return the task that stands for it on its way to a scheduler, under its key."""

    def wire_task_anywhere(self) -> Any:
        """Return a task that stands for it under any key, inside any other task."""


class BoundCall:
    """The function of a CallTask; it still means the call where Dask rebuilds the task around it."""

    __slots__ = ("binding", "inputs")

    def __init__(self, binding: Binding, inputs: Sequence[Key]):
        self.binding = binding
        self.inputs = tuple(inputs)

    def __call__(self, *values: object) -> object:
        return self.binding.run(dict(zip(self.inputs, values, strict=True)))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _WireCall, (self.binding.wire_task_anywhere(), self.inputs)

    def __dask_tokenize__(self) -> str:
        return self.binding.key


class _WireCall:
    """A BoundCall that has travelled without its CallTask, whose inputs its own task still has."""

    __slots__ = ("inputs", "wire")

    def __init__(self, wire: Any, inputs: tuple[Key, ...]):
        self.wire = wire
        self.inputs = inputs

    def __call__(self, *values: object) -> object:
        given = dict(zip(self.inputs, values, strict=True))
        return self.wire({k: given[k] for k in self.wire.dependencies})

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _WireCall, (self.wire, self.inputs)


class CallTask(_Visible):
    """A call inside any Dask graph, bound late.

    Other collections copy tasks when they are built, long before anything is submitted. Called in
    this process (Dask's own schedulers), it runs the call. Pickled (on its way to a scheduler), it
    becomes what is right at that moment: see `daskflow.futures`.
    """

    __slots__ = ()

    @classmethod
    def of(cls, binding: Binding, inputs: Sequence[Key]) -> CallTask:
        """Return the task of the call behind `binding`, whose arguments are the keys `inputs`."""
        return cls(binding.key, BoundCall(binding, inputs), *[TaskRef(k) for k in inputs])

    def copy(self) -> CallTask:
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        bound: Any = self.func
        wire = bound.binding.wire_task()
        renamed = {
            k: new
            for k, arg in zip(bound.inputs, self.args, strict=True)
            if (new := _reference(arg)) != k
        }
        return _itself, (wire.substitute(renamed, key=self.key),)

    def __repr__(self) -> str:
        return f"<CallTask {self.key}>"


def bindings_in(graph: Mapping[Key, Any]) -> list[Any]:
    """Return what stands behind the calls in a graph; layers that are yet to be made hold none."""
    layers = getattr(graph, "layers", {"": graph}).values()
    made = (layer for layer in layers if isinstance(layer, dict | MaterializedLayer))
    functions = (getattr(task, "func", None) for layer in made for task in dict(layer).values())
    return [func.binding for func in functions if isinstance(func, BoundCall)]


def _reference(argument: Any) -> Any:
    """Return the key that an argument of a task refers to, else what it is."""
    if isinstance(argument, Alias):
        return argument.target
    return argument.key if isinstance(argument, TaskRef) else argument


def _itself(wire: Any) -> Any:
    return wire
