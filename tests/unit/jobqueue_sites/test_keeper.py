"""How many blocks are opened, and what those who wait are told."""

from __future__ import annotations

from jobqueue_sites import BlocksFailed
from jobqueue_sites.blocks.block import Block
from jobqueue_sites.blocks.keeper import BlockKeeper
from jobqueue_sites.blocks.policy import MOST_FAILURES, Bounds
from jobqueue_sites.providers import JobState, JobStatus


class Cluster:
    """Blocks as they would be, and what the keeper told of them."""

    def __init__(self, *, init_blocks: int = 0, max_blocks: int = 4):
        self.blocks: dict[int, Block] = {}
        self.failures: list[BlocksFailed] = []
        bounds = Bounds(
            init_blocks=init_blocks, min_blocks=0, max_blocks=max_blocks, parallelism=1.0
        )
        self.keeper = BlockKeeper(
            bounds, self.open_blocks, lambda: "why", None, self.failures.append
        )

    def open_blocks(self) -> list[Block]:
        return [block for block in self.blocks.values() if not block.is_over]

    def open(self, demand: int = 0) -> list[int]:
        """Open as many blocks as the keeper wants; each has one slot."""
        numbers = range(len(self.blocks), len(self.blocks) + self.keeper.to_open(demand, 1))
        for number in numbers:
            block = Block(name=f"b-{number}", number=number, walltime_s=600)
            self.blocks[number] = block.submitted(str(number), 0.0)
        return list(numbers)

    def change(self, block: Block) -> None:
        before = self.blocks[block.number]
        self.blocks[block.number] = block
        self.keeper.changed(before, block)

    def bring_up(self, number: int) -> None:
        self.change(self.blocks[number].with_workers(1, 1.0))

    def end(self, number: int, state: JobState) -> None:
        self.change(self.blocks[number].seen(JobStatus(state=state), 1e4))

    def close(self, number: int) -> None:
        self.change(self.blocks[number].wanted_closed())


def test_blocks_that_reach_their_time_limit_one_by_one_are_not_replaced_without_work() -> None:
    cluster = Cluster(init_blocks=2)
    assert cluster.open() == [0, 1]
    cluster.bring_up(0)
    cluster.end(0, JobState.TIMEOUT)  # before the other has come up
    assert cluster.open() == []
    cluster.bring_up(1)
    cluster.end(1, JobState.TIMEOUT)
    assert cluster.open() == []
    assert cluster.open(demand=1) == [2]


def test_a_block_that_was_asked_for_and_ends_before_it_is_up_is_asked_for_again() -> None:
    cluster = Cluster(init_blocks=1)
    assert cluster.open() == [0]
    cluster.end(0, JobState.PREEMPTED)
    cluster.keeper.health = cluster.keeper.health.came_up()  # the pause is over
    assert cluster.open() == [1]


def test_scaling_down_and_up_at_once_ends_up() -> None:
    cluster = Cluster(init_blocks=3)
    for number in cluster.open():
        cluster.bring_up(number)
    surplus = cluster.keeper.rescale(1)
    assert [block.number for block in surplus] == [2, 1]
    for block in surplus:
        cluster.close(block.number)
    assert cluster.keeper.rescale(3) == []
    assert cluster.open() == [3, 4]  # while those that close still have workers


def test_blocks_that_close_are_not_chosen_to_be_closed_again() -> None:
    cluster = Cluster(init_blocks=3)
    for number in cluster.open():
        cluster.bring_up(number)
    for block in cluster.keeper.rescale(2):
        cluster.close(block.number)
    assert [block.number for block in cluster.keeper.rescale(1)] == [1]


def test_calls_are_failed_only_when_no_block_is_just_starting() -> None:
    cluster = Cluster(init_blocks=MOST_FAILURES + 1)
    cluster.open(demand=9)
    starting = cluster.blocks[0].seen(JobStatus(state=JobState.RUNNING), 1.0)
    cluster.change(starting)
    for number in range(1, MOST_FAILURES + 1):
        cluster.end(number, JobState.FAILED)
    assert cluster.open(demand=9) == []
    assert not cluster.failures
    cluster.end(0, JobState.FAILED)
    assert cluster.open(demand=9) == []
    assert len(cluster.failures) == 1
    assert cluster.open(demand=0) == []
    assert len(cluster.failures) == 1


def test_blocks_that_come_up_and_fail_soon_are_not_submitted_for_ever() -> None:
    cluster = Cluster()
    for _ in range(MOST_FAILURES):
        cluster.keeper.health = cluster.keeper.health.came_up()  # the pause is over
        (number,) = cluster.open(demand=1)
        cluster.change(cluster.blocks[number].with_workers(1, 9990.0))
        cluster.end(number, JobState.OUT_OF_MEMORY)
    assert cluster.open(demand=1) == []
    assert cluster.failures
