"""How a call takes part in graphs that are not ours: `AppFuture.__dask_graph__`.

::

    graph of f     layer f.key: {f.key: CallTask}      layer "before-f.key": its ancestors, made lazily
                        │                                   │
       sync, threads    runs here, settles the future       run here
       pickled for a scheduler, call of a kernel            becomes empty: the kernel has them
                        becomes the kernel's exposed task, or the value if it is at home
       pickled, no kernel    becomes a task that runs it    become tasks that run them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

from daskflow.futures import local
from daskflow.futures.recording import key_of, process
from daskflow.graph import tasks
from daskflow.graph.call import Call


class CallBinding:
    """What stands behind the CallTask of a call."""

    __slots__ = ("call",)

    def __init__(self, call: Call):
        self.call = call

    @property
    def key(self) -> str:
        return key_of(self.call)

    def run(self, values: Mapping[Any, Any]) -> object:
        return local.run_here(self.call, values)

    def wire_task(self) -> Any:
        return self.call.owner.wire_task(self.call)

    def wire_task_anywhere(self) -> Any:
        return local.wire_task_anywhere(self.call)


class AncestorLayer(Layer):
    """The tasks of all that a call depends on, made when they are looked at."""

    def __init__(self, call: Call):
        super().__init__()
        self.call = call
        # A list of its own: who refers to a call is counted (`daskflow.graph.passing`).
        self.parents = list(call.parents)
        self.foreigners = local.own_foreigners(call)
        self._made: dict[Any, Any] | None = None

    def _tasks(self) -> dict[Any, Any]:
        if self._made is None:
            self._made = _ancestor_tasks(self.parents, self.foreigners)
        return self._made

    def __getitem__(self, key: Any) -> Any:
        return self._tasks()[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._tasks())

    def __len__(self) -> int:
        return len(self._tasks())

    def is_materialized(self) -> bool:
        return self._made is not None

    def get_output_keys(self) -> set[Any]:
        return set(self._tasks())

    def __reduce__(self) -> tuple[Any, ...]:
        if self.call.owner is not process.pool:
            return MaterializedLayer, ({},)
        return MaterializedLayer, (self._tasks(),)


def graph_of(call: Call) -> HighLevelGraph:
    """Return the Dask graph of a call, its own task and lazily those of its ancestors."""
    key = key_of(call)
    own = MaterializedLayer({key: tasks.CallTask.of(CallBinding(call), local.inputs_of(call))})
    if not call.parents and not local.own_foreigners(call):
        return HighLevelGraph({key: own}, {key: set()})
    before = f"before-{key}"
    return HighLevelGraph({key: own, before: AncestorLayer(call)}, {key: {before}, before: set()})


def optimize(graph: Any, keys: Any, **_options: Any) -> Any:
    """Return the graph as it is: what is worth doing is done when calls are lowered."""
    return graph


def rebuild(graph: Any, key: str, rename: Mapping[str, str] | None = None) -> Delayed:
    """Return the collection that `dask.persist` and `dask.optimize` give for a call."""
    new_key = (rename or {}).get(key, key)
    if isinstance(graph, HighLevelGraph) and new_key not in graph.layers:
        graph = dict(graph)
    if not isinstance(graph, HighLevelGraph):
        graph = HighLevelGraph({new_key: MaterializedLayer(dict(graph))}, {new_key: set()})
    return Delayed(new_key, graph)


def _ancestor_tasks(parents: Sequence[Call], foreigners: Sequence[Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    stack = list(parents)
    foreign = list(foreigners)
    while stack:
        call = stack.pop()
        key = key_of(call)
        if key in made:
            continue
        made[key] = tasks.CallTask.of(CallBinding(call), local.inputs_of(call))
        foreign += local.own_foreigners(call)
        stack.extend(call.parents)
    for each in foreign:
        made.update(local.foreign_tasks(each))
    return made
