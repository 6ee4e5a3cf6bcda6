"""Why nothing is running, in a sentence or two. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from jobqueue_sites.blocks.block import Block
from jobqueue_sites.blocks.policy import Health
from jobqueue_sites.blocks.states import BlockState


def sentences(
    blocks: Sequence[Block],
    health: Health,
    *,
    now_s: float,
    expected_workers: int | None,
    room: str = "",
    query_trouble: str = "",
) -> list[str]:
    """Say what the blocks are doing, and what keeps them from running, each in a sentence.

    Parameters
    ----------
    blocks
        All blocks, also those that have ended, oldest first.
    health
        What is known of refusals and failures.
    now_s
        The time, in seconds since the epoch.
    expected_workers
        How many workers a block will have, if that is known.
    room
        What is free where jobs wait, in a few words.
    query_trouble
        Why the batch system could not be asked last time, if so.
    """
    lines = []
    if health.is_resting(now_s):
        lines.append(
            f"no block came up after {_times(health.failures)}, so none is submitted for "
            f"{health.rests_until_s - now_s:.0f} s more (scale() tries at once): {health.why}"
        )
    open_blocks = [block for block in blocks if not block.is_over]
    lines += [_of_open(block, now_s, expected_workers, room) for block in open_blocks]
    ended = [block for block in blocks if block.is_over]
    if ended and not any(block.was_up for block in open_blocks):
        last = ended[-1]
        is_bad = last.has_failed_early or not last.state.is_normal_end
        if is_bad and not health.is_resting(now_s):
            lines.append(of_ended(last))
        elif not open_blocks and not health.is_resting(now_s):
            lines.append(f"{of_ended(last)}; no block is open, since none is wanted")
    if not blocks and not lines:
        lines.append("no block has been asked for")
    if query_trouble:
        lines.append(f"the batch system does not answer: {query_trouble}")
    return lines


def of_ended(block: Block) -> str:
    """Say how a block ended."""
    what = f"block {block.number}"
    if block.state is BlockState.REFUSED:
        return f"{what} was refused: {block.why}"
    if block.state is BlockState.CLOSED:
        return f"{what} was closed"
    how = {
        BlockState.TIMEOUT: "reached its time limit",
        BlockState.PREEMPTED: "was preempted",
        BlockState.COMPLETED: "ended by itself",
        BlockState.CANCELLED: "was cancelled from outside",
        BlockState.NODE_FAILED: "lost a node",
        BlockState.OUT_OF_MEMORY: "ran out of memory",
        BlockState.GONE: "is gone",
    }.get(block.state, "failed")
    if block.state is BlockState.COMPLETED and not block.was_up:
        how = "ended without ever having had a worker"
    if block.lasted_s is not None:
        how += f" after {block.lasted_s:.0f} s"
    if block.exit_code:
        how += f" with exit code {block.exit_code}"
    why = f": {block.why}" if block.why else ""
    log = f" (job {block.job_id}; log {block.stderr_path})" if block.stderr_path else ""
    return f"{what} {how}{why}{log}"


def _of_open(block: Block, now_s: float, expected_workers: int | None, room: str) -> str:
    what = f"block {block.number}"
    if block.state is BlockState.REQUESTED:
        return f"{what} is being submitted"
    job = f"{what} (job {block.job_id})"
    if block.state in (BlockState.QUEUED, BlockState.HELD):
        verb = "waits" if block.state is BlockState.QUEUED else "is held"
        since = f" for {_span(now_s - block.submitted_s)}" if block.submitted_s is not None else ""
        why = f": {block.reason}" if block.reason and block.reason != "None" else ""
        return f"{job} {verb}{since}{why}{f'; {room}' if room else ''}"
    where = f" on {', '.join(block.nodes[:4])}{', …' if len(block.nodes) > 4 else ''}"
    where = where if block.nodes else ""
    if block.state is BlockState.STARTING:
        since = f" for {_span(now_s - block.started_s)}" if block.started_s is not None else ""
        missing = "its workers are gone" if block.was_up else "no worker has come yet"
        fault = f": {block.fault}" if block.fault else f", and {missing}"
        log = f" (log {PurePath(block.stderr_path)})" if block.stderr_path else ""
        return f"{job} runs{where}{since}{fault}{log}"
    if block.state is BlockState.ENDING:
        return f"{job} is ending"
    of = f" of {expected_workers}" if expected_workers else ""
    fault = f", but {block.fault}" if block.fault else ""
    return f"{job} is up{where} with {block.workers}{of} workers{fault}"


def _times(count: int) -> str:
    return "1 failure" if count == 1 else f"{count} failures in a row"


def _span(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
