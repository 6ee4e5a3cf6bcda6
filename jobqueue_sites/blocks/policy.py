"""How many blocks there should be, and when a site is given a rest. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jobqueue_sites.blocks.block import Block
from jobqueue_sites.blocks.states import BlockState

MOST_FAILURES = 3
"""So many refusals or failed starts in a row, with no block up, and the site is left alone."""
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
