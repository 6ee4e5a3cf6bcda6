"""Retry and RetryRules: what a failure means, without any kernel."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskflow import ConfigurationError, Options, Retry
from daskflow.kernel.retry import Again, Final, RetryRules
from daskflow.retries import as_retry

RNG = Random(0)


def decide(
    rules: RetryRules, error: BaseException, attempts: int = 1, cost: float = 0.0, **options: Any
) -> Again | Final:
    return rules.decide(Options(**options), error, attempts, cost, None, Random(0))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"attempts": 0}, "attempts=0"),
        ({"attempts": 1.5}, "attempts=1.5"),
        ({"attempts": True}, "attempts=True"),
        ({"on": "ValueError"}, "on='ValueError'"),
        ({"on": (ValueError, 3)}, "on="),
        ({"unless": int}, "unless="),
        ({"backoff_s": -1}, "backoff_s=-1"),
        ({"backoff_s": "long"}, "backoff_s='long'"),
        ({"jitter": float("nan")}, "jitter=nan"),
        ({"max_backoff_s": None}, "max_backoff_s=None"),
    ],
)
def test_a_bad_setting_of_retry_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Retry(**settings)
    assert named in str(caught.value)


class Own(Exception):
    pass


def test_what_a_worker_may_not_have_is_decided_at_home() -> None:
    at_home = {
        "a filter": Retry(on=lambda _error: True),
        "an own type": Retry(on=(ValueError, Own)),
        "a pause": Retry(backoff_s=1),
    }
    for policy in at_home.values():
        assert RetryRules(None, None).decided_at_home(Options(retries=policy))
    plain = Retry(on=(OSError, SystemExit), unless=FileNotFoundError)
    assert not RetryRules(None, None).decided_at_home(Options(retries=plain))
    assert not RetryRules(None, None).decided_at_home(Options(retries=0))


def test_retries_count_further_tries_and_attempts_count_all() -> None:
    assert as_retry(2) == Retry(attempts=3)
    assert as_retry(0) is None
    assert as_retry(Retry(attempts=1)) is None


def test_only_errors_that_on_names_and_unless_does_not_are_worth_another_try() -> None:
    retry = Retry(on=(OSError, ValueError), unless=FileNotFoundError)
    assert retry.applies_to(PermissionError())
    assert retry.applies_to(ValueError())
    assert not retry.applies_to(FileNotFoundError())
    assert not retry.applies_to(KeyError())
    by_function = Retry(on=lambda e: "busy" in str(e), unless=lambda e: "never" in str(e))
    assert by_function.applies_to(KeyError("busy"))
    assert not by_function.applies_to(KeyError("busy, never"))
    assert not Retry().applies_to(SystemExit())


@given(
    failed=st.integers(1, 2000),
    backoff_s=st.floats(1e-3, 1e6),
    jitter=st.floats(0, 10),
    most_s=st.floats(0, 1e6),
)
def test_a_pause_doubles_up_to_its_limit_and_is_lengthened_by_jitter_only(
    failed: int, backoff_s: float, jitter: float, most_s: float
) -> None:
    retry = Retry(backoff_s=backoff_s, jitter=jitter, max_backoff_s=most_s)
    pause_s = retry.pause_s(failed, RNG)
    plain_s = min(backoff_s * 2.0 ** min(failed - 1, 60), most_s)
    assert plain_s <= pause_s * (1 + 1e-9) + 1e-12
    assert pause_s <= plain_s * (1 + jitter) * (1 + 1e-9) + 1e-12


def test_an_app_that_says_nothing_of_retries_follows_the_config() -> None:
    rules = RetryRules(Retry(attempts=3), None)
    assert decide(rules, ValueError(), 1, 0) == Again(0.0, 1.0)
    assert decide(rules, ValueError(), 2, 1) == Again(0.0, 2.0)
    assert isinstance(decide(rules, ValueError(), 3, 2), Final)
    assert isinstance(decide(rules, ValueError(), 1, 0, retries=0), Final)
    assert decide(RetryRules(None, None), ValueError(), retries=1) == Again(0.0, 1.0)


def test_a_handler_prices_failures_and_the_sum_may_reach_the_retries() -> None:
    rules = RetryRules(as_retry(1), lambda _error, _call: 0.5)
    assert decide(rules, ValueError(), 1, 0.0) == Again(0.0, 0.5)
    assert decide(rules, ValueError(), 2, 0.5) == Again(0.0, 1.0)
    assert isinstance(decide(rules, ValueError(), 3, 1.0), Final)


def test_a_failure_that_costs_nothing_is_always_tried_again_even_without_retries() -> None:
    rules = RetryRules(None, lambda _error, _call: 0)
    assert rules.decided_at_home(Options())
    assert decide(rules, ValueError(), 1000, 0.0) == Again(0.0, 0.0)
    priced = RetryRules(None, lambda _error, _call: 1)
    assert isinstance(decide(priced, ValueError()), Final)


def test_a_handler_that_raises_ends_the_call_with_its_own_error() -> None:
    def handler(_error: BaseException, _call: Any) -> float:
        raise RuntimeError("the handler is broken")

    original = ValueError("the call")
    decision = decide(RetryRules(as_retry(5), handler), original)
    assert isinstance(decision, Final)
    assert str(decision.error) == "the handler is broken"
    assert decision.error.__context__ is original


def test_a_handler_that_returns_no_number_ends_the_call_with_an_error_that_says_so() -> None:
    decision = decide(RetryRules(as_retry(5), lambda _e, _c: "much"), ValueError())  # type: ignore[arg-type, return-value]
    assert isinstance(decision, Final)
    assert "much" in str(decision.error)


def test_a_filter_that_raises_ends_the_call_with_its_own_error() -> None:
    def broken(_error: BaseException) -> bool:
        raise RuntimeError("the filter is broken")

    decision = decide(RetryRules(Retry(on=broken, backoff_s=1), None), ValueError())
    assert isinstance(decision, Final)
    assert "the filter is broken" in str(decision.error)
