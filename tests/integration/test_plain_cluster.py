"""Calls without a kernel on a plain Dask cluster: its default client runs each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import distributed
import pytest

import daskflow
from daskflow import bash_app, join_app, python_app
from daskflow.futures.recording import process

# A LocalCluster of distributed leaves sockets of its HTTP servers to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            dashboard_address="127.0.0.1:0",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def _nothing_is_loaded(without_kernel: None, client: Any) -> None: ...


SUBMIT_KNOWS_US = hasattr(dask._task_spec, "_is_dask_future")


@python_app
def same(x: Any) -> Any:
    return x


CONSUMERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "dask.compute": (lambda f: f, lambda f, c: dask.compute(f)[0]),
    "compute": (lambda f: f, lambda f, c: f.compute()),
    "persist": (lambda f: f, lambda f, c: f.persist().compute()),
    "client.compute": (lambda f: f, lambda f, c: c.compute(f).result()),
    "client.persist": (lambda f: f, lambda f, c: c.persist(f).compute()),
    "delayed": (dask.delayed(lambda x: x), lambda d, c: d.compute()),
    "delayed list": (lambda f: dask.delayed(max)([f, 1]), lambda d, c: d.compute()),
    "array": (lambda f: da.from_delayed(f, (), dtype=int), lambda a, c: a.compute()),
    "bag": (lambda f: db.from_delayed([same([f])]).sum(), lambda b, c: b.compute()),
    "optimize": (lambda f: dask.optimize(f)[0], lambda f, c: f.compute()),
}


@pytest.mark.parametrize("state", ["recorded", "computed", "built, then computed", "dropped"])
@pytest.mark.parametrize("consumer", CONSUMERS)
def test_each_call_runs_once(consumer: str, state: str, client: Any, runs: Any) -> None:
    @python_app
    def parent() -> int:
        runs.count("parent")
        return 20

    @python_app
    def child(x: int) -> int:
        runs.count("child")
        return x + 1

    build, run = CONSUMERS[consumer]
    future: Any = child(parent())
    if state == "computed":
        assert future.compute() == 21
    built = build(future)
    if state == "built, then computed":
        assert future.compute() == 21
    if state == "dropped":
        future = None
    assert run(built, client) == 21
    assert run(built, client) == 21
    if future is not None:
        assert future.result() == 21
        assert future.done()
    assert runs.all() == {"parent": 1, "child": 1}


def test_arguments_joins_and_commands_work(client: Any, tmp_path: Any) -> None:
    @join_app
    def body(n: int) -> Any:
        return [same(i) for i in range(n)]

    @bash_app
    def shell(stdout: Any = None) -> str:
        return "echo hello"

    assert same([dask.delayed(int)(3), same(4)]).compute() == [3, 4]
    assert body(same(3)).compute() == [0, 1, 2]
    assert shell(stdout=str(tmp_path / "o")).compute() == 0
    assert (tmp_path / "o").read_text() == "hello\n"


@pytest.mark.skipif(not SUBMIT_KNOWS_US, reason="an older dask hands over a Delayed, as it is")
def test_a_future_may_be_submitted(client: Any, runs: Any) -> None:
    @python_app
    def counted() -> int:
        runs.count()
        return 20

    future = counted()
    assert client.submit(lambda x: x + 1, future).result() == 21
    assert client.submit(sum, [future, future]).result() == 40
    assert future.result() == 20
    assert runs["run"] == 1


def test_failures_are_told_apart(client: Any) -> None:
    @python_app
    def fail() -> None:
        raise ValueError("why")

    failed = fail()
    after = same(same(failed))
    with pytest.raises(ValueError, match="why"):
        after.compute()
    assert isinstance(failed.exception(), ValueError)
    assert isinstance(after.exception(), daskflow.DependencyError)


def test_a_call_that_was_computed_here_is_not_run_again_under_a_kernel(
    client: Any, runs: Any, tmp_path: Any
) -> None:
    @python_app
    def counted() -> int:
        runs.count()
        return 1

    future = counted()
    remote = client.compute(future)
    assert remote.result() == 1
    config = daskflow.Config(
        executors=[daskflow.ThreadExecutor(max_threads=1)], run_dir=str(tmp_path), dashboard=False
    )
    with daskflow.load(config):
        assert same(future).result() == 1
    assert process.kernel is None
    assert runs["run"] == 1
