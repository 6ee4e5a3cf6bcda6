"""What the agents of a cluster must know: one file, written by the cluster, readable by its user only.

It is there as long as the cluster. A job that starts later, or whose block was given up since nobody knew
whether the batch system had taken it, has no use: its agents find so here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobqueue_sites.pinning.layout import NodeLayout

FILE_NAME = "cluster.json"


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Settings of the agents of a cluster.

    Attributes
    ----------
    scheduler
        The addresses that the scheduler may be reached under; the first that answers is taken.
    security
        Arguments of `distributed.Security`, certificates and keys as text; None: no encryption.
    versions
        Of Python and packages on the client's side; a node must have the same.
    layout
        How each node is divided among workers.
    nodes
        How many nodes a block has.
    resources, env
        Dask resources and environment variables that each worker gets.
    plugins
        Dask worker plugins, each pickled, in base64.
    start_method
        How worker processes start: ``"spawn"`` or ``"forkserver"``.
    interface
        Network interface that workers listen on; None: the one that leads to the scheduler.
    local_directory
        Where workers spill to; None: a temporary folder of the node.
    death_timeout_s
        After so long without a scheduler a worker ends, and with the last one the job.
    connect_timeout_s
        How long an agent tries to reach the scheduler before it says that it cannot.
    dask_config
        Dask configuration of agents and workers.
    """

    scheduler: Sequence[str]
    security: Mapping[str, str] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    layout: NodeLayout = field(default_factory=NodeLayout)
    nodes: int = 1
    resources: Mapping[str, float] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    plugins: Sequence[str] = ()
    start_method: str = "spawn"
    interface: str | None = None
    local_directory: str | None = None
    death_timeout_s: float = 60.0
    connect_timeout_s: float = 10.0
    dask_config: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write them into `folder`, for the user's eyes only, since keys are among them."""
        path = folder / FILE_NAME
        draft = path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(dataclasses.asdict(self), file, indent=1)
        draft.replace(path)

    @classmethod
    def read(cls, folder: Path) -> AgentSettings:
        """Read them from `folder`.

        Raises
        ------
        FileNotFoundError
            The cluster has been closed.
        TypeError
            They were written by another version.
        """
        stored = json.loads((folder / FILE_NAME).read_text())
        layout = stored.pop("layout")
        accelerators = layout["available_accelerators"]
        if isinstance(accelerators, list):
            layout["available_accelerators"] = tuple(accelerators)
        return cls(layout=NodeLayout(**layout), **stored)


def remove_settings(folder: Path) -> None:
    """Leave no keys behind, and no use to jobs that start late: the cluster is closed."""
    with contextlib.suppress(OSError):
        (folder / FILE_NAME).unlink()


def disown(folder: Path, block: str) -> None:
    """Let a job that the batch system may have taken, or not, be of no use."""
    with contextlib.suppress(OSError):
        _disowned(folder, block).touch()


def is_disowned(folder: Path, block: str) -> bool:
    """Whether the cluster has given the block up."""
    return _disowned(folder, block).exists()


def _disowned(folder: Path, block: str) -> Path:
    return folder / f"{block}.disowned"
