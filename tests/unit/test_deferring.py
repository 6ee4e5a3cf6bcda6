"""Signals that come while something is closed: they act when it is done, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from jobqueue_sites.deferring import signals_deferred


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_acts_at_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), signals_deferred():
        signal.raise_signal(signal.SIGINT)
        done.append("all")
    assert done == ["all"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_acts_at_once_and_the_first_no_more() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, signals_deferred():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it went on")
    assert caught.value.__context__ is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_a_block_raises_is_the_context_of_the_interruption() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, signals_deferred():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("closing failed")
    assert isinstance(caught.value.__context__, ValueError)


def test_an_inner_block_ends_nothing_early() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), signals_deferred():
        with signals_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("inner")
        done.append("outer")
    assert done == ["inner", "outer"]


def test_handlers_of_a_program_are_called_late_too() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: seen.append(number))
    with signals_deferred():
        signal.raise_signal(signal.SIGTERM)
        assert not seen
    assert seen == [signal.SIGTERM]


def test_what_is_ignored_stays_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals_deferred():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_other_threads_are_not_concerned() -> None:
    handlers = []

    def close() -> None:
        with signals_deferred():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
