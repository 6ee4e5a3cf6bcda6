"""Granularity: which calls share one Dask task."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskflow.graph.arguments import Foreign, Packed
from daskflow.graph.call import AppSpec, Call, Options, State
from daskflow.graph.coarsen import MOST_LIKE_CALLS, TARGET_S, coarsen
from daskflow.graph.costs import Costs
from daskflow.graph.lower import Bound
from daskflow.worker.outcome import REMOTE


def plain(*_args: Any) -> None:
    """Do nothing."""


def make_app(name: str = "app", **options: Any) -> AppSpec:
    return AppSpec(name, "python", plain, Options(**options))


def make_call(number: int, app: AppSpec, *parents: Call) -> Call:
    call = Call(number, app, parents, None, parents, app.options)
    call.state = State.SUBMITTED
    return call


def grouped(calls: list[Call], costs: Costs | None = None, **settings: Any) -> list[list[Call]]:
    shares = 2 * settings.pop("slots", 2)
    return coarsen(calls, costs or Costs(), shares, **settings)


def costing(**seconds: float) -> Costs:
    costs = Costs()
    costs.observe({name: (1000, 1000 * s, 0) for name, s in seconds.items()})
    return costs


@st.composite
def histories(draw: st.DrawFn) -> list[Call]:
    apps = [
        make_app("a"),
        make_app("b", priority=1),
        make_app("c", batch=3),
        make_app("d", batch=False),
    ]
    calls: list[Call] = []
    for number in range(draw(st.integers(1, 60))):
        parents = draw(st.lists(st.sampled_from(calls), max_size=4)) if calls else []
        calls.append(make_call(number, draw(st.sampled_from(apps)), *parents))
    return calls


@given(histories(), st.integers(1, 8), st.sampled_from([True, False, 3]))
def test_any_graph_becomes_batches_that_can_run_one_after_the_other(
    calls: list[Call], slots: int, default_batch: bool | int
) -> None:
    groups = grouped(calls, slots=slots, default_batch=default_batch)
    done: set[Call] = set()
    for group in groups:
        for call in group:
            assert all(parent in done for parent in call.parents)
            assert call not in done
            done.add(call)
        assert len({call.options.placement for call in group}) == 1
        assert len(group) == 1 or all(call.options.batch is not False for call in group)
    assert done == set(calls)


def test_cheap_calls_of_an_app_share_tasks_and_every_slot_gets_some() -> None:
    app = make_app()
    groups = grouped([make_call(i, app) for i in range(10_000)], costing(app=1e-6), slots=4)
    assert max(map(len, groups)) <= MOST_LIKE_CALLS
    assert 8 <= len(groups) <= 20


def test_costly_calls_stay_one_task_each() -> None:
    app = make_app()
    assert len(grouped([make_call(i, app) for i in range(100)], costing(app=TARGET_S))) == 100


def test_calls_with_large_results_stay_one_task_each() -> None:
    app = make_app()
    costs = Costs()
    costs.observe({"app": (1, 1e-6, 10_000_000)})
    assert len(grouped([make_call(i, app) for i in range(100)], costs)) == 100


def large(*names: str) -> Costs:
    costs = Costs()
    costs.observe(dict.fromkeys(names, (1, 0.001, 10000000)))
    return costs


def chains(count: int, length: int) -> list[Call]:
    """Return the calls of chains, the first of each, the second of each, and so on."""
    make, step = make_app("make"), make_app("step")
    calls = [make_call(i, make) for i in range(count)]
    for number in range(count, count * length):
        calls.append(make_call(number, step, calls[-count]))
    return calls


def test_large_values_that_are_passed_on_keep_a_chain_in_one_task() -> None:
    calls = chains(1, 6)
    assert len(grouped(calls, large("make", "step"), passed=set(calls[:-1]))) == 1
    # Somebody else can ask for the value of the third.
    groups = grouped(calls, large("make", "step"), passed={*calls[:2], *calls[3:-1]})
    assert groups == [calls[:3], calls[3:]]
    assert len(grouped(calls, large("make", "step"))) == 6


def test_of_large_values_that_are_passed_on_a_task_has_one_at_a_time() -> None:
    calls = chains(8, 4)
    groups = grouped(calls, large("make", "step"), passed=set(calls[:-8]))
    assert groups == [calls[i::8] for i in range(8)]


def test_a_chain_of_large_values_is_cut_where_it_takes_too_long() -> None:
    calls = chains(1, 100)
    costs = Costs()
    costs.observe(dict.fromkeys(("make", "step"), (1000, 30.0, 10**10)))
    groups = grouped(calls, costs, passed=set(calls[:-1]))
    assert max(map(len, groups)) == 6
    assert [call for group in groups for call in group] == calls


def test_a_chain_of_cheap_calls_is_one_task() -> None:
    app = make_app()
    calls = [make_call(0, app)]
    for number in range(1, 1000):
        calls.append(make_call(number, app, calls[-1]))
    assert len(grouped(calls, costing(app=1e-6))) == 1


def test_a_window_that_slides_over_a_chain_does_not_fall_apart() -> None:
    app = make_app()
    calls = [make_call(i, app) for i in range(10)]
    for number in range(10, 5000):
        calls.append(make_call(number, app, *calls[-10:]))
    assert len(grouped(calls, costing(app=1e-4))) < 30


def test_what_follows_from_a_batch_joins_it() -> None:
    first, second = make_app("first"), make_app("second")
    maps = [make_call(i, first) for i in range(100)]
    then = [make_call(100 + i, second, parent) for i, parent in enumerate(maps)]
    groups = grouped([*maps, *then], costing(first=1e-6, second=1e-6))
    where = {call: index for index, group in enumerate(groups) for call in group}
    assert all(where[call] == where[call.parents[0]] for call in then)


def test_a_number_as_batch_is_kept() -> None:
    app = make_app(batch=7)
    assert {len(g) for g in grouped([make_call(i, app) for i in range(70)], costing(app=9.0))} == {
        7
    }


def test_calls_that_must_be_alone_are() -> None:
    app = make_app()
    calls = [make_call(i, app) for i in range(10)]
    groups = grouped(calls, costing(app=1e-6), alone={calls[4]})
    assert [calls[4]] in groups


def test_suspects_share_tasks_with_suspects_only() -> None:
    app = make_app()
    calls = [make_call(i, app) for i in range(10)]
    suspects = set(calls[3:6])
    for group in grouped(calls, costing(app=1e-6), suspects=suspects):
        assert set(group) <= suspects or not set(group) & suspects


def test_a_first_call_that_takes_long_makes_no_app_costly() -> None:
    app = make_app("app")
    costs = Costs()
    costs.observe({"app": (1, 0.1, 0)})
    assert len(grouped([make_call(i, app) for i in range(1000)], costs)) < 100
    costs.observe({"app": (20, 2.0, 0)})
    assert len(grouped([make_call(i, app) for i in range(1000)], costs)) == 1000


def test_costs_follow_what_is_observed() -> None:
    costs = Costs()
    assert costs.estimate("app") is None
    for _ in range(20):
        costs.observe({"app": (10, 1.0, 1000)})
    cost = costs.estimate("app")
    assert cost is not None
    assert (cost.seconds, cost.bytes) == pytest.approx((0.1, 100))


def test_one_long_call_says_little_about_an_app_that_has_run_a_thousand_cheap_ones() -> None:
    costs = Costs()
    costs.observe({"app": (1000, 0.01, 0)})
    costs.observe({"app": (1, 0.1, 0)})
    app = make_app()
    calls = [make_call(i, app) for i in range(100)]
    assert len(grouped(calls, costs)) < 20
    for _ in range(50):
        costs.observe({"app": (1, 0.1, 0)})
    assert len(grouped(calls, costs)) == 100, "but fifty do"


def test_a_call_does_not_wait_for_long_calls_that_only_others_need() -> None:
    slow, quick = make_app("slow"), make_app("quick")
    first = [make_call(i, slow) for i in range(6)]
    after = [make_call(10 + i, quick, parent) for i, parent in enumerate(first)]
    groups = grouped(first + after, costing(slow=1.0, quick=1e-6))
    assert [group for group in groups if group[0].app is quick] == [[call] for call in after]


def test_calls_that_need_the_same_long_call_share_a_task() -> None:
    slow, quick = make_app("slow"), make_app("quick")
    long = make_call(0, slow)
    after = [make_call(1 + i, quick, long) for i in range(6)]
    assert grouped([long, *after], costing(slow=1.0, quick=1e-6), slots=0) == [[long], after]


def test_large_values_are_not_brought_together_for_calls_that_take_one_each() -> None:
    make, use = make_app("make"), make_app("use")
    costs = Costs()
    costs.observe({"make": (1, 1e-3, 2**28), "use": (1, 1e-6, 8)})
    made = [make_call(i, make) for i in range(8)]
    used = [make_call(10 + i, use, parent) for i, parent in enumerate(made)]
    groups = grouped(made + used, costs)
    assert all(len(group) <= 2 for group in groups)
    for parent in made:  # they have ended, and stay where they are
        parent.state, parent.value = State.DONE, REMOTE
    assert [len(group) for group in grouped(used, costs)] == [1] * 8


def test_calls_that_take_different_tasks_of_others_do_not_wait_for_each_other() -> None:
    app = make_app()

    def taking(number: int, key: str | None) -> Call:
        foreign = Foreign(object())
        foreign.resolved = Bound(key=key)
        call = make_call(number, app)
        call.args = Packed(b"", (foreign,))
        return call

    calls = [taking(0, "a"), taking(1, "b"), taking(2, "a"), taking(3, None), taking(4, None)]
    groups = grouped(calls, slots=0)
    assert groups == [[calls[0], calls[2]], [calls[1]], [calls[3], calls[4]]]


def test_what_follows_from_a_full_batch_rides_along() -> None:
    cheap = make_app()
    some = [make_call(i, cheap) for i in range(20)]
    after = [make_call(100 + i, cheap, parent) for i, parent in enumerate(some)]
    groups = grouped(some + after, costing(app=TARGET_S / 5), slots=0)
    for group in groups:
        firsts = {call.number for call in group if call.number < 100}
        assert {call.number - 100 for call in group if call.number >= 100} == firsts


def test_what_needs_a_join_whose_body_has_returned_joins_the_batch_of_the_inner_call() -> None:
    app = make_app()
    inner, joined = make_call(0, app), make_call(1, app)
    joined.state, joined.value = State.JOINING, inner
    after = make_call(2, app, joined)
    assert grouped([inner, after]) == [[inner, after]]
