"""Calls that may kill their process run in children of the worker, and nobody waits for a neighbour."""

from __future__ import annotations

import ctypes
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import psutil
import pytest

from daskflow.errors import WorkerLost
from daskflow.worker import isolate
from daskflow.worker.batch import NOT_RUN, Member, Order, dumped_order
from daskflow.worker.functions import FunctionSpec
from daskflow.worker.handback import Claims, HandBack, Message
from daskflow.worker.keys import call_key
from daskflow.worker.outcome import Box, Failed
from daskflow.worker.running import interrupt
from daskflow.worker.suspects import run_suspects


def own_pid() -> int:
    return os.getpid()


def crash() -> None:
    ctypes.string_at(0)


def write_pid_and_block(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    threading.Event().wait()


def wait_for(path: str) -> str:
    return Path(path).read_text()


def start_pid_in_environment() -> str:
    return os.environ["STARTED"]


class Suspects:
    """A batch of suspects, and what its worker tells while it runs."""

    def __init__(self, *calls: tuple[Callable[..., Any], Sequence[Any]]):
        functions = [
            FunctionSpec(f.__name__, "python", None, cloudpickle.dumps(f)) for f, _ in calls
        ]
        members = [Member(number, number, tuple(args)) for number, (_, args) in enumerate(calls)]
        self.run = os.urandom(8).hex()
        self.order = Order(self.run, tuple(functions), tuple(members), (), True, "batch")
        self.told: list[HandBack] = []
        self.has_told = threading.Condition()
        self.entries: list[object] = []
        self.claims = Claims(
            key="batch",
            entries=self.entries,
            members=len(members),
            app_of=lambda index: functions[index].name,
            spent=dict,
            tell=self._tell,
            shown=memoryview(bytearray(8)).cast("q"),
        )
        self.box: Box | None = None
        self.thread = threading.Thread(target=self._run)

    def _tell(self, message: Message) -> None:
        with self.has_told:
            self.told.append(pickle.loads(message[1]))
            self.has_told.notify_all()

    def _run(self) -> None:
        payload = dumped_order(*self.order[:4], is_suspect=True, key="batch")
        self.box = run_suspects(payload, self.order, (), self.entries, self.claims)

    def key(self, index: int) -> str:
        return call_key(self.order.functions[index].name, self.run, index)

    def outcomes(self) -> Sequence[object]:
        self.thread.join(60)
        assert self.box is not None, "the batch has not ended"
        return self.box.entries

    def reported(self) -> dict[int, object]:
        return {m.first + i: entry for m in self.told for i, entry in enumerate(m.ended)}


@pytest.fixture
def suspects() -> Iterator[Callable[..., Suspects]]:
    made: list[Suspects] = []

    def start(*calls: tuple[Callable[..., Any], Sequence[Any]]) -> Suspects:
        made.append(Suspects(*calls))
        made[-1].thread.start()
        return made[-1]

    yield start
    for each in made:
        interrupt(each.key(index) for index in range(len(each.order.members)))
        each.thread.join(60)


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    return path


def test_the_one_that_crashes_is_to_blame_and_the_others_have_their_values(
    suspects: Callable[..., Suspects],
) -> None:
    before, killer, *after = suspects(
        (own_pid, ()), (crash, ()), (own_pid, ()), (own_pid, ())
    ).outcomes()
    assert isinstance(killer, Failed)
    error = killer.record.rebuild()
    assert isinstance(error, WorkerLost)
    assert "signal 11" in str(error)
    assert after[0] == after[1], "one child runs them one after another"
    assert len({before, after[0], os.getpid()}) == 3


def test_cancelling_one_ends_its_child_at_once_and_the_next_ones_run(
    suspects: Callable[..., Suspects], fifo: str
) -> None:
    batch = suspects((own_pid, ()), (write_pid_and_block, (fifo,)), (own_pid, ()))
    child = psutil.Process(int(Path(fifo).read_text()))
    assert child.ppid() == os.getpid()
    assert interrupt([batch.key(1)]) == [batch.key(1)]
    child.wait(20)
    first, cancelled, last = batch.outcomes()
    assert first == child.pid
    assert cancelled == NOT_RUN
    assert last not in (child.pid, os.getpid())


def test_one_that_was_cancelled_before_it_began_does_not_begin(
    suspects: Callable[..., Suspects], fifo: str, tmp_path: Path
) -> None:
    mark = tmp_path / "begun"
    batch = suspects((wait_for, (fifo,)), (mark.touch, ()), (own_pid, ()))
    interrupt([batch.key(1)])
    Path(fifo).write_text("go on")
    assert batch.outcomes()[:2] == ["go on", NOT_RUN]
    assert not mark.exists()


def test_what_ended_before_a_crash_is_told_while_another_child_starts(
    suspects: Callable[..., Suspects], fifo: str
) -> None:
    batch = suspects((own_pid, ()), (crash, ()), (wait_for, (fifo,)))
    with batch.has_told:
        assert batch.has_told.wait_for(lambda: 1 in batch.reported(), 60)
    assert batch.thread.is_alive(), "it waits for the last one"
    assert isinstance(batch.reported()[0], int)
    assert isinstance(batch.reported()[1], Failed)
    assert all(message.revoked_from == 3 for message in batch.told), "nothing is taken back"
    Path(fifo).write_text("go on")
    assert batch.outcomes()[2] == "go on"


def test_what_has_not_begun_behind_a_long_one_is_taken_back(
    suspects: Callable[..., Suspects], fifo: str
) -> None:
    batch = suspects((own_pid, ()), (wait_for, (fifo,)), (own_pid, ()))
    with Path(fifo).open("w") as pipe:  # the second has begun
        assert not batch.claims.look(float("inf"))
        assert batch.told[-1].revoked_from == 2
        assert 0 in batch.reported()
        pipe.write("go on")
    assert batch.outcomes()[1:] == ["go on", NOT_RUN]


def test_children_run_the_start_up_function_of_their_worker(
    suspects: Callable[..., Suspects], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hook() -> None:
        os.environ["STARTED"] = str(os.getpid())

    monkeypatch.setattr(isolate, "on_start", cloudpickle.dumps(hook))
    pid, started = suspects((own_pid, ()), (start_pid_in_environment, ())).outcomes()
    assert started == str(pid) != str(os.getpid())
