"""Launchers: the shell line that starts one agent on each node of a block. Pure: settings → text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


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
    """

    agent: Sequence[str]
    nodes: int
    worker_init: str = ""


class Launcher(Protocol):
    """Starts one agent on each node. Implementations are frozen dataclasses that check themselves."""

    def line(self, launch: Launch) -> str:
        """Return shell text that starts the agents, and ends when they have ended."""


@dataclass(frozen=True, kw_only=True)
class SingleNodeLauncher:
    """Start the agent on the node that the job's script runs on."""

    def line(self, launch: Launch) -> str:
        return shlex.join(launch.agent)
