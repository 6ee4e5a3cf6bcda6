"""What an agent tells its cluster: a file beside the job's script, and an event on the scheduler.

The file comes through even if the scheduler cannot be reached; the event is for those who look at the
scheduler.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

TOPIC = "jobqueue-sites"
"""Dask event topic of the agents' reports."""


class Phase(StrEnum):
    """How far an agent is."""

    STARTING = "starting"
    UP = "up"
    FAILED = "failed"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the agent of one node tells.

    Attributes
    ----------
    block, node, host, pid
        Whose report it is.
    phase
        How far it is.
    message
        What a user should know: what has gone wrong; "" if nothing has.
    is_setup_fault
        Whether the next block would fail for the same reason.
    workers
        How many workers it plans; None if it has no plan yet.
    topology, plan
        What it found on the node and planned, as JSON values.
    time_s
        When, in seconds since the epoch.
    """

    block: str
    node: int
    host: str
    pid: int
    phase: Phase
    message: str = ""
    is_setup_fault: bool = False
    workers: int | None = None
    topology: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    time_s: float = field(default_factory=time.time)

    def write(self, folder: Path) -> None:
        """Write it where its cluster looks for it."""
        path = report_path(folder, self.block, self.node)
        draft = path.with_suffix(f".{self.pid}.new")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read one.

        Raises
        ------
        OSError
            There is none.
        ValueError
            It is not to be understood.
        """
        stored = json.loads(path.read_text())
        try:
            return cls(**{**stored, "phase": Phase(stored["phase"])})
        except (TypeError, KeyError) as error:  # of an agent of another version
            raise ValueError(f"{path}: {error}") from error


def report_path(folder: Path, block: str, node: int) -> Path:
    """Return where the report of a node is."""
    return folder / f"{block}-node{node}.json"
