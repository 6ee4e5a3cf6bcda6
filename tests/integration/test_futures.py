"""Futures: what demands a call and what does not, and what a future does as a standard Future."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import gc
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import dask
import pytest
from dask.delayed import Delayed

import daskflow
from daskflow import AppFuture, File, python_app


@python_app
def same(x: Any) -> Any:
    return x


@python_app
def add(x: Any, y: Any) -> Any:
    return x + y


@python_app
def fail(text: str) -> None:
    raise ValueError(text)


@python_app
def read(path: str) -> str:
    return Path(path).read_text()


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    """A named pipe: who opens one end waits for the other."""
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


# ---- demand -------------------------------------------------------------------------------------

NO_DEMAND = {
    "repr": repr,
    "str": str,
    "format": lambda f: f"{f}",
    "running": lambda f: f.running(),
    "cancelled": lambda f: f.cancelled(),
    "task_status": lambda f: f.task_status(),
    "key": lambda f: f.key,
    "app_name": lambda f: f.app_name,
    "executor": lambda f: f.executor,
    "outputs": lambda f: f.outputs,
    "stdout": lambda f: f.stdout,
    "hasattr": lambda f: hasattr(f, "shape"),
    "hasattr of a private name": lambda f: hasattr(f, "_private"),
    "item": lambda f: f[0],
    "operator": lambda f: -(f + 1) * 2,
    "attribute": lambda f: f.real.imag,
    "hash": lambda f: {f: 1},
    "equality": lambda f: f == f,  # noqa: PLR0124 # that is what is tested
    "isinstance": lambda f: isinstance(f, concurrent.futures.Future),
    "is_dask_collection": dask.is_dask_collection,
    "the dask graph": lambda f: dict(f.__dask_graph__()),
    "tokenize": dask.base.tokenize,
    "copy": lambda f: (copy.copy(f), copy.deepcopy(f)),
    "building on it": dask.delayed(str),
    "as an argument": same.options(),
    "dir": dir,
}

DEMAND = {
    "result": lambda f, c: f.result(),
    "exception": lambda f, c: f.exception(),
    "done": lambda f, c: f.done(),
    "add_done_callback": lambda f, c: f.add_done_callback(lambda _: None),
    "wait": lambda f, c: concurrent.futures.wait([f], timeout=0),
    "as_completed": lambda f, c: concurrent.futures.as_completed([f]).__next__(),
    "submit": lambda f, c: daskflow.submit(f),
    "gather": lambda f, c: daskflow.gather([f]),
    "dask.compute": lambda f, c: dask.compute(f),
    "dask.persist": lambda f, c: dask.persist(f),
    "client.compute": lambda f, c: c.compute(f),
}


@pytest.mark.parametrize("use", NO_DEMAND)
def test_looking_at_a_future_is_no_demand(use: str, kernel: Any) -> None:
    future = same(1)
    NO_DEMAND[use](future)
    assert future.task_status() == "recorded"
    assert future.result() == 1


@pytest.mark.parametrize("use", DEMAND)
def test_asking_for_a_value_is_demand(use: str, kernel: Any, fifo: str) -> None:
    @python_app
    def tell() -> int:
        return Path(fifo).write_text("running")

    future = tell()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(DEMAND[use], future, kernel.client)
        assert Path(fifo).read_text() == "running"
        asked.result(60)
    assert future.result() == 7


def test_demand_for_one_future_submits_all_that_was_recorded(kernel: Any) -> None:
    first, second = same(1), same(2)
    assert first.result() == 1
    assert second.task_status() != "recorded"
    assert second.result() == 2


# ---- concurrent.futures -------------------------------------------------------------------------


def test_wait_and_as_completed_end_on_futures_nobody_has_submitted(kernel: Any) -> None:
    futures = [same(i) for i in range(20)]
    done, not_done = concurrent.futures.wait(futures, timeout=60)
    assert (done, not_done) == (set(futures), set())
    futures = [same(i) for i in range(20)]
    found = concurrent.futures.as_completed(futures, timeout=60)
    assert sorted(f.result() for f in found) == list(range(20))


def test_wait_returns_with_the_first_exception_and_the_first_completed(
    kernel: Any, fifo: str
) -> None:
    blocked = read(fifo)
    bad = fail("now")
    done, not_done = concurrent.futures.wait(
        [blocked, bad], timeout=60, return_when=concurrent.futures.FIRST_EXCEPTION
    )
    assert (done, not_done) == ({bad}, {blocked})
    done, _ = concurrent.futures.wait(
        [blocked, same(1)], timeout=60, return_when=concurrent.futures.FIRST_COMPLETED
    )
    assert blocked not in done
    Path(fifo).write_text("open")
    assert blocked.result() == "open"


def test_wait_mixes_with_futures_of_other_executors_and_data_futures(
    kernel: Any, tmp_path: Path
) -> None:
    (tmp_path / "made").touch()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writer = same(1, outputs=[File(tmp_path / "made")])
        futures = [pool.submit(int, 1), same(2), *writer.outputs]
        done, not_done = concurrent.futures.wait(futures, timeout=60)
    assert (len(done), not_done) == (3, set())


def test_a_timeout_raises_and_the_call_goes_on(kernel: Any, fifo: str) -> None:
    blocked = read(fifo)
    with pytest.raises(TimeoutError, match=r"read.*0\.01 s"):
        blocked.result(timeout=0.01)
    with pytest.raises(TimeoutError):
        blocked.exception(timeout=0.01)
    assert not blocked.done()
    Path(fifo).write_text("open")
    assert blocked.result(timeout=60) == "open"


def test_several_threads_may_wait_for_one_future(kernel: Any) -> None:
    future = add(same(1), 1)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: future.result(60), range(32))) == [2] * 32


def test_done_callbacks_run_once_with_the_future_also_if_it_has_ended(kernel: Any) -> None:
    future, called, happened = same(1), [], threading.Event()
    future.add_done_callback(called.append)
    future.add_done_callback(lambda f: 1 / 0)
    future.add_done_callback(lambda f: happened.set())
    assert happened.wait(60)
    future.add_done_callback(called.append)
    assert called == [future, future]


def test_a_callback_may_read_its_future_and_make_calls_but_not_wait(kernel: Any) -> None:
    outcome: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def callback(f: Any) -> None:
        after = add(f, 1)
        try:
            same(1).result()
        except daskflow.WouldDeadlockError as error:
            outcome.set_result((f.result(), after, error))

    same(1).add_done_callback(callback)
    value, after, error = outcome.result(60)
    assert value == 1
    assert after.result() == 2
    assert "callback" in str(error)


def test_a_future_is_set_by_nobody_else(kernel: Any) -> None:
    future = same(1)
    for attempt in (
        future.set_running_or_notify_cancel,
        lambda: future.set_result(2),
        lambda: future.set_exception(ValueError()),
    ):
        with pytest.raises(concurrent.futures.InvalidStateError):
            attempt()
    assert future.result() == 1


def test_a_recorded_call_that_is_cancelled_never_runs(kernel: Any, runs: Any) -> None:
    @python_app
    def counted() -> None:
        runs.count()

    future = counted()
    dependent = same(future)
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    assert not future.running()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    with pytest.raises(concurrent.futures.CancelledError):
        future.exception()
    error = dependent.exception()
    assert isinstance(error, daskflow.DependencyError)
    assert isinstance(error.__cause__, concurrent.futures.CancelledError)
    assert runs.all() == {}


def test_a_call_that_has_ended_cannot_be_cancelled(kernel: Any) -> None:
    future = same(1)
    assert future.result() == 1
    assert not future.cancel()
    assert future.result() == 1


def test_waiters_hear_of_a_cancelled_future(kernel: Any) -> None:
    future = same(1)
    assert future.cancel()
    done, _ = concurrent.futures.wait([future], timeout=60)
    assert done == {future}
    assert next(concurrent.futures.as_completed([future], timeout=60)) is future


def test_an_exception_comes_with_what_happened_where(kernel: Any) -> None:
    future = fail("why")
    error = future.exception()
    assert isinstance(error, ValueError)
    assert (error.daskflow.app, error.daskflow.key, error.daskflow.attempt) == (
        "fail",
        future.key,
        1,
    )
    with pytest.raises(ValueError, match="why") as caught:
        future.result()
    frames = [frame.name for frame in caught.traceback]
    assert frames[-1] == "fail"


# ---- asyncio ------------------------------------------------------------------------------------


def test_futures_can_be_awaited(kernel: Any) -> None:
    async def main() -> Any:
        wrapped = asyncio.wrap_future(same(2))
        many = await asyncio.gather(*[same(i) for i in range(5)])
        with pytest.raises(ValueError, match="why"):
            await fail("why")
        return await same(1), await wrapped, many, await asyncio.wait_for(add(1, 2), 60)

    assert asyncio.run(main()) == (1, 2, [0, 1, 2, 3, 4], 3)


# ---- derived futures ----------------------------------------------------------------------------


def test_items_attributes_and_operators_are_lazy_futures_of_their_value(kernel: Any) -> None:
    number, words = same(7), same({"k": ["a", "b"]})
    derived = {
        words["k"][1]: "b",
        words.get("k"): ["a", "b"],
        same(3 + 4j).imag: 4.0,
        number + 1: 8,
        1 + number: 8,
        number - 1: 6,
        10 - number: 3,
        number * number: 49,
        number / 2: 3.5,
        number // 2: 3,
        number % 4: 3,
        2**number: 128,
        -number: -7,
        ~number: -8,
        abs(-number): 7,
        number < 8: True,
        number >= 8: False,
        number & 3: 3,
        number << 1: 14,
        same("ab").upper().lower(): "ab",
        same([1, 2, 3])[same(1)]: 2,
    }
    for future, expected in derived.items():
        assert isinstance(future, AppFuture)
        assert future.result() == expected
        assert dask.compute(future) == (expected,)


def test_a_derived_future_runs_on_demand_only(kernel: Any) -> None:
    base = same([1, 2])
    item, total = base[0], base * 2
    assert base.result() == [1, 2]
    daskflow.wait_for_current_tasks()
    assert (item.task_status(), total.task_status()) == ("recorded", "recorded")
    assert add(item, 1).result() == 2
    assert item.task_status() == "exec_done"
    assert total.task_status() == "recorded"


def test_a_derived_future_that_fails_raises_what_the_operation_raised(kernel: Any) -> None:
    with pytest.raises(KeyError, match="missing"):
        same({})["missing"].result()
    with pytest.raises(AttributeError, match="missing"):
        same({}).missing.result()
    with pytest.raises(daskflow.DependencyError):
        (fail("why") + 1).result()


def test_nothing_derived_is_run_or_missed_when_the_interpreter_ends(script: Any) -> None:
    done = script(
        """
        import daskflow

        @daskflow.python_app
        def one():
            return [1]

        if __name__ == "__main__":
            config = daskflow.Config(
                executors=[daskflow.ThreadExecutor(max_threads=1)], dashboard=False
            )
            with daskflow.load(config):
                future = one()
                item = future[0]
                print(hasattr(future, "shape"), future.result())
            print(item.task_status())
        """
    )
    assert done.stderr == ""
    assert done.stdout == "True [1]\nrecorded\n"


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("results", "result"), ("resul", "result"), ("dome", "done"), ("cancle", "cancel")],
)
def test_a_name_one_edit_from_a_public_one_is_an_error_with_a_hint(
    typo: str, meant: str, kernel: Any
) -> None:
    future = same(1)
    with pytest.raises(AttributeError, match=f"did you mean {meant!r}"):
        getattr(future, typo)
    assert not hasattr(future, typo)


def test_private_names_are_no_attributes_of_the_value(kernel: Any) -> None:
    future = same(1)
    for name in ("_repr_html_", "__array__", "_ipython_display_", "__len_hint__"):
        assert not hasattr(future, name)


def test_what_needs_the_value_at_once_is_a_clear_error(kernel: Any) -> None:
    future = same([1])
    with pytest.raises(TypeError, match=r"cannot be iterated.*\.result\(\)"):
        list(future)
    with pytest.raises(TypeError, match="cannot be iterated"):
        _first, _second = future
    with pytest.raises(TypeError, match=r"truth.*\.result\(\)"):
        bool(future)
    with pytest.raises(TypeError, match=r"len\(\)"):
        len(future)
    with pytest.raises(TypeError, match=r"'in'"):
        1 in future  # noqa: B015 # it raises
    with pytest.raises(TypeError, match="cannot be changed"):
        future[0] = 1
    assert future.task_status() == "recorded"


def test_equality_is_identity(kernel: Any) -> None:
    first, second = same(1), same(1)
    assert first == first  # noqa: PLR0124 # that is what is tested
    assert first != second
    assert (first == 1) is False
    assert len({first, second, first}) == 2
    assert [first, second].index(second) == 1


# ---- what it is ---------------------------------------------------------------------------------


def test_a_future_is_a_dask_collection_and_a_standard_future(kernel: Any) -> None:
    future = same(1)
    assert isinstance(future, concurrent.futures.Future)
    assert isinstance(future, Delayed)
    assert dask.is_dask_collection(future)


def test_repr_says_app_key_and_state(kernel: Any) -> None:
    future = same(1)
    assert repr(future) == f"<AppFuture same {future.key}: recorded>"
    assert future.result() == 1
    assert repr(future) == f"<AppFuture same {future.key}: exec_done>"
    bad = fail("x")
    assert bad.exception() is not None
    assert repr(bad).endswith(": failed>")


def test_a_pickled_future_is_a_delayed_of_its_value(kernel: Any) -> None:
    future = same(5)
    copied = pickle.loads(pickle.dumps(future))
    assert isinstance(copied, Delayed)
    assert copied.compute() == 5
    assert future.result() == 5


def test_a_dropped_future_still_runs_for_those_who_need_it(kernel: Any, runs: Any) -> None:
    @python_app
    def counted(x: int) -> int:
        runs.count()
        return x

    future = counted(1)
    after = same(future)
    del future
    gc.collect()
    assert after.result() == 1
    assert runs["run"] == 1


def test_a_large_value_stays_on_its_worker_until_somebody_asks(kernel: Any) -> None:
    @python_app
    def large() -> bytes:
        return bytes(3 * 2**20)

    @python_app
    def size(data: bytes) -> int:
        return len(data)

    future = large()
    assert size(future).result() == 3 * 2**20
    assert future.exception() is None
    assert future.result() == bytes(3 * 2**20)
    assert future.result() is future.result()
