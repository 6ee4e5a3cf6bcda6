"""The queues of a kernel: calls that may be sent, and calls that wait here."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daskflow.graph.call import AppSpec, Call, Options, State
from daskflow.kernel.placing import Route
from daskflow.kernel.ready import ReadyCalls
from daskflow.kernel.waiting import Waiting
from daskflow.worker.keys import inner_number


def make_call(number: int, priority: int = 0, gpus: int = 0) -> Call:
    resources = {"GPU": gpus} if gpus else {}
    app = AppSpec("app", "python", print, Options(priority=priority, resources=resources))
    return Call(number, app, (), None, (), app.options)


def route(call: Call) -> Route | None:
    resources = tuple(call.options.resources.items())
    return ("all", resources) if resources else None


def taken(queue: ReadyCalls, room: int = 0) -> list[Call | None]:
    rooms = dict.fromkeys(queue.routes(), room)
    return [queue.pop(rooms) for _ in range(len(queue))]


@given(st.lists(st.tuples(st.integers(-1, 2), st.booleans())))
def test_calls_are_taken_by_priority_then_in_order(history: list[tuple[int, bool]]) -> None:
    queue, in_order = ReadyCalls(route), []
    for number, (priority, before_all) in enumerate(history):
        call = make_call(number, priority)
        if before_all:
            queue.put_back([call])
            in_order.insert(0, call)
        else:
            queue.append(call)
            in_order.append(call)
    assert len(queue) == len(in_order)
    assert set(queue) == set(in_order)
    assert taken(queue) == sorted(in_order, key=lambda call: -call.options.priority)


def test_what_is_put_back_keeps_its_order() -> None:
    queue = ReadyCalls(route)
    calls = [make_call(n) for n in range(5)]
    for call in calls:
        queue.append(call)
    first = [call for _ in range(3) if (call := queue.pop({})) is not None]
    queue.put_back(first)
    assert taken(queue) == calls


def test_calls_of_a_route_without_room_are_passed_over() -> None:
    queue = ReadyCalls(route)
    plain, first, second = make_call(1), make_call(0, gpus=1), make_call(2, gpus=1)
    for call in (plain, first, second):
        queue.append(call)
    assert taken(queue, room=1) == [first, plain, None]
    assert list(queue) == [second]


def test_what_a_join_has_begun_comes_before_later_calls_of_other_routes() -> None:
    queue = ReadyCalls(route)
    later, inner = make_call(1), make_call(inner_number(0, 1, 0), gpus=1)
    queue.append(later)
    queue.append(inner)
    assert taken(queue, room=1) == [inner, later]


def test_what_is_held_is_released_once_by_what_it_waits_for() -> None:
    waiting = Waiting()
    one, other, held = make_call(1), make_call(2), make_call(3)
    waiting.hold(held, one)
    assert held.state is State.HELD
    assert waiting.released_by([other]) == []
    assert waiting.released_by([other, one]) == [held]
    assert waiting.released_by([one]) == []


def test_what_was_cancelled_while_it_waited_is_not_released() -> None:
    waiting = Waiting()
    parent, held, paused = make_call(1), make_call(2), make_call(3)
    waiting.hold(held, parent)
    waiting.pause(paused, 1.0)
    held.state = paused.state = State.CANCELLED
    assert waiting.released_by([parent]) == []
    assert waiting.due(2.0) == []


def test_pauses_end_in_the_order_of_their_times() -> None:
    waiting = Waiting()
    late, early, latest = (make_call(n) for n in range(3))
    for call, until_s in ((late, 2.0), (early, 1.0), (latest, 3.0)):
        waiting.pause(call, until_s)
    assert waiting.next_due_s() == 1.0
    assert waiting.due(2.5) == [early, late]
    assert waiting.next_due_s() == 3.0
    assert list(waiting) == [latest]


def test_a_call_that_expects_several_events_waits_for_the_last() -> None:
    waiting = Waiting()
    call = make_call(1)
    waiting.expect(call, 3)
    assert [waiting.came(call) for _ in range(4)] == [False, False, True, False]
    assert list(waiting) == []
