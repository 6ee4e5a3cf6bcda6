"""The keeper: how many blocks to open now, and what to tell those who wait for them.

It does what `policy` decides, at the time of day; it knows neither Dask nor the batch system.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

from jobqueue_sites.blocks import explain as words
from jobqueue_sites.blocks.block import EARLY_S, Block
from jobqueue_sites.blocks.policy import Bounds, Health, blocks_missing, to_close
from jobqueue_sites.blocks.states import BlockState
from jobqueue_sites.errors import BlocksFailed

logger = logging.getLogger("jobqueue_sites.cluster")
_FIRST_WORD_S = 15.0
_RARER = 4


class BlockKeeper:
    """Decides for one cluster. Used by one event loop only.

    Parameters
    ----------
    bounds
        How many blocks there may be.
    open_blocks
        Returns the blocks that have not ended.
    explain
        Says why nothing runs.
    on_waiting
        Called with an explanation when work has waited long for a first worker.
    on_failure
        Called again and again while work waits but blocks do not come up.
    """

    def __init__(
        self,
        bounds: Bounds,
        open_blocks: Callable[[], Sequence[Block]],
        explain: Callable[[], str],
        on_waiting: Callable[[str], object] | None,
        on_failure: Callable[[BlocksFailed], object] | None,
    ):
        self.health = Health()
        self._bounds = bounds
        self._open_blocks = open_blocks
        self._explain = explain
        self._on_waiting = on_waiting
        self._on_failure = on_failure
        self._owed = max(bounds.init_blocks, bounds.min_blocks)
        self._waiting_since_s, self._tell_after_s = time.monotonic(), _FIRST_WORD_S

    @property
    def has_given_up(self) -> bool:
        """Whether no block is up, none is just starting, and none is tried for a while."""
        return self.health.is_resting(time.time()) and not any(
            block.workers or block.state is BlockState.STARTING for block in self._open_blocks()
        )

    def to_open(self, demand: int, slots_per_block: int) -> int:
        """Return how many blocks to open now, for `demand` calls that run or could run."""
        if demand and self.has_given_up:
            if self._on_failure is not None:
                self._on_failure(BlocksFailed(self._explain()))
            return 0
        now_s = time.time()
        open_blocks = self._open_blocks()
        self._tell_why_it_waits(demand, is_any_up=any(block.workers for block in open_blocks))
        if self.health.failures and any(_is_good(block, now_s) for block in open_blocks):
            self.health = Health()
        if not self.health.may_submit(now_s):
            return 0
        staying = [block for block in open_blocks if block.is_staying]
        missing = blocks_missing(self._bounds, demand, slots_per_block, staying, self._owed)
        return self.health.most_submissions(missing)

    def rescale(self, target: int) -> list[Block]:
        """Have so many blocks, also without work; return those that are to be closed."""
        self._bounds = dataclasses.replace(self._bounds, min_blocks=0, max_blocks=target)
        self.health = Health()
        staying = [block for block in self._open_blocks() if block.is_staying]
        surplus = to_close(staying, len(staying) - target)
        up = sum(block.was_up for block in staying if block not in surplus)
        self._owed = target - up
        return surplus

    def changed(self, before: Block, block: Block) -> None:
        """Take note of what has become of a block."""
        if block.was_up and not before.was_up:
            self._owed = max(0, self._owed - 1)
            self.health = self.health.came_up()
        if not block.is_over or before.is_over:
            return
        if block.has_failed_early or not block.state.is_normal_end:
            logger.warning("%s", words.of_ended(block))
        if not block.has_failed_early:
            return
        was_resting = self.health.is_resting(time.time())
        self.health = self.health.failed(
            words.of_ended(block),
            time.time(),
            is_final=block.is_setup_fault,
            has_others=any(other.workers for other in self._open_blocks()),
        )
        if self.health.is_resting(time.time()) and not was_resting:
            logger.error("%s", self._explain())

    def _tell_why_it_waits(self, demand: int, *, is_any_up: bool) -> None:
        """Explain once in a while, less and less often, why work finds no worker."""
        now_s = time.monotonic()
        if not demand or is_any_up:
            self._waiting_since_s, self._tell_after_s = now_s, _FIRST_WORD_S
        elif now_s - self._waiting_since_s >= self._tell_after_s:
            self._tell_after_s *= _RARER
            if self._on_waiting is not None:
                self._on_waiting(self._explain())
            else:
                logger.warning("no worker yet: %s", self._explain())


def _is_good(block: Block, now_s: float) -> bool:
    """Whether a block has been of use for so long that what failed before is past."""
    if block.started_s is None or not block.workers:
        return False
    return now_s - block.started_s >= EARLY_S
