"""A block's life as values: what may follow what, whatever the batch system answers in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue_sites.blocks.block import EARLY_S, LOST_SIGHT_S, Block
from jobqueue_sites.blocks.explain import sentences
from jobqueue_sites.blocks.policy import (
    LONGEST_POLL_S,
    MOST_FAILURES,
    POLL_S,
    Bounds,
    Health,
    blocks_missing,
    next_poll_s,
    to_close,
)
from jobqueue_sites.blocks.states import MOVES, BlockState, state_after
from jobqueue_sites.blocks.watch import last_words
from jobqueue_sites.providers import JobState, JobStatus


def running(number: int = 0, **more: object) -> Block:
    block = Block(name=f"b-{number}", number=number, walltime_s=600).submitted("7", 100.0)
    return block.seen(JobStatus(state=JobState.RUNNING, nodes=("node1",)), 110.0)


# ---- states ---------------------------------------------------------------------------------

EVENTS = st.one_of(
    st.tuples(st.just("job"), st.sampled_from(list(JobState))),
    st.tuples(st.just("workers"), st.integers(0, 4)),
    st.tuples(st.just("closing"), st.none()),
    st.tuples(st.just("missing"), st.none()),
)


@given(st.lists(EVENTS, max_size=30))
def test_whatever_happens_a_block_moves_as_allowed_and_stays_ended(events: list[object]) -> None:
    block = Block(name="b-0", number=0).submitted("7", 0.0)
    now_s = 0.0
    for kind, value in events:  # type: ignore[misc] # pairs
        before = block
        now_s += 40.0
        if block.is_over and kind != "closing":
            assert block.ended_s is not None
            continue
        if kind == "job":
            block = block.seen(JobStatus(state=value), now_s)
        elif kind == "workers":
            block = block.with_workers(value, now_s)
        elif kind == "closing":
            block = block.wanted_closed()
        else:
            block = block.was_lost_sight_of(now_s)
        assert block.state is before.state or block.state in MOVES[before.state]
        assert block.is_over == (block.ended_s is not None)


@pytest.mark.parametrize("state", [s for s in JobState if s.is_final])
def test_an_end_that_we_wished_is_no_failure(state: JobState) -> None:
    closing = running().wanted_closed()
    ended = closing.seen(JobStatus(state=state), 120.0)
    assert ended.state is BlockState.CLOSED
    assert not ended.has_failed_early


@pytest.mark.parametrize(
    ("job", "is_normal"),
    [
        (JobState.COMPLETED, True),
        (JobState.TIMEOUT, True),
        (JobState.PREEMPTED, True),
        (JobState.CANCELLED, False),
        (JobState.FAILED, False),
        (JobState.NODE_FAILED, False),
        (JobState.OUT_OF_MEMORY, False),
    ],
)
def test_which_ends_are_normal(job: JobState, is_normal: bool) -> None:
    ended = running().seen(JobStatus(state=job), 120.0)
    assert ended.is_over
    assert ended.state.is_normal_end is is_normal


def test_a_job_that_is_requeued_waits_again_and_begins_anew() -> None:
    up = running().with_workers(2, 115.0).told_of_fault("node1 is ill", is_setup_fault=True)
    requeued = up.with_workers(0, 120.0).seen(JobStatus(state=JobState.PENDING), 121.0)
    assert requeued.state is BlockState.QUEUED
    assert requeued.started_s is None
    assert requeued.nodes == ()
    assert (requeued.fault, requeued.is_setup_fault) == ("", False)


@pytest.mark.parametrize(
    ("job", "lasted_s", "is_early"),
    [
        (JobState.FAILED, EARLY_S - 1, True),
        (JobState.OUT_OF_MEMORY, EARLY_S - 1, True),
        (JobState.FAILED, EARLY_S + 1, False),
        (JobState.COMPLETED, 1.0, False),
        (JobState.CANCELLED, 1.0, False),  # a person, or the site, not what runs there
        (JobState.NODE_FAILED, 1.0, False),
    ],
)
def test_a_block_that_was_up_and_fails_soon_has_failed_early(
    job: JobState, lasted_s: float, is_early: bool
) -> None:
    ended = running().with_workers(2, 110.0).seen(JobStatus(state=job), 110.0 + lasted_s)
    assert ended.has_failed_early is is_early


@pytest.mark.parametrize("job", [state for state in JobState if state.is_final])
def test_a_block_that_never_had_a_worker_has_failed_however_it_ended(job: JobState) -> None:
    assert running().seen(JobStatus(state=job), 1e6).has_failed_early


def test_a_block_that_is_about_to_end_does_not_stay() -> None:
    assert running().is_staying
    assert not running().wanted_closed().is_staying
    assert not running().ending().is_staying
    assert not running().seen(JobStatus(state=JobState.FAILED), 120.0).is_staying


def test_an_older_answer_does_not_take_an_end_back() -> None:
    now = state_after(BlockState.FAILED, JobState.RUNNING, has_workers=False, is_closing=False)
    assert now is BlockState.FAILED


def test_a_job_that_is_not_listed_has_not_ended_while_its_workers_live() -> None:
    up = running().with_workers(2, 115.0)
    assert not up.was_lost_sight_of(1e6).is_over
    alone = up.with_workers(0, 120.0).was_lost_sight_of(130.0)
    assert not alone.is_over
    assert not alone.was_lost_sight_of(130.0 + LOST_SIGHT_S - 1).is_over
    assert alone.was_lost_sight_of(130.0 + LOST_SIGHT_S).state is BlockState.GONE


def test_workers_that_come_before_the_batch_system_says_so_count() -> None:
    block = Block(name="b-0", number=0).submitted("7", 100.0).with_workers(1, 101.0)
    assert block.state is BlockState.UP
    assert block.started_s == 101.0


# ---- how many -------------------------------------------------------------------------------


def bounds(low: int, high: int, parallelism: float = 1.0) -> Bounds:
    return Bounds(init_blocks=low, min_blocks=low, max_blocks=high, parallelism=parallelism)


def up(count: int) -> list[Block]:
    return [running(number).with_workers(1, 120.0) for number in range(count)]


@pytest.mark.parametrize(
    ("demand", "there", "missing"),
    [(0, 0, 0), (1, 0, 1), (4, 1, 0), (5, 1, 1), (100, 1, 3), (100, 3, 1), (0, 3, 0), (3, 4, 0)],
)
def test_blocks_follow_the_demand_and_are_not_taken_away(
    demand: int, there: int, missing: int
) -> None:
    assert blocks_missing(bounds(0, 4), demand, 4, up(there), 0) == missing


def test_parallelism_and_the_least_number_are_kept() -> None:
    assert blocks_missing(bounds(0, 10, 0.5), 16, 4, [], 0) == 2
    assert blocks_missing(bounds(0, 10, 0.0), 16, 4, [], 0) == 1
    assert blocks_missing(bounds(2, 10), 0, 4, up(1), 0) == 1


def test_blocks_that_were_asked_for_come_without_work_but_once_only() -> None:
    on_their_way = [running(5), running(6)]
    assert blocks_missing(bounds(0, 10), 0, 4, [], 3) == 3
    assert blocks_missing(bounds(0, 10), 0, 4, on_their_way, 3) == 1
    assert blocks_missing(bounds(0, 10), 0, 4, [*up(1), *on_their_way], 2) == 0
    assert blocks_missing(bounds(0, 3), 0, 4, up(2), 3) == 1


def test_those_that_are_least_far_are_closed_first() -> None:
    chosen = to_close([*up(3), queued()], 2)
    assert [block.number for block in chosen] == [3, 2]
    assert to_close(up(3), -1) == []


# ---- how often the batch system is asked ----------------------------------------------------


def queued() -> Block:
    return Block(name="b-3", number=3, walltime_s=600).submitted("8", 100.0)


def test_the_batch_system_is_asked_less_and_less_often_while_nothing_happens() -> None:
    pauses = [POLL_S]
    while pauses[-1] < LONGEST_POLL_S:
        pauses.append(next_poll_s([queued(), *up(1)], 150.0, pauses[-1], is_quiet=True))
    assert pauses == sorted(pauses)
    assert len(pauses) < 12
    assert next_poll_s([queued()], 150.0, LONGEST_POLL_S, is_quiet=True) == LONGEST_POLL_S
    assert next_poll_s([queued()], 150.0, LONGEST_POLL_S, is_quiet=False) == POLL_S


@pytest.mark.parametrize(
    ("block", "now_s", "is_soon"),
    [
        (running(), 120.0, True),  # it starts
        (running(), 500.0, False),  # but something keeps it from that
        (up(1)[0], 500.0, False),
        (up(1)[0], 110.0 + 600 - 10, True),  # its time is nearly over
        (up(1)[0].wanted_closed(), 500.0, True),
        (up(1)[0].ending(), 500.0, True),
        (
            queued().seen(JobStatus(state=JobState.PENDING, is_hopeless=True), 110.0),
            500.0,
            True,
        ),
    ],
)
def test_it_is_asked_often_while_a_block_is_about_to_start_or_end(
    block: Block, now_s: float, is_soon: bool
) -> None:
    pause_s = next_poll_s([queued(), block], now_s, LONGEST_POLL_S, is_quiet=True)
    assert (pause_s == POLL_S) is is_soon


# ---- a site that does not work --------------------------------------------------------------


def test_failures_in_a_row_pause_the_site_longer_and_longer() -> None:
    health = Health()
    for count in range(1, MOST_FAILURES):
        health = health.failed("bad", 100.0, is_final=False, has_others=False)
        assert not health.is_resting(100.0)
        assert not health.may_submit(100.0)
        assert health.may_submit(100.0 + 2**count)
        assert health.most_submissions(5) == 1
    first = health.failed("bad", 100.0, is_final=False, has_others=False)
    assert first.is_resting(100.0)
    second = first.failed("bad", 200.0, is_final=False, has_others=False)
    assert second.rests_until_s - 200.0 > first.rests_until_s - 100.0


def test_blocks_that_fail_together_are_one_reason_to_rest() -> None:
    health = Health()
    for _ in range(20):
        health = health.failed("bad", 100.0, is_final=False, has_others=False)
    assert health.rests == 1
    assert health.rests_until_s == 160.0


def test_a_block_that_comes_up_ends_the_rest_but_is_no_proof_yet() -> None:
    health = Health()
    for now_s in (100.0, 110.0, 120.0):
        health = health.failed("bad", now_s, is_final=False, has_others=False)
    health = health.came_up()
    assert health.may_submit(121.0)
    assert health.failed("bad", 130.0, is_final=False, has_others=False).is_resting(131.0)


def test_a_failure_that_will_not_go_away_rests_at_once_unless_others_are_up() -> None:
    assert Health().failed("bad", 0.0, is_final=True, has_others=False).is_resting(1.0)
    assert not Health().failed("bad", 0.0, is_final=True, has_others=True).is_resting(1.0)


# ---- in words -------------------------------------------------------------------------------


def said(*blocks: Block, health: Health | None = None, **more: str) -> str:
    return "; ".join(sentences(blocks, health or Health(), now_s=160.0, expected_workers=4, **more))


def test_a_waiting_block_says_why_and_what_is_free() -> None:
    waiting = Block(name="b-3", number=3).submitted("12", 100.0)
    waiting = waiting.seen(JobStatus(state=JobState.PENDING, reason="Resources"), 150.0)
    text = said(waiting, room="2 of 4 nodes of partition main are free")
    assert text == (
        "block 3 (job 12) waits for 60 s: Resources; 2 of 4 nodes of partition main are free"
    )


def test_a_failed_block_says_when_why_and_where_more_is_to_be_read() -> None:
    failed = running(1).told_of_fault("No module named 'daskflow' on node2", is_setup_fault=True)
    ended = failed.seen(JobStatus(state=JobState.FAILED, exit_code=1), 114.0)
    text = said(ended)
    assert "block 1 failed after 4 s with exit code 1: No module named 'daskflow' on node2" in text


def test_a_block_that_ended_without_a_worker_says_so() -> None:
    ended = running(1).seen(JobStatus(state=JobState.COMPLETED), 114.0)
    assert said(ended).startswith("block 1 ended without ever having had a worker after 4 s")


def test_a_block_that_has_lost_its_workers_does_not_claim_to_wait_for_the_first() -> None:
    assert "no worker has come yet" in said(running())
    lost = running().with_workers(2, 120.0).with_workers(0, 130.0)
    assert "its workers are gone" in said(lost)


def test_a_refused_block_says_what_was_refused() -> None:
    refused = Block(name="b-0", number=0).refused("sbatch refused: no such partition: 'x'", 100.0)
    assert said(refused) == "block 0 was refused: sbatch refused: no such partition: 'x'"


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", ""),
        ("warning: x\nValueError: bad\nsrun: error: node1: task 0: Exited", "ValueError: bad"),
        ("srun: unrecognized option '--x'\nTry \"srun --help\"", "srun: unrecognized option '--x'"),
        ("x: line 9: module: command not found\njobqueue-sites: worker_init failed with exit code 127",
         "worker_init failed with exit code 127: module: command not found"),
        ("Welcome\njobqueue-sites: worker_init failed with exit code 3",
         "worker_init failed with exit code 3"),
        ("error: x\njobqueue-sites: node1 has no GPU\nsrun: error", "node1 has no GPU"),
    ],
)  # fmt: skip
def test_the_line_of_a_log_that_says_most_is_told(log: str, words: str) -> None:
    assert last_words(log) == words


def test_blocks_that_run_are_counted() -> None:
    assert said(running().with_workers(3, 120.0)) == (
        "block 0 (job 7) is up on node1 with 3 of 4 workers"
    )


def test_a_batch_system_that_does_not_answer_is_no_dead_job() -> None:
    text = said(running().with_workers(4, 120.0), query_trouble="squeue gave no answer")
    assert "is up" in text
    assert "does not answer: squeue gave no answer" in text


def test_with_no_block_it_says_so() -> None:
    assert said() == "no block has been asked for"
