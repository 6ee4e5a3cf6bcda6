"""What the collector makes of outcomes that say that a call was not run."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from daskflow.errors import WorkerLost
from daskflow.futures.settling import Settlement
from daskflow.graph.call import AppSpec, Call, Options, State
from daskflow.graph.costs import Costs
from daskflow.graph.lower import Batch
from daskflow.kernel.collector import Collector
from daskflow.worker.handback import HandBack
from daskflow.worker.outcome import Blocked

APP = AppSpec("app", "python", print, Options())


class Home:
    """A collector, with what it does of a batch of one call whose argument comes from another."""

    def __init__(self) -> None:
        self.parent = Call(0, APP, (), None, (), APP.options)
        self.call = Call(1, APP, (self.parent,), None, (self.parent,), APP.options)
        self.call.state = State.SUBMITTED
        self.batch = Batch("batch", [self.call], APP.options)
        self.sent_again = 0
        self.settled: list[Settlement] = []
        dispatcher: Any = SimpleNamespace(
            lock=threading.RLock(),
            costs=Costs(),
            outstanding={"batch": self.batch},
            is_exposed=lambda _call: False,
            again=self.again,
            release_held=lambda _calls: None,
        )
        rules: Any = None
        self.collector = Collector(None, dispatcher, rules, self.settled.extend)

    def again(self, calls: list[Call]) -> None:
        assert calls == [self.call]
        self.sent_again += 1

    def comes_back_blocked(self) -> None:
        self.call.batch = self.batch
        self.collector.hand_back(HandBack("batch", 0, (Blocked(),), 1))


@pytest.mark.parametrize("state", [State.SUBMITTED, State.FAILED])
def test_a_call_whose_argument_has_no_value_yet_is_sent_again(state: State) -> None:
    home = Home()
    home.parent.state = state
    for _ in range(100):
        home.comes_back_blocked()
    assert home.sent_again == 100
    assert home.settled == []


def test_a_call_that_is_blocked_though_all_it_needs_has_ended_fails_in_the_end() -> None:
    home = Home()
    home.parent.state = State.DONE
    while not home.settled:
        home.comes_back_blocked()
    ((call, state, error),) = home.settled
    assert (call, state) == (home.call, State.FAILED)
    assert isinstance(error, WorkerLost)
    assert "was not made again" in str(error)
    assert home.sent_again == 10
