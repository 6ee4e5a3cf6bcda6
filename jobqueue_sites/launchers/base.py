"""What a launcher is, and those that need no program of a batch system.

::

    Launch ──line()──► shell text, which the job's script runs under bash as its last lines

The text ends when the agents have ended, with the exit code of one that failed, if one did. The script
outlives SIGTERM, so that agents which are told to end have time to; a `wait` of a launcher is
interrupted by it and has to be repeated.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from jobqueue_sites.errors import SettingsError

RANK_VARIABLE = "JOBQUEUE_SITES_RANK"


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a launcher is to start, and where.

    Attributes
    ----------
    agent
        The command, to be run once on each node.
    nodes
        How many nodes the block has.
    worker_init
        Shell lines that have run in the job's script already, for launchers that do not hand on its
        environment to other nodes.
    cores_per_node
        How many cores the job has asked for on each node; None: it has not said.
    node_names
        Shell command that prints the names of the job's nodes, one on a line and perhaps repeated; "": the
        batch system does not say.
    """

    agent: Sequence[str]
    nodes: int
    worker_init: str = ""
    cores_per_node: int | None = None
    node_names: str = ""


class Launcher(Protocol):
    """Starts one agent on each node. Implementations are frozen dataclasses that check themselves."""

    @property
    def spans_nodes(self) -> bool:
        """Whether it reaches nodes other than the one that the job's script runs on."""

    def line(self, launch: Launch) -> str:
        """Return shell text that starts the agents, and ends when they have ended."""


@dataclass(frozen=True, kw_only=True)
class SingleNodeLauncher:
    """Start the agents on the node that the job's script runs on.

    Where a block has several nodes, and all of them are this machine (see LocalProvider), each agent
    finds in ``JOBQUEUE_SITES_RANK`` which of them it stands for.
    """

    spans_nodes: ClassVar[bool] = False

    def line(self, launch: Launch) -> str:
        agent = shlex.join(launch.agent)
        if launch.nodes == 1:
            return agent
        return in_parallel(f"{RANK_VARIABLE}=$rank {agent}", launch.nodes)


@dataclass(frozen=True, kw_only=True)
class SimpleLauncher:
    """Run the agent's command as it is."""

    spans_nodes: ClassVar[bool] = False

    def line(self, launch: Launch) -> str:
        return shlex.join(launch.agent)


@dataclass(frozen=True, kw_only=True)
class WrappedLauncher:
    """Put shell text of the user's own before the agent's command.

    Parameters
    ----------
    prepend
        Such as ``"apptainer exec image.sif"``, or a launcher that is not known here. It must start the
        agent once on each node.
    """

    prepend: str
    spans_nodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_line("prepend", self.prepend)
        if not self.prepend.strip():
            raise SettingsError(
                f"prepend={self.prepend!r}: must be a command; SimpleLauncher() has none"
            )

    def line(self, launch: Launch) -> str:
        return f"{self.prepend.strip()} {shlex.join(launch.agent)}"


def in_parallel(command: str, count: int) -> str:
    """Return text that runs a command `count` times side by side, ``$rank`` being 0, 1, …"""
    return f"""\
agents=()
for ((rank = 0; rank < {count}; rank++)); do
    {command} &
    agents+=($!)
done
{WAIT_FOR_AGENTS}"""


# A signal for which the script has a trap ends `wait` early: then it is repeated.
WAIT_FOR_AGENTS = """\
exit_code=0
for agent in "${agents[@]}"; do
    while :; do
        wait "$agent" && agent_code=0 || agent_code=$?
        ((agent_code > 128)) && kill -0 "$agent" 2>/dev/null || break
    done
    ((agent_code == 0)) || exit_code=$agent_code
done
(exit "$exit_code")"""


WORKER_INIT_FAILED = "jobqueue-sites: worker_init failed with exit code"


def checked_worker_init(worker_init: str) -> str:
    """Return text that runs `worker_init`, and ends the shell with a word of why if it fails.

    An EXIT trap says it, also when `worker_init` itself ends the shell. It is not taken back, lest one
    that `worker_init` has set be lost.
    """
    if not worker_init.strip():
        return ""
    return f"""\
worker_init_done=
trap 'code=$?; [ -n "$worker_init_done" ] || echo "{WORKER_INIT_FAILED} $code" >&2' EXIT
# worker_init
{worker_init.strip()}
code=$?; [ "$code" -eq 0 ] || exit "$code"
worker_init_done=yes
"""


def unique_nodes(node_names: str) -> str:
    """Return a command that prints each node once, in the order of the batch system."""
    return f"{node_names} | awk '!seen[$1]++ {{ print $1 }}'"


def one_line(name: str, text: object) -> None:
    """Refuse what is no text, or more than one line of it."""
    if not isinstance(text, str) or not text.isprintable():
        raise SettingsError(f"{name}={text!r}: must be one line of shell text")


def option_words(name: str, text: object) -> list[str]:
    """Return the words of options that are to be added to a launcher's command."""
    one_line(name, text)
    try:
        return shlex.split(str(text))
    except ValueError as error:
        raise SettingsError(f"{name}={text!r}: is no shell text: {error}") from error


def option_value(words: Sequence[str], names: Collection[str]) -> str | None:
    """Return the value of the first option that has one of these names; "" if it has none."""
    for position, word in enumerate(words):
        name, _, value = word.partition("=")
        if word.startswith("-") and name.lstrip("-") in names:
            return value or next(iter(words[position + 1 :]), "")
    return None
