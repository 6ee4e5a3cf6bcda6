"""What is adapted of Dask: late-bound tasks under its optimizers, and the order of results."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import pytest
from dask._expr import HLGExpr
from dask._task_spec import TaskRef, fuse_linear_task_spec
from dask.bag.core import lazify_task

from daskflow import compute, python_app
from daskflow.futures.derived import nearly
from daskflow.graph import tasks
from daskflow.worker.keys import call_key, clean_name, literal_key


@pytest.fixture(autouse=True)
def _without_kernel(without_kernel: None) -> None: ...


@python_app
def double(x: int) -> int:
    return 2 * x


def test_only_a_graph_of_one_task_is_known_to_need_no_order() -> None:
    one = {"a": tasks.task("a", abs, 1)}
    two = {"b": tasks.task("b", abs, inputs=["a"])}

    def only_key(*layers: dict[str, Any]) -> object:
        graph = tasks.high_level_graph([(layer, {}) for layer in layers])
        return tasks.only_key(HLGExpr(graph))

    assert only_key(one) == "a"
    assert only_key(one, two) is None
    assert only_key({**one, **two}) is None
    assert tasks.only_key(HLGExpr(da.ones(1).__dask_graph__())) is None
    assert tasks.only_key(object()) is None


def test_no_optimizer_swallows_a_call() -> None:
    first = double(1)
    second = double(first)
    graph = dict(second.__dask_graph__())
    graph["out"] = tasks.task("out", abs, inputs=[second.key])
    fused = fuse_linear_task_spec(graph, {"out"})
    assert {first.key, second.key, "out"} <= set(fused)


def test_a_call_means_itself_in_a_task_that_was_rebuilt_or_renamed() -> None:
    first, second = double(1), None
    second = double(first)
    task = second.__dask_graph__()[second.key]
    assert task.substitute({first.key: "elsewhere"}).dependencies == {"elsewhere"}
    renamed = task.substitute({first.key: "elsewhere"}, key="renamed")
    assert renamed.key == "renamed"
    assert first.compute(scheduler="sync") == 2
    assert lazify_task(task)({first.key: 2}) == 4
    assert renamed({"elsewhere": 2}) == 4
    assert second.result() == 4


def test_compute_returns_values_in_the_order_asked() -> None:
    collections = dask.delayed(1), da.arange(3, chunks=2).sum(), dask.delayed(2), double(5)
    assert compute(*collections, scheduler="sync") == (1, 3, 2, 10)


def test_what_is_done_to_dask_for_the_order_ends_with_it() -> None:
    collections = dask.delayed(1), da.arange(3, chunks=2).sum(), dask.delayed(2)
    before = dask.compute(*collections, scheduler="sync")
    with tasks.order_kept():
        with tasks.order_kept():
            assert dask.compute(*collections, scheduler="sync") == (1, 3, 2)
        assert dask.compute(*collections, scheduler="sync") == (1, 3, 2)
    assert dask.compute(*collections, scheduler="sync") == before


def test_bindings_are_found_in_graphs_of_others() -> None:
    direct = double(double(1))
    delayed = dask.delayed(abs)(direct)
    assert [binding.key for binding in tasks.bindings_in(delayed.dask)] == [direct.key]
    assert direct.key in {binding.key for binding in tasks.bindings_in(dict(delayed.dask))}
    assert not tasks.bindings_in({"x": tasks.data("x", 1), "y": tasks.task("y", abs, TaskRef("x"))})


@pytest.mark.parametrize(
    ("name", "clean"),
    [("f", "f"), ("<lambda>", "lambda"), ("a b/c", "a_b_c"), ("", "app"), ("x.y_2", "x.y_2")],
)
def test_names_in_keys_have_no_characters_with_a_meaning(name: str, clean: str) -> None:
    assert clean_name(name) == clean


def test_dask_groups_keys_by_app() -> None:
    from dask.utils import key_split

    run = "9f2c41d07be34a11"
    assert key_split(call_key("square_root", run, 42)) == "square_root"
    assert key_split(literal_key(run, 7)) == "literal"
    assert call_key("f", run, 1) != call_key("f", run, 2)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("result", None),
        ("results", "result"),
        ("reslut", "result"),
        ("esult", "result"),
        ("resilt", "result"),
        ("shape", None),
        ("resltu", None),
        ("r", None),
    ],
)
def test_a_typo_is_one_edit_from_a_name(name: str, meant: str | None) -> None:
    assert nearly(name, {"result", "done"}) == meant
