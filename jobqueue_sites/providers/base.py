"""What a provider is: the settings of a batch system's jobs, and the texts of its commands.

::

    settings ──script──► text of a job        submit ──► job id
                                              query  ──► states of listed jobs
                                              find   ──► what became of a job that is listed no more
                                              cancel

All of it is pure: a `Command` says what to run and how to read the answer; `blocks.commands` runs it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from jobqueue_sites.launchers import Launcher, SingleNodeLauncher

T = TypeVar("T")


class JobState(StrEnum):
    """What the batch system says of a job."""

    PENDING = "pending"
    HELD = "held"
    RUNNING = "running"
    ENDING = "ending"  # being ended: its processes may still run
    COMPLETED = "completed"
    TIMEOUT = "timeout"
    PREEMPTED = "preempted"
    CANCELLED = "cancelled"
    FAILED = "failed"
    NODE_FAILED = "node failed"
    OUT_OF_MEMORY = "out of memory"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended for good."""
        return self not in _OPEN


_OPEN = {JobState.PENDING, JobState.HELD, JobState.RUNNING, JobState.ENDING}


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """A job as the batch system sees it.

    Attributes
    ----------
    reason
        Why it waits, or why it ended, in the batch system's words; "" if it does not say.
    exit_code
        Of a job that has ended, if it is known; -N if signal N ended it.
    nodes
        The names of its nodes, if it has any yet.
    is_hopeless
        Whether it waits for what will never come, such as more nodes than the partition has.
    """

    state: JobState
    reason: str = ""
    exit_code: int | None = None
    nodes: tuple[str, ...] = ()
    is_hopeless: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command answered."""

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Command(Generic[T]):
    """A command of a batch system: what to run, and how its answer is read.

    `read` raises CommandError (or a subclass that says more) if the answer is none.
    """

    argv: tuple[str, ...]
    read: Callable[[Answer], T]


@dataclass(frozen=True, kw_only=True)
class BlockJob:
    """What the job of one block is to do.

    Attributes
    ----------
    name
        The job's name, which is the block's.
    agent
        The command that is to run once on each node.
    stdout, stderr
        Absolute paths of the files that the job writes to.
    """

    name: str
    agent: tuple[str, ...]
    stdout: str
    stderr: str


@dataclass(frozen=True, kw_only=True)
class Provider(ABC):
    """Speaks to one batch system; the settings here are alike for all of them.

    Parameters
    ----------
    nodes_per_block
        How many nodes one block, which is one job, has.
    cores_per_node, mem_per_node
        What to ask for on each node: cores, and memory in GB; None: what the batch system gives.
    init_blocks, min_blocks, max_blocks
        How many blocks to start with, to keep at least, and to have at most.
    parallelism
        Blocks are added while there are fewer slots than ready calls times this; 0 to 1.
    walltime
        How long a block may last, as ``"HH:MM:SS"``.
    worker_init
        Shell lines that each job runs first, such as ``"module load conda; conda activate env"``.
        If the last of them fails, so does the block.
    launcher
        Starts one agent on each node of a block.
    cmd_timeout
        Seconds after which a command of the batch system is given up.
    """

    nodes_per_block: int = 1
    cores_per_node: int | None = None
    mem_per_node: float | None = None
    init_blocks: int = 1
    min_blocks: int = 0
    max_blocks: int = 1
    parallelism: float = 1.0
    walltime: str = "00:10:00"
    worker_init: str = ""
    launcher: Launcher = field(default_factory=SingleNodeLauncher)
    cmd_timeout: float = 30.0

    @abstractmethod
    def script(self, job: BlockJob) -> str:
        """Return the text of the job, directives, `worker_init`, launcher and all."""

    @abstractmethod
    def submit(self, script_path: str) -> Command[str]:
        """Return the command that submits a script and answers with the job's id."""

    @abstractmethod
    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        """Return one command for all jobs; jobs that are listed no more are missing in the answer."""

    @abstractmethod
    def find(self, job_id: str) -> Sequence[Command[JobStatus | None]]:
        """Return commands, to be tried in turn, that may know of a job that is listed no more."""

    @abstractmethod
    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        """Return the command that ends jobs; jobs that have ended already are no failure."""

    def room(self) -> Command[str] | None:
        """Return a command that tells, in a few words, what is free where jobs wait; None: unknown."""
        return None
