"""A block: the nodes of one batch job, as its cluster knows it. A value; each event gives a new one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from jobqueue_sites.blocks.states import MOVES, BlockState, state_after
from jobqueue_sites.providers.base import JobStatus

LOST_SIGHT_S = 60.0
"""How long a job may be missing from all lists, and its workers with it, before it counts as gone."""
EARLY_S = 60.0
"""A block that fails within so many seconds has been of no use, even if workers came."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block.

    Attributes
    ----------
    name
        Of the block, its job, and (with node and slot) its workers.
    number
        Counted from 0 by its cluster.
    state
        Where it is in its life.
    job_id
        What the batch system calls its job; None until it is submitted.
    nodes
        The names of its nodes, once it has some.
    workers
        How many of its workers are connected now.
    was_up
        Whether any of them ever was.
    is_closing
        Whether this side wants it to end.
    reason
        Why it waits, or why it ended, as the batch system says it; "" if it does not.
    fault
        Why it cannot go on, as its agents or its log say it; "" if they do not.
    is_setup_fault
        Whether it failed for a reason that the next block will meet too.
    exit_code
        Of its job, once known.
    submitted_s, started_s, ended_s
        When, in seconds since the epoch; None before that.
    walltime_s
        How long it may last from its start.
    script_path, stdout_path, stderr_path
        Its files.
    """

    name: str
    number: int = field(repr=False)
    state: BlockState = BlockState.REQUESTED
    job_id: str | None = None
    nodes: tuple[str, ...] = ()
    workers: int = 0
    was_up: bool = field(default=False, repr=False)
    is_closing: bool = field(default=False, repr=False)
    reason: str = ""
    fault: str = ""
    is_setup_fault: bool = field(default=False, repr=False)
    exit_code: int | None = None
    submitted_s: float | None = field(default=None, repr=False)
    started_s: float | None = field(default=None, repr=False)
    ended_s: float | None = field(default=None, repr=False)
    missing_since_s: float | None = field(default=None, repr=False)
    hopeless_since_s: float | None = field(default=None, repr=False)
    walltime_s: int = field(default=0, repr=False)
    script_path: str = field(default="", repr=False)
    stdout_path: str = field(default="", repr=False)
    stderr_path: str = field(default="", repr=False)

    @property
    def is_over(self) -> bool:
        """Whether it has ended for good."""
        return self.state.is_final

    @property
    def ends_s(self) -> float | None:
        """When its time is over; None before it has started."""
        return None if self.started_s is None else self.started_s + self.walltime_s

    @property
    def why(self) -> str:
        """Why it waits or ended, from whoever knows most; "" if nobody says."""
        return self.fault or self.reason

    @property
    def is_staying(self) -> bool:
        """Whether it is there, or on its way, and is not about to end."""
        return not (self.is_over or self.is_closing or self.state is BlockState.ENDING)

    @property
    def has_failed_early(self) -> bool:
        """Whether it ended before it was of use, and not for our wish."""
        if not self.is_over or self.state is BlockState.CLOSED:
            return False
        return not self.was_up or (
            self.state in (BlockState.FAILED, BlockState.OUT_OF_MEMORY)
            and self.lasted_s is not None
            and self.lasted_s < EARLY_S
        )

    @property
    def lasted_s(self) -> float | None:
        """How long it ran; None if it never did, or has not ended."""
        if self.started_s is None or self.ended_s is None:
            return None
        return max(0.0, self.ended_s - self.started_s)

    def submitted(self, job_id: str, now_s: float) -> Block:
        """The batch system took its job."""
        return replace(self, state=BlockState.QUEUED, job_id=job_id, submitted_s=now_s)

    def refused(self, why: str, now_s: float) -> Block:
        """The batch system does not take its job, or will never start it."""
        return replace(self, state=BlockState.REFUSED, reason=why, ended_s=now_s)

    def wanted_closed(self) -> Block:
        """Note that this side wants it to end."""
        return replace(self, is_closing=True)

    def ending(self) -> Block:
        """Its job has been cancelled for our wish."""
        state = BlockState.ENDING if BlockState.ENDING in MOVES[self.state] else self.state
        return replace(self, state=state)

    def closed_unsubmitted(self, now_s: float) -> Block:
        """It was not wanted any more before there was a job."""
        return replace(self, is_closing=True, state=BlockState.CLOSED, ended_s=now_s)

    def seen(self, status: JobStatus, now_s: float) -> Block:
        """The batch system said this of its job."""
        state = state_after(
            self.state, status.state, has_workers=self.workers > 0, is_closing=self.is_closing
        )
        told = replace(
            self,
            state=state,
            nodes=status.nodes or self.nodes,
            missing_since_s=None,
            exit_code=self.exit_code if status.exit_code is None else status.exit_code,
        )
        if state in (BlockState.QUEUED, BlockState.HELD):
            since_s = self.hopeless_since_s or now_s
            told = replace(
                told,
                nodes=status.nodes,
                reason=status.reason,
                started_s=None,
                hopeless_since_s=since_s if status.is_hopeless else None,
            )
            if self.state not in (BlockState.QUEUED, BlockState.HELD):  # it begins anew
                told = replace(told, fault="", is_setup_fault=False)
        elif self.state is not state and not state.is_final:
            told = replace(told, reason="", hopeless_since_s=None)
        if state in (BlockState.STARTING, BlockState.UP) and self.started_s is None:
            told = replace(told, started_s=now_s)
        if state.is_final and not self.is_over:
            told = replace(told, ended_s=now_s, reason=status.reason)
        return told

    def with_workers(self, workers: int, now_s: float) -> Block:
        """So many of its workers are connected."""
        if workers == self.workers:
            return self
        told = replace(self, workers=workers, was_up=self.was_up or workers > 0)
        target = BlockState.UP if workers else BlockState.STARTING
        is_running = self.state in (BlockState.QUEUED, BlockState.STARTING, BlockState.UP)
        if (
            is_running
            and not self.is_closing
            and (workers or self.state is BlockState.UP)
            and target is not self.state
        ):
            assert target in MOVES[self.state]
            told = replace(told, state=target, started_s=self.started_s or now_s, reason="")
        return told

    def told_of_fault(self, why: str, *, is_setup_fault: bool) -> Block:
        """Note what its agents or its log say of why it cannot go on."""
        return replace(self, fault=why, is_setup_fault=self.is_setup_fault or is_setup_fault)

    def was_lost_sight_of(self, now_s: float) -> Block:
        """No list has its job, and nothing else knows of it either."""
        if self.workers > 0:
            return replace(self, missing_since_s=None)
        since_s = now_s if self.missing_since_s is None else self.missing_since_s
        if now_s - since_s < LOST_SIGHT_S and not self.is_closing:
            return replace(self, missing_since_s=since_s)
        state = BlockState.CLOSED if self.is_closing else BlockState.GONE
        reason = "the batch system knows nothing of the job any more"
        return replace(self, state=state, ended_s=now_s, reason=reason)
