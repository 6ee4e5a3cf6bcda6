"""What a worker tells of small outcomes, and how long messages are held back."""

from __future__ import annotations

import logging
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from daskflow.executors.news import GIVEN_UP_TOPIC, NewsTeller
from daskflow.executors.prompt import INTERVAL_S, shorten
from daskflow.worker import news
from daskflow.worker.outcome import REMOTE, Box, LargeBox
from daskflow.worker.wire import Pickled


class Worker:
    """What a NewsTeller needs of a worker: it keeps what is logged."""

    address = "tcp://127.0.0.1:1"

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.state = SimpleNamespace(tasks={})

    def log_event(self, topic: str, message: Any) -> None:
        self.told.append((topic, message))


def told(key: str, box: Box, finish: str = "memory") -> list[Any]:
    """Return what a worker tells when the batch `key` ends with `box`."""
    worker, teller = Worker(), NewsTeller()
    teller.setup(worker)
    news.keep("run", key, box)
    teller.transition(key, "executing", finish)
    teller.transition(key, "memory", "released")
    return [(topic, pickle.loads(message)) for topic, message in worker.told]


def test_a_small_box_is_told_once_to_the_topic_of_its_run() -> None:
    ((topic, (key, box)),) = told("a", Box([1, "two"], {"app": (2, 0.5, 8)}))
    assert topic == news.NEWS_TOPIC + "run"
    assert (key, box.entries, box.spent) == ("a", [1, "two"], {"app": (2, 0.5, 8)})


@pytest.mark.parametrize(
    "box",
    [Box([b"x" * 300_000]), Box([Pickled(b"x" * 300_000)]), Box(list(range(10_000)))],
    ids=["bytes", "pickle", "many"],
)
def test_a_box_that_is_not_small_is_fetched(box: Box) -> None:
    assert told("a", box) == []


def test_of_a_large_box_what_is_small_is_told() -> None:
    ((_, (_, box)),) = told("a", LargeBox([b"x" * 2_000_000, 2], {"app": (2, 0.5, 2_000_008)}))
    assert box.entries == [REMOTE, 2]
    assert box.spent == {"app": (2, 0.5, 2_000_008)}


def test_a_cancelled_batch_tells_nothing_and_leaves_nothing() -> None:
    assert told("a", Box([1]), finish="released") == []
    assert news.take("a") is None


def test_a_worker_tells_of_threads_that_run_what_was_given_up() -> None:
    worker, teller = Worker(), NewsTeller()
    teller.setup(worker)
    tasks = {key: SimpleNamespace(state="executing", previous=None, done=False) for key in "ab"}
    worker.state.tasks.update(tasks)
    for task, key in zip(tasks.values(), tasks, strict=True):
        task.state, task.previous = "cancelled", "executing"
        teller.transition(key, "executing", "released")
    tasks["a"].done = True
    teller.transition("a", "cancelled", "memory")
    del worker.state.tasks["b"]
    teller.transition("b", "released", "forgotten")
    assert worker.told == [(GIVEN_UP_TOPIC, (worker.address, n)) for n in (1, 2, 1, 0)]


def test_other_tasks_of_a_worker_tell_nothing() -> None:
    worker, teller = Worker(), NewsTeller()
    teller.setup(worker)
    teller.transition(("sum", 0), "executing", "memory")
    assert worker.told == []


@pytest.mark.parametrize("before_s", [0.01, INTERVAL_S, 0.0001, 0])
def test_an_interval_is_shortened_and_never_lengthened(before_s: float) -> None:
    stream = SimpleNamespace(interval=before_s)
    assert shorten(stream)
    assert stream.interval == min(before_s, INTERVAL_S)


@pytest.mark.parametrize("stream", [None, object(), SimpleNamespace(interval="10ms")])
def test_where_there_is_no_interval_nothing_is_changed_and_the_log_says_so(
    stream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = vars(stream).copy() if isinstance(stream, SimpleNamespace) else None
    with caplog.at_level(logging.INFO, "daskflow.kernel"):
        assert not shorten(stream)
    assert "send intervals" in caplog.text
    if before is not None:
        assert vars(stream) == before
