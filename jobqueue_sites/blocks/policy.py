"""How many blocks there should be, how often to ask after them, and when to rest. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jobqueue_sites.blocks.block import Block
from jobqueue_sites.blocks.states import BlockState

MOST_FAILURES = 3
"""So many refusals or failed starts in a row, with no block up, and the site is left alone."""
POLL_S = 2.0
"""The pause between queries while a block is about to start or to end."""
LONGEST_POLL_S = 30.0
"""And when nothing has happened for a while."""
_SLOWER = 1.5
_NEAR_END_S = 15.0
_SOON_UP_S = 120.0
_FIRST_PAUSE_S = 1.0
_REST_S = 60.0
_LONGEST_REST_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How many blocks there may be, and when more are wanted (see `Provider`)."""

    init_blocks: int
    min_blocks: int
    max_blocks: int
    parallelism: float


def blocks_missing(
    bounds: Bounds, demand: int, slots_per_block: int, blocks: Sequence[Block], owed: int
) -> int:
    """Return how many blocks to add to those that stay. None is taken away.

    Parameters
    ----------
    demand
        How many calls run or could run; blocks are added while these exceed the slots.
    slots_per_block
        How many calls a block runs at once.
    blocks
        Those that are there or on their way, and are not about to end.
    owed
        How many blocks somebody has asked for by number that have not been up yet. They come also
        without work, but once only.
    """
    for_demand = math.ceil(demand * bounds.parallelism / max(1, slots_per_block))
    if demand and not for_demand:  # parallelism 0: one block does it all
        for_demand = 1
    for_work = max(bounds.min_blocks, for_demand) - len(blocks)
    to_come = sum(not block.was_up for block in blocks)
    return max(0, min(max(for_work, owed - to_come), bounds.max_blocks - len(blocks)))


def to_close(blocks: Sequence[Block], surplus: int) -> list[Block]:
    """Choose which of the open `blocks` to close: those that are least far, then the youngest."""

    def worth(block: Block) -> tuple[bool, bool, int]:
        return block.state is BlockState.UP, block.state is BlockState.STARTING, -block.number

    return sorted(blocks, key=worth)[: max(0, surplus)]


def next_poll_s(
    blocks: Sequence[Block], now_s: float, previous_s: float, *, is_quiet: bool
) -> float:
    """Return the pause before the batch system is asked again after open blocks that have jobs.

    Parameters
    ----------
    previous_s
        The pause before this time.
    is_quiet
        Whether this time has told nothing new.
    """
    if not is_quiet or any(_is_moving(block, now_s) for block in blocks):
        return POLL_S
    return min(previous_s * _SLOWER, LONGEST_POLL_S)


def _is_moving(block: Block, now_s: float) -> bool:
    """Whether a block is about to start or to end."""
    ran_s = 0.0 if block.started_s is None else now_s - block.started_s
    is_coming = block.state is BlockState.STARTING and ran_s < _SOON_UP_S
    is_near_end = block.ends_s is not None and block.ends_s - now_s < _NEAR_END_S
    return (
        is_coming
        or is_near_end
        or block.is_closing
        or block.state is BlockState.ENDING
        or block.hopeless_since_s is not None
    )


@dataclass(frozen=True, kw_only=True)
class Health:
    """What is known of a site's willingness: failures in a row, and until when to leave it alone.

    A first failure costs a second's pause, the next ones twice as long. After `MOST_FAILURES` in a
    row, or one whose cause will not go away by itself, the site rests: waiting calls are failed, and
    nothing is submitted until `rests_until_s` (then one block is tried, and the next rest is twice as
    long), or until the user scales.
    """

    failures: int = 0
    pause_until_s: float = 0.0
    rests: int = 0
    rests_until_s: float = 0.0
    why: str = ""

    def failed(self, why: str, now_s: float, *, is_final: bool, has_others: bool) -> Health:
        """A block was refused, or ended before it was of use."""
        failures = self.failures + 1
        if self.is_resting(now_s):  # it was submitted before, with those that led to the rest
            return replace(self, failures=failures)
        if not has_others and (is_final or failures >= MOST_FAILURES or self.rests):
            rest_s = min(_REST_S * 2**self.rests, _LONGEST_REST_S)
            return Health(
                failures=failures, rests=self.rests + 1, rests_until_s=now_s + rest_s, why=why
            )
        pause_s = min(_FIRST_PAUSE_S * 2 ** (failures - 1), _REST_S)
        return replace(self, failures=failures, pause_until_s=now_s + pause_s, why=why)

    def came_up(self) -> Health:
        """A block has workers: others may come too. What went wrong counts until it has lasted."""
        return replace(self, pause_until_s=0.0, rests_until_s=0.0)

    def is_resting(self, now_s: float) -> bool:
        """Whether the site is left alone because blocks do not come up."""
        return now_s < self.rests_until_s

    def may_submit(self, now_s: float) -> bool:
        """Whether a block may be submitted now."""
        return now_s >= max(self.pause_until_s, self.rests_until_s)

    def most_submissions(self, wanted: int) -> int:
        """Return how many of `wanted` blocks to submit at once: after failures one is tried alone."""
        return min(wanted, 1) if self.failures else wanted
