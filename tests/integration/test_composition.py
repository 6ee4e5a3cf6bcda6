"""The composition matrix: what Dask makes of a future, in every state of it, runs each call once.

::

    consumer (built from a future, then run)  x  state of the future  x  kernel loaded, or none
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import daskflow
from daskflow.futures.recording import process

KINDS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "number": (lambda: 20, lambda x: x + 1),
    "array": (lambda: np.arange(4), lambda x: x + 1),
    "frame": (lambda: pd.DataFrame({"x": [1, 2, 3]}), lambda x: x + 1),
    "list": (lambda: [1, 2, 3], lambda x: [*x, 4]),
}


@dataclass(frozen=True)
class Consumer:
    """`build` makes something of a future (and may keep it), `run` makes the value of that."""

    name: str
    build: Callable[[Any], Any]
    run: Callable[[Any, Any], Any]
    expected: Any
    kind: str = "number"
    needs_client: bool = False

    def __str__(self) -> str:
        return self.name


def itself(f: Any) -> Any:
    return f


def compute(thing: Any, _client: Any) -> Any:
    return dask.compute(thing)[0]


def double(x: Any) -> Any:
    return 2 * x


delayed_double = dask.delayed(double)
delayed_sum = dask.delayed(lambda xs: sum(xs.values()) if isinstance(xs, dict) else sum(xs))
META = pd.DataFrame({"x": [1]})


def mixture(f: Any) -> tuple[Any, ...]:
    frame = dd.from_pandas(pd.DataFrame({"x": [1, 2]}), npartitions=2)
    return (
        delayed_double(1),
        f,
        da.arange(4, chunks=2).sum(),
        delayed_double(f),
        db.from_sequence([1, 2], npartitions=2).sum(),
        f + 1,
        frame.x.sum(),
        da.from_delayed(f, (), dtype=int) + 1,
    )


CONSUMERS = [
    Consumer("dask.compute", itself, compute, 21),
    Consumer("f.compute", itself, lambda f, _: f.compute(), 21),
    Consumer("dask.compute of a dict", lambda f: {"a": [f]}, compute, {"a": [21]}),
    Consumer("dask.persist", itself, lambda f, _: dask.persist(f)[0].compute(), 21),
    Consumer("f.persist", itself, lambda f, _: f.persist().compute(), 21),
    Consumer("dask.optimize", lambda f: dask.optimize(f)[0], compute, 21),
    Consumer("delayed", delayed_double, compute, 42),
    Consumer("delayed list", lambda f: delayed_sum([f, 1, f]), compute, 43),
    Consumer("delayed dict", lambda f: delayed_sum({"a": f, "b": 2}), compute, 23),
    Consumer("delayed keyword", lambda f: delayed_double(x=f), compute, 42),
    Consumer(
        "two consumers",
        lambda f: [delayed_double(f), delayed_sum([f, f])],
        lambda both, _: dask.compute(*both),
        (42, 42),
    ),
    Consumer("persist of a consumer", delayed_double, lambda d, _: d.persist().compute(), 42),
    Consumer("optimize of a consumer", lambda f: dask.optimize(delayed_double(f))[0], compute, 42),
    Consumer(
        "da.from_delayed",
        lambda f: da.from_delayed(f, (4,), dtype=int).sum(),
        compute,
        10,
        kind="array",
    ),
    Consumer(
        "da.from_delayed, rechunked and stacked",
        lambda f: da.concatenate([da.from_delayed(f, (4,), dtype=int)] * 2).rechunk(3).sum(),
        compute,
        20,
        kind="array",
    ),
    Consumer(
        "dd.from_delayed",
        lambda f: dd.from_delayed([f, f], meta=META, verify_meta=False).x.sum(),
        compute,
        18,
        kind="frame",
    ),
    Consumer(
        "db.from_delayed",
        lambda f: db.from_delayed([f]).map(double).sum(),
        compute,
        20,
        kind="list",
    ),
    Consumer(
        "optimize of a bag",
        lambda f: dask.optimize(db.from_delayed([f]).map(double))[0].sum(),
        compute,
        20,
        kind="list",
    ),
    Consumer(
        # daskflow.compute: without a kernel, dask.compute mixes up the order.
        "mixture",
        mixture,
        lambda m, _: daskflow.compute(*m),
        (2, 21, 6, 42, 3, 22, 3, 22),
    ),
    Consumer("client.compute", itself, lambda f, c: c.compute(f).result(), 21, needs_client=True),
    Consumer(
        "client.compute of a list",
        lambda f: [f, delayed_double(f)],
        lambda fs, c: c.gather(c.compute(fs)),
        [21, 42],
        needs_client=True,
    ),
    Consumer("client.persist", itself, lambda f, c: c.persist(f).compute(), 21, needs_client=True),
    Consumer(
        "client.persist of a list",
        lambda f: [f, delayed_double(f)],
        lambda fs, c: list(dask.compute(*c.persist(fs))),
        [21, 42],
        needs_client=True,
    ),
    Consumer(
        "client.submit", itself, lambda f, c: c.submit(double, f).result(), 42, needs_client=True
    ),
    Consumer(
        "client.submit with a list",
        itself,
        lambda f, c: c.submit(sum, [f, f]).result(),
        42,
        needs_client=True,
    ),
    Consumer(
        "client.map",
        itself,
        lambda f, c: c.gather(c.map(double, [f, 1])),
        [42, 2],
        needs_client=True,
    ),
    Consumer("client.gather", itself, lambda f, c: c.gather([f]), [21], needs_client=True),
    Consumer("client.gather of one", itself, lambda f, c: c.gather(f), 21, needs_client=True),
    Consumer("client.get", itself, lambda f, c: c.get(f.dask, f.key), 21, needs_client=True),
]

STATES = [
    "recorded",
    "submitted",
    "finished",
    "built, then submitted",
    "built, then finished",
    "built, then dropped",
    "built, finished, then dropped",
    "finished, built, then dropped",
]


def build_in_state(consumer: Consumer, state: str, make: Callable[[], Any]) -> tuple[Any, Any]:
    """Return what the consumer built, and the future unless the test drops it."""
    f = make()
    if state == "submitted":
        daskflow.submit(f)
    if state.startswith("finished"):
        finish(f)
    built = consumer.build(f)
    if state == "built, then submitted":
        daskflow.submit(f)
    if state.startswith(("built, then finished", "built, finished")):
        finish(f)
    if state.endswith("dropped"):
        del f
        gc.collect()
        return built, None
    return built, f


def finish(f: Any) -> None:
    """End the future by the verb at hand: the kernel's, or Dask's own run."""
    if process.kernel is None:
        f.compute()
    else:
        f.result()


def calls_of(kind: str, runs: Any) -> Callable[[], Any]:
    """Return what makes a future of a chain of two calls, each of which counts its runs."""
    first, second = KINDS[kind]

    @daskflow.python_app
    def parent() -> Any:
        runs.count("parent")
        return first()

    @daskflow.python_app
    def child(x: Any) -> Any:
        runs.count("child")
        return second(x)

    return lambda: child(parent())


def check(consumer: Consumer, state: str, runs: Any, client: Any) -> None:
    built, f = build_in_state(consumer, state, calls_of(consumer.kind, runs))
    assert consumer.run(built, client) == consumer.expected
    assert consumer.run(built, client) == consumer.expected
    if f is not None:
        f.result()
    assert runs.all() == {"parent": 1, "child": 1}


@pytest.fixture(scope="module", params=["sync", "threads", "kernel"])
def scheduler(request: pytest.FixtureRequest) -> Any:
    """The client of a kernel, or the name of the scheduler that runs calls without one.

    The parameter groups the tests: those without a kernel come first.
    """
    if request.param == "kernel":
        return request.getfixturevalue("kernel").client
    return request.param


def skip_if_meaningless(scheduler: Any, consumer: Consumer, state: str) -> None:
    if isinstance(scheduler, str) and (consumer.needs_client or "submitted" in state):
        pytest.skip("needs a kernel")


# Dask says so of any data frame that is computed with something else.
@pytest.mark.filterwarnings("ignore:Computing mixed collections:UserWarning")
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("consumer", CONSUMERS, ids=str)
def test_each_call_runs_once(consumer: Consumer, state: str, scheduler: Any, runs: Any) -> None:
    skip_if_meaningless(scheduler, consumer, state)
    if not isinstance(scheduler, str):
        check(consumer, state, runs, scheduler)
        return
    with dask.config.set(scheduler=scheduler):
        check(consumer, state, runs, None)
    assert process.kernel is None


def test_dask_compute_keeps_the_asked_order_while_a_kernel_is_loaded(kernel: Any) -> None:
    values = dask.compute(dask.delayed(1), da.arange(3, chunks=2).sum(), dask.delayed(2))
    assert values == (1, 3, 2)


def test_the_graph_of_a_future_has_a_node_for_each_call(runs: Any) -> None:
    @daskflow.python_app
    def step(x: Any) -> Any:
        runs.count()
        return x

    first = step(1)
    second = step([first, first])
    graph = dict(second.__dask_graph__())
    assert set(graph) == {first.key, second.key}
    assert graph[second.key].dependencies == {first.key}
    assert runs["run"] == 0


def joined(runs: Any) -> Any:
    @daskflow.python_app
    def part(x: int) -> int:
        runs.count("part")
        return x + 1

    @daskflow.join_app
    def whole(x: int) -> Any:
        runs.count("body")
        return part(part(x))

    return whole(19)


JOIN_CONSUMERS = {
    "dask.compute": lambda j, c: dask.compute(j)[0] * 2,
    "delayed": lambda j, c: delayed_double(j).compute(),
    "da.from_delayed": lambda j, c: da.from_delayed(j, (), dtype=int).compute() * 2,
    "persist": lambda j, c: j.persist().compute() * 2,
    "client.submit": lambda j, c: c.submit(double, j).result(),
    "app of a delayed": lambda j, c: daskflow.python_app(lambda x: x)(delayed_double(j)).result(),
    "a call that takes it": lambda j, c: daskflow.python_app(double)(j).compute(),
    "app of an item": lambda j, c: daskflow.python_app(lambda x: x)(j * 2).result(),
}


@pytest.mark.parametrize("consumer", JOIN_CONSUMERS)
def test_a_join_composes_as_any_other_call_does(consumer: str, kernel: Any, runs: Any) -> None:
    assert JOIN_CONSUMERS[consumer](joined(runs), kernel.client) == 42
    assert runs.all() == {"body": 1, "part": 2}


def failing(runs: Any, batch: bool) -> Any:
    @daskflow.python_app(batch=batch)
    def fail() -> None:
        runs.count("fail")
        raise ValueError("why")

    @daskflow.python_app(batch=batch)
    def after(x: Any) -> Any:
        runs.count("after")
        return x

    return fail, after


@pytest.mark.parametrize("batch", [False, True], ids=["alone", "batch"])
@pytest.mark.parametrize("looked_at", [False, True], ids=["recorded", "ended"])
@pytest.mark.parametrize(
    "consume",
    [
        lambda f, c: f.compute(),
        lambda f, c: delayed_double(f).compute(),
        lambda f, c: c.compute(f).result(),
        lambda f, c: c.submit(double, f).result(),
        lambda f, c: da.from_delayed(f, (), dtype=int).compute(),
    ],
    ids=["compute", "delayed", "client.compute", "client.submit", "array"],
)
def test_a_failure_reaches_the_consumer_as_it_reaches_the_future(
    consume: Any, looked_at: bool, batch: bool, kernel: Any, runs: Any
) -> None:
    fail, after = failing(runs, batch)
    own = fail()
    if looked_at:
        assert own.exception() is not None
    with pytest.raises(ValueError, match="why"):
        consume(own, kernel.client)
    assert isinstance(own.exception(), ValueError)
    dependent = after(after(fail()))
    if looked_at:
        assert dependent.exception() is not None
    with pytest.raises(daskflow.DependencyError) as caught:
        consume(dependent, kernel.client)
    assert caught.value.key == dependent.key
    assert isinstance(caught.value.__cause__, ValueError)
    error = dependent.exception()
    assert isinstance(error, daskflow.DependencyError)
    assert isinstance(error.__cause__, ValueError)
    assert runs.all() == {"fail": 2}


def test_a_retry_heals_a_failure_before_a_consumer_sees_it(kernel: Any, runs: Any) -> None:
    @daskflow.python_app(retries=daskflow.Retry(attempts=3, backoff_s=0.01))
    def flaky() -> int:
        runs.count()
        if runs["run"] < 3:
            raise OSError("again")
        return 21

    assert delayed_double(flaky()).compute() == 42
