"""Arguments: whatever holds a value that is to come, wherever it lies, reaches the function computed."""

from __future__ import annotations

import concurrent.futures
import threading
from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

import daskflow
from daskflow import File, python_app

MIB = 2**20


@python_app
def same(*args: Any, **kwargs: Any) -> Any:
    return (args, kwargs) if kwargs else args[0] if len(args) == 1 else args


@python_app
def three() -> int:
    return 3


def finished(value: Any) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_result(value)
    return future


SOURCES = {
    "AppFuture": lambda kernel: three(),
    "item of an AppFuture": lambda kernel: same([1, 2, 3])[2],
    "plain future": lambda kernel: finished(3),
    "distributed future": lambda kernel: kernel.client.submit(int, 3, pure=False),
    "Delayed": lambda kernel: dask.delayed(int)(3),
    "dask Array": lambda kernel: da.arange(3, chunks=2).sum(),
    "Bag": lambda kernel: db.from_sequence([1, 2], npartitions=2).sum(),
    "DataFrame": lambda kernel: dd.from_pandas(pd.DataFrame({"x": [1, 2]}), npartitions=2).x.sum(),
}


def holders() -> dict[str, Any]:
    """Ways to hold a value, made of classes that no worker can import."""

    @dataclass
    class Point:
        x: Any
        y: Any = 0

    class Holder:
        def __init__(self, value: Any):
            self.value = value

    local_pair = namedtuple("local_pair", "left right")
    return {
        "itself": (lambda v: v, lambda h: h),
        "list": (lambda v: [1, v], lambda h: h[1]),
        "tuple": (lambda v: (1, v), lambda h: h[1]),
        "namedtuple": (lambda v: local_pair(1, v), lambda h: h.right),
        "set": (lambda v: {v}, lambda h: next(iter(h))),
        "dict key": (lambda v: {v: 1}, lambda h: next(iter(h))),
        "dict value": (lambda v: {"k": v}, lambda h: h["k"]),
        "dataclass": (Point, lambda h: h.x),
        "object": (Holder, lambda h: h.value),
        "deep": (lambda v: [{"a": (Holder([v]),)}], lambda h: h[0]["a"][0].value[0]),
    }


@pytest.mark.parametrize("holder", holders())
@pytest.mark.parametrize("source", SOURCES)
def test_a_value_to_come_is_found_wherever_it_lies(source: str, holder: str, kernel: Any) -> None:
    hold, open_ = holders()[holder]
    value = SOURCES[source](kernel)
    if holder in ("set", "dict key") and value.__hash__ is None:
        pytest.skip("cannot be hashed")

    @python_app
    def opened(held: Any) -> Any:
        return open_(held)

    assert opened(hold(value)).result() == 3
    assert opened(held=hold(value)).result() == 3


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("source", [s for s in SOURCES if s != "distributed future"])
def test_so_it_is_under_a_scheduler_of_this_process(
    source: str, scheduler: str, kernel: Any
) -> None:
    value = SOURCES[source](kernel)
    with dask.config.set(scheduler=scheduler):
        assert same([value, {"k": value}], x=value).compute(scheduler=scheduler) == (
            ([3, {"k": 3}],),
            {"x": 3},
        )


def test_collections_arrive_as_what_they_compute_to(kernel: Any) -> None:
    frame = pd.DataFrame({"x": [1, 2, 3]})
    array, same_frame, bag = same(
        da.arange(4, chunks=2), dd.from_pandas(frame, npartitions=2), db.from_sequence([1, 2])
    ).result()
    np.testing.assert_array_equal(array, np.arange(4))
    pd.testing.assert_frame_equal(same_frame, frame)
    assert bag == [1, 2]


def test_a_collection_that_many_calls_take_is_computed_once(kernel: Any, runs: Any) -> None:
    def counted(x: Any) -> Any:
        runs.count()
        return x

    delayed = dask.delayed(counted)(5)
    array = da.arange(4, chunks=4).map_blocks(counted, meta=np.array([], dtype=int))
    futures = [same(delayed) for _ in range(10)] + [same([array, delayed]) for _ in range(10)]
    daskflow.gather(futures)
    assert runs["run"] == 2


def test_a_plain_future_may_come_true_later_and_elsewhere(kernel: Any) -> None:
    go = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(lambda: go.wait() and 41)
        ours = same([theirs])
        later = same(ours)
        independent = same(1)
        assert independent.result() == 1
        assert not ours.done()
        go.set()
        assert later.result() == [41]


def test_a_plain_future_that_fails_fails_the_calls_that_take_it(kernel: Any) -> None:
    theirs: concurrent.futures.Future[int] = concurrent.futures.Future()
    theirs.set_exception(ValueError("theirs"))
    with pytest.raises(daskflow.DependencyError) as caught:
        same(theirs).result()
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_collection_that_fails_fails_the_calls_that_take_it(kernel: Any) -> None:
    with pytest.raises(daskflow.DependencyError) as caught:
        same(dask.delayed(lambda: 1 / 0)()).result()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert same(1).result() == 1


def test_a_data_future_stands_for_its_file(kernel: Any, tmp_path: Path) -> None:
    @python_app
    def write(text: str, outputs: Any = ()) -> None:
        Path(outputs[0]).write_text(text)

    @python_app
    def read(source: Any, inputs: Any = ()) -> Any:
        return Path(source).read_text(), [Path(f).read_text() for f in inputs]

    written = write("hello", outputs=[File(tmp_path / "a")])
    (data,) = written.outputs
    assert read(data, inputs=[data]).result() == ("hello", ["hello"])
    assert data.result() == File(tmp_path / "a")
    assert data.done()
    assert data.exception() is None
    assert (data.parent, data.filename) == (written, "a")


def test_a_data_future_fails_as_its_call_does(kernel: Any, tmp_path: Path) -> None:
    promised = same(1, outputs=[File(tmp_path / "never")])
    assert isinstance(promised.outputs[0].exception(), daskflow.MissingOutputs)
    with pytest.raises(daskflow.DependencyError, match="MissingOutputs"):
        same(promised.outputs[0]).result()


# ---- the moment of the call ---------------------------------------------------------------------


def test_arguments_are_what_they_were_at_the_call(kernel: Any) -> None:
    words, large, table = ["a"], np.zeros(MIB), {"k": [1]}
    future = same(words, large, table)
    words.append("b")
    large[:] = 1
    table["k"].append(2)
    got_words, got_large, got_table = future.result()
    assert (got_words, got_table) == (["a"], {"k": [1]})
    assert got_large.sum() == 0
    assert same(large).result().sum() == MIB


def test_a_call_that_changes_its_argument_changes_no_other_calls_argument(kernel: Any) -> None:
    @python_app
    def greedy(xs: Any) -> Any:
        xs.append(0)
        return len(xs)

    shared = same([1, 2])
    assert [greedy(shared).result() for _ in range(3)] == [3, 3, 3]
    assert shared.result() == [1, 2]


def sent_by(kernel: Any, record: Any) -> int:
    """Return how many bytes of graphs go to the scheduler for the calls that `record` makes."""
    from distributed.protocol.pickle import dumps

    sent: list[int] = []
    client = kernel.client
    original = client._graph_to_futures

    def measured(expr: Any, *args: Any, **kwargs: Any) -> Any:
        buffers: list[Any] = []
        sent.append(len(dumps(expr, buffer_callback=buffers.append)))
        sent.extend(len(b.raw()) for b in buffers)
        return original(expr, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_graph_to_futures", measured)
        daskflow.gather(record())
    return sum(sent)


@pytest.mark.parametrize(
    "large",
    [np.zeros(2 * MIB, dtype="u1"), b"x" * 2 * MIB, "x" * 2 * MIB, list(range(MIB // 2))],
    ids=["array", "bytes", "str", "list"],
)
def test_a_large_literal_is_sent_once_however_many_calls_take_it(large: Any, kernel: Any) -> None:
    @python_app
    def size(x: Any, i: int) -> int:
        return len(x) + i

    one = sent_by(kernel, lambda: [size(large, 0)])
    hundred = sent_by(kernel, lambda: [size(large, i) for i in range(100)])
    assert MIB < one < 6 * MIB
    assert hundred < one + MIB


# ---- what is refused ----------------------------------------------------------------------------


def test_a_future_in_a_closure_is_refused(kernel: Any) -> None:
    captured = three()

    @python_app
    def closure(x: int) -> Any:
        return captured, x

    with pytest.raises(daskflow.CapturedFutureError, match=r"'closure'.*'three'.*argument"):
        closure(1).result()
    assert same(1).result() == 1


CAPTURED: Any = None


def test_a_future_in_a_global_is_refused(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "CAPTURED", three())

    @python_app
    def uses_global(x: int) -> Any:
        return CAPTURED, x

    with pytest.raises(daskflow.CapturedFutureError, match=r"'uses_global'.*argument"):
        uses_global(1).result()


def test_an_argument_that_cannot_be_pickled_fails_its_call_alone(kernel: Any) -> None:
    good, bad = same(1), same([1, {"lock": threading.Lock()}])
    with pytest.raises(daskflow.SerializationError, match=r"argument 0\[1\]\['lock'\].*lock"):
        bad.result()
    with pytest.raises(daskflow.SerializationError, match="argument 'key'"):
        same(key=threading.Lock()).result()
    with pytest.raises(daskflow.DependencyError):
        same(bad).result()
    assert good.result() == 1


def test_a_result_that_cannot_be_pickled_fails_its_call_alone(kernel: Any) -> None:
    @python_app
    def lock() -> Any:
        import threading

        return {"lock": threading.Lock()}

    with pytest.raises(daskflow.SerializationError, match=r"result of app 'lock'\['lock'\]"):
        lock().result()
    assert same(1).result() == 1


def test_a_function_that_cannot_be_pickled_fails_its_calls_alone(kernel: Any) -> None:
    lock = threading.Lock()

    @python_app
    def locked() -> Any:
        return lock

    good = same(1)
    with pytest.raises(daskflow.SerializationError, match="function of app 'locked'"):
        locked().result()
    assert good.result() == 1


def test_an_argument_that_cannot_be_opened_on_the_worker_fails_its_call_alone(kernel: Any) -> None:
    class Broken:
        def __reduce__(self) -> Any:
            return exec, ("raise OSError('no such thing')",)

    with pytest.raises(daskflow.DeserializationError, match="no such thing"):
        same(Broken()).result()
    assert same(1).result() == 1
