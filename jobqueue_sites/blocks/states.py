"""The states of a block, and the moves between them.

::

    requested ─► queued ─► starting ─► up ──► ending ─► completed · timeout · preempted · closed
        │          ▲ held      │        │                (normal ends)
        │          └───────────┴────────┴── requeued
        ▼
     refused       failed · node failed · out of memory · cancelled by others · gone
                   (not normal: they count against the site)

What the batch system says of a job, and whether the block's workers are connected, decide together.
A job that is not listed has not ended for that: see `Block.was_lost_sight_of`.
"""

from __future__ import annotations

from enum import StrEnum

from jobqueue_sites.providers.base import JobState


class BlockState(StrEnum):
    """Where a block is in its life."""

    REQUESTED = "requested"
    QUEUED = "queued"
    HELD = "held"
    STARTING = "starting"
    UP = "up"
    ENDING = "ending"

    COMPLETED = "completed"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    CLOSED = "closed"

    REFUSED = "refused"
    FAILED = "failed"
    NODE_FAILED = "node failed"
    OUT_OF_MEMORY = "out of memory"
    CANCELLED = "cancelled"
    GONE = "gone"

    @property
    def is_final(self) -> bool:
        """Whether the block has ended for good."""
        return not MOVES[self]

    @property
    def is_normal_end(self) -> bool:
        """Whether blocks may end so without anything being wrong."""
        return self in _NORMAL_ENDS


_NORMAL_ENDS = frozenset(
    {BlockState.COMPLETED, BlockState.TIMEOUT, BlockState.PREEMPTED, BlockState.CLOSED}
)
_ENDS = frozenset(
    {
        *_NORMAL_ENDS,
        BlockState.FAILED,
        BlockState.NODE_FAILED,
        BlockState.OUT_OF_MEMORY,
        BlockState.CANCELLED,
        BlockState.GONE,
    }
)
_S = BlockState
_WAITING = frozenset({_S.QUEUED, _S.HELD})

MOVES: dict[BlockState, frozenset[BlockState]] = {
    _S.REQUESTED: frozenset({_S.QUEUED, _S.REFUSED, _S.CLOSED}),
    _S.QUEUED: _ENDS | {_S.HELD, _S.STARTING, _S.UP, _S.ENDING, _S.REFUSED},
    _S.HELD: _ENDS | {_S.QUEUED, _S.STARTING, _S.UP, _S.ENDING, _S.REFUSED},
    _S.STARTING: _ENDS | _WAITING | {_S.UP, _S.ENDING},  # to waiting: the job was requeued
    _S.UP: _ENDS | _WAITING | {_S.STARTING, _S.ENDING},  # to starting: its workers are lost
    _S.ENDING: _ENDS | _WAITING,
    **{end: frozenset() for end in (*_ENDS, _S.REFUSED)},
}

_OF_JOB = {
    JobState.PENDING: _S.QUEUED,
    JobState.HELD: _S.HELD,
    JobState.ENDING: _S.ENDING,
    JobState.COMPLETED: _S.COMPLETED,
    JobState.TIMEOUT: _S.TIMEOUT,
    JobState.PREEMPTED: _S.PREEMPTED,
    JobState.CANCELLED: _S.CANCELLED,
    JobState.FAILED: _S.FAILED,
    JobState.NODE_FAILED: _S.NODE_FAILED,
    JobState.OUT_OF_MEMORY: _S.OUT_OF_MEMORY,
}


def state_after(
    now: BlockState, job: JobState, *, has_workers: bool, is_closing: bool
) -> BlockState:
    """Return the state of a block whose job is seen in the state `job`.

    What cannot follow (an answer that is older than what is known) changes nothing.
    """
    if job is JobState.RUNNING:
        then = _S.UP if has_workers else _S.STARTING
    elif job.is_final and is_closing:
        then = _S.CLOSED
    else:
        then = _OF_JOB[job]
    return then if then in MOVES[now] else now
