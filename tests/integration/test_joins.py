"""Join apps: the value is what the returned futures come to; nothing waits on a worker."""

from __future__ import annotations

import os
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import get_worker

import daskflow
from daskflow import join_app, python_app
from daskflow.futures.recording import process
from daskflow.worker.keys import call_key, inner_number
from daskflow.worker.outcome import REMOTE


@python_app
def same(x: Any) -> Any:
    return x


@python_app
def add(x: int, y: int) -> int:
    return x + y


@python_app
def fail(text: str) -> None:
    raise ValueError(text)


@join_app
def through(x: Any) -> Any:
    return same(x)


@join_app
def fib(n: int) -> Any:
    return same(n) if n < 2 else add(fib(n - 1), fib(n - 2))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda: same(1), 1),
        (lambda: [same(1), same(2)], [1, 2]),
        (lambda: (same(1), same(2)), (1, 2)),
        (lambda: {"a": same(1), 2: same(2)}, {"a": 1, 2: 2}),
        (lambda: {"a": [same(1), (same(2),)]}, {"a": [1, (2,)]}),
        (lambda: [*()], []),
        (lambda: through(5), 5),
        (lambda: [through(through(5)), same(1)], [5, 1]),
        (lambda: same([7])[0], 7),
        (lambda: same([7])[0] + same(1), 8),
        (lambda: same("abc").upper(), "ABC"),
        (lambda: same(dask.delayed(int)(3)), 3),
        (lambda: same(bytes(2 * 2**20))[0], 0),
        (lambda: add(*[same(1)] * 2), 2),
    ],
)
def test_the_value_of_a_join_is_that_of_what_its_body_returns(
    body: Any, expected: Any, kernel: Any
) -> None:
    future = join_app(body)()
    assert future.result() == expected
    assert type(future.result()) is type(expected)


def test_one_future_returned_twice_runs_once(kernel: Any, runs: Any) -> None:
    @python_app
    def part() -> int:
        runs.count("part")
        return 1

    @join_app
    def body() -> Any:
        runs.count("body")
        future = part()
        return [future, future, add(future, future)]

    joined = body()
    assert (joined.result(), joined.result()) == ([1, 1, 2], [1, 1, 2])
    assert runs.all() == {"body": 1, "part": 1}


def test_calls_that_a_body_makes_and_does_not_return_run_too(kernel: Any, runs: Any) -> None:
    @python_app
    def aside() -> None:
        runs.count()

    @join_app
    def body() -> Any:
        aside()
        return same(1)

    assert body().result() == 1
    daskflow.wait_for_current_tasks()
    assert runs["run"] == 1


def test_a_body_decides_by_the_values_of_its_arguments(kernel: Any) -> None:
    @join_app
    def spread(n: int) -> Any:
        return [same(i) for i in range(n)]

    @python_app
    def total(xs: list[int]) -> int:
        return sum(xs)

    assert total(spread(same(4))).result() == 6


@pytest.mark.timeout(300)  # some 4,000 calls, one after another: half a minute on a busy machine
def test_recursion_needs_no_more_workers_than_there_are(kernel: Any) -> None:
    assert fib(15).result() == 610


def test_five_hundred_joins_may_wait_at_once(kernel: Any, runs: Any, tmp_path: Path) -> None:
    gate_path, all_waiting = str(tmp_path / "gate"), str(tmp_path / "all")
    os.mkfifo(gate_path)
    os.mkfifo(all_waiting)
    told = os.open(all_waiting, os.O_RDWR)
    opener = os.open(gate_path, os.O_RDWR)

    def opened(path: str) -> str:
        with Path(path).open("rb", buffering=0) as pipe:
            return "open" if pipe.read(1) else "left"

    # One task that all inner calls need; it occupies a worker until the test opens the gate. Bodies that
    # come home later than all others' inner calls have ended have it run again, as Dask does with a
    # collection that nobody keeps: then it is open at once.
    gate = dask.delayed(opened)(gate_path, dask_key_name="gate")

    @join_app
    def body(i: int) -> Any:
        runs.count()
        if runs["run"] == 500:
            Path(all_waiting).write_text("all")
        return same([i, gate])

    joins = [body(i) for i in range(500)]
    daskflow.submit(*joins)
    assert os.read(told, 3) == b"all"
    assert not any(join.done() for join in joins)
    os.write(opener, bytes(500))
    assert daskflow.gather(joins) == [[i, "open"] for i in range(500)]
    os.close(opener)
    os.close(told)  # not before: two bodies may have seen that they are all


def test_what_a_join_returns_flows_to_calls_and_joins_after_it(kernel: Any) -> None:
    assert add(through(1), through(through(2))).result() == 3


def test_a_failed_inner_call_fails_the_join(kernel: Any) -> None:
    joined = join_app(lambda: [same(1), fail("first"), fail("second")])()
    with pytest.raises(daskflow.JoinError, match=r"root cause ValueError: first") as caught:
        joined.result()
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.key == joined.key
    assert caught.value.others == 1
    with pytest.raises(daskflow.DependencyError) as after:
        same(joined).result()
    assert isinstance(after.value.__cause__, ValueError)


def test_a_failure_deep_inside_shows_its_root(kernel: Any) -> None:
    joined = join_app(lambda: through(add(fail("root"), 1)))()
    with pytest.raises(daskflow.JoinError) as caught:
        joined.result()
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.path[-1].startswith("fail-")


@pytest.mark.parametrize(
    ("body", "named"),
    [(lambda: 1, "int"), (lambda: None, "NoneType"), (lambda: [same(1), 2], "list with int")],
)
def test_a_body_that_returns_something_else_is_an_error(body: Any, named: str, kernel: Any) -> None:
    with pytest.raises(TypeError, match=f"must return a future.*{named}"):
        join_app(body)().result()


def test_a_body_that_raises_fails_its_join_as_any_app(kernel: Any) -> None:
    @join_app
    def body() -> Any:
        raise LookupError("no plan")

    with pytest.raises(LookupError, match="no plan") as caught:
        body().result()
    assert caught.value.daskflow.app == "body"


def test_a_body_that_fails_first_is_tried_again_without_running_its_calls_twice(
    kernel: Any, runs: Any
) -> None:
    @python_app
    def part() -> int:
        runs.count("part")
        return 1

    @join_app(retries=1)
    def body() -> Any:
        runs.count("body")
        future = part()
        if runs["body"] == 1:
            raise OSError("again")
        return future

    assert body().result() == 1
    assert runs.all() == {"body": 2, "part": 1}


def test_a_body_cannot_demand_a_future(kernel: Any) -> None:
    @join_app
    def impatient() -> Any:
        return same(same(1).result())

    with pytest.raises(daskflow.NoDataFlowKernelError, match="join app's body"):
        impatient().result()


def test_a_python_app_cannot_demand_a_future(kernel: Any) -> None:
    @python_app
    def impatient() -> Any:
        return same(1).result()

    with pytest.raises(daskflow.NoDataFlowKernelError, match="join_app"):
        impatient().result()


def test_the_options_of_inner_apps_hold(kernel: Any, runs: Any) -> None:
    @python_app(retries=2)
    def flaky() -> int:
        runs.count()
        if runs["run"] < 3:
            raise OSError("again")
        return runs["run"]

    @join_app
    def body() -> Any:
        return flaky()

    assert body().result() == 3


def test_a_join_in_progress_says_so(kernel: Any) -> None:
    joined = through(1)
    assert joined.task_status() == "recorded"
    assert joined.result() == 1
    assert joined.task_status() == "exec_done"


@python_app(batch=True)
def task_of_this(*_args: Any) -> Any:
    return get_worker().get_current_task()


@join_app(batch=True)
def joined_task() -> Any:
    return task_of_this()


@python_app(batch=True)
def with_own_task(value: Any) -> Any:
    return value, get_worker().get_current_task()


def test_what_needs_a_join_is_sent_with_the_call_that_its_body_returned(kernel: Any) -> None:
    for _ in range(12):  # what the first calls in a process cost says nothing of the others
        daskflow.gather([with_own_task(task_of_this()) for _ in range(4)])
    tasks = (with_own_task(joined_task()).result() for _ in range(3))  # one may be handed back
    assert any(inner == outer for inner, outer in tasks)


def test_inner_calls_are_named_after_their_join_and_the_attempt_that_made_them(
    kernel: Any,
) -> None:
    @join_app(retries=1)
    def body(fails: bool, path: str) -> Any:
        if fails and not Path(path).exists():
            Path(path).write_text("once")
            raise OSError("again")
        return [same(1), fail("an inner call")]

    def inner_key(joined: Any) -> str:
        with pytest.raises(daskflow.JoinError) as caught:
            joined.result()
        return str(caught.value.path[0])

    first, again = body(False, ""), body(True, str(Path(kernel.run_dir, "once")))
    for joined, attempt in ((first, 1), (again, 2)):
        number = inner_number(joined.call.number, attempt, 1)
        assert inner_key(joined) == call_key("fail", process.run, number)


def test_large_values_of_a_list_are_not_fetched_to_be_put_together(kernel: Any) -> None:
    @join_app
    def parts() -> Any:
        return [same(bytes(2 * 2**20)), same(b"small")]

    @python_app
    def sizes(values: list[bytes]) -> list[int]:
        return [len(value) for value in values]

    joined = parts()
    assert sizes(joined).result() == [2 * 2**20, 5]
    assert joined.call.value is REMOTE
    assert joined.result() == [bytes(2 * 2**20), b"small"]


def test_an_isolated_join_runs_its_body_in_a_child_process(kernel: Any) -> None:
    @join_app(isolate=True)
    def body() -> Any:
        return add(os.getpid() * 0, 2)

    assert body().result() == 2


def test_a_join_that_is_cancelled_while_it_waits_ends_what_needs_it(
    kernel: Any, tmp_path: Path
) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    @python_app
    def waits(path: str) -> str:
        return Path(path).read_text()

    @join_app
    def body(path: str) -> Any:
        return waits(path)

    joined = body(fifo)
    after = same(joined)
    daskflow.submit(after)
    with Path(fifo).open("w"):  # once the inner call runs
        assert joined.cancel()
    with pytest.raises(daskflow.DependencyError) as caught:
        after.result()
    assert isinstance(caught.value.__cause__, CancelledError)
