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
from typing import ClassVar, Generic, TypeVar

from jobqueue_sites.errors import CommandError, SettingsError
from jobqueue_sites.launchers import Launch, Launcher, SingleNodeLauncher
from jobqueue_sites.providers import checks
from jobqueue_sites.units import walltime_s

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

    tested_against: ClassVar[str]
    """What the provider was tested against: a batch system that ran, or recorded or documented answers."""

    spans_machines: ClassVar[bool] = True
    """Whether the nodes of a block are different computers."""

    node_names: ClassVar[str] = ""
    """Shell command that prints, in a job, the names of its nodes; "": the batch system does not say."""

    def __post_init__(self) -> None:
        checks.whole("nodes_per_block", self.nodes_per_block, least=1)
        checks.whole("cores_per_node", self.cores_per_node, least=1, optional=True)
        checks.positive("mem_per_node", self.mem_per_node, optional=True)
        self._check_blocks()
        walltime_s(self.walltime)
        self._check_worker_init()
        self._check_launcher()
        checks.positive("cmd_timeout", self.cmd_timeout)

    def _check_blocks(self) -> None:
        checks.whole("init_blocks", self.init_blocks, least=0)
        checks.whole("min_blocks", self.min_blocks, least=0)
        checks.whole("max_blocks", self.max_blocks, least=1)
        checks.share("parallelism", self.parallelism)
        for name in ("init_blocks", "min_blocks"):
            if getattr(self, name) > self.max_blocks:
                raise SettingsError(
                    f"{name}={getattr(self, name)}: must not be above max_blocks={self.max_blocks}"
                )

    def _check_worker_init(self) -> None:
        checks.lines("worker_init", self.worker_init)
        if self.worker_init.rstrip().endswith("\\"):
            raise SettingsError(
                f"worker_init={self.worker_init!r}: must not end with a backslash, which would "
                "join it with the next line of the script"
            )

    def _check_launcher(self) -> None:
        if not hasattr(self.launcher, "line") or isinstance(self.launcher, type):
            raise SettingsError(
                f"launcher={self.launcher!r}: must be a launcher, such as SrunLauncher()"
            )
        if self.nodes_per_block > 1 and self.spans_machines and not self.launcher.spans_nodes:
            raise SettingsError(
                f"nodes_per_block={self.nodes_per_block} with launcher={self.launcher!r}: it starts "
                "an agent on the first node only; use one that reaches all nodes of a block, such as "
                "SrunLauncher() or MpiExecLauncher(), as the provider's launcher"
            )

    def launch(self, job: BlockJob) -> Launch:
        """Return what the launcher is to start for a job."""
        return Launch(
            agent=job.agent,
            nodes=self.nodes_per_block,
            worker_init=self.worker_init,
            cores_per_node=self.cores_per_node,
            node_names=self.node_names,
        )

    @abstractmethod
    def script(self, job: BlockJob) -> str:
        """Return the text of the job, directives, `worker_init`, launcher and all."""

    @abstractmethod
    def submit(self, script_path: str) -> Command[str]:
        """Return the command that submits an executable script, and answers with the job's id."""

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


def failed(
    answer: Answer, message: str = "", error: type[CommandError] = CommandError
) -> CommandError:
    """Return an error that keeps what a command answered; without a message, its own words are it."""
    if not message:
        words = (answer.stderr.strip() or answer.stdout.strip()).splitlines()
        said = f": {words[-1]}" if words else ""
        # What goes through a shell has its name behind the shell's text.
        program = answer.argv[3] if answer.argv[:2] == ("sh", "-c") else answer.argv[0]
        message = f"{program} failed with exit code {answer.exit_code}{said}"
    return error(
        message,
        argv=answer.argv,
        exit_code=answer.exit_code,
        stdout=answer.stdout,
        stderr=answer.stderr,
    )
