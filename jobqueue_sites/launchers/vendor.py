"""Launchers of single machines: Cray ALPS and IBM JSM. The lines follow ``man aprun`` and ``man jsrun``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from jobqueue_sites.launchers.base import Launch, option_words


@dataclass(frozen=True, kw_only=True)
class AprunLauncher:
    """Start the agents with ``aprun`` (Cray XC with ALPS).

    Parameters
    ----------
    overrides
        Options to add.
    """

    overrides: str = ""
    spans_nodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        option_words("overrides", self.overrides)

    def line(self, launch: Launch) -> str:
        depth = [] if launch.cores_per_node is None else ["-d", str(launch.cores_per_node)]
        options = ["-n", str(launch.nodes), "-N", "1", *depth, "-cc", "none"]
        overrides = option_words("overrides", self.overrides)
        return shlex.join(["aprun", *options, *overrides, *launch.agent])


@dataclass(frozen=True, kw_only=True)
class JsrunLauncher:
    """Start the agents with ``jsrun`` (IBM JSM, under LSF): one resource set of all cores and GPUs a node.

    Parameters
    ----------
    overrides
        Options to add.
    """

    overrides: str = ""
    spans_nodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        option_words("overrides", self.overrides)

    def line(self, launch: Launch) -> str:
        sets = ["--nrs", str(launch.nodes), "--rs_per_host", "1", "--tasks_per_rs", "1"]
        each = ["--cpu_per_rs", "ALL_CPUS", "--gpu_per_rs", "ALL_GPUS", "--bind", "none"]
        overrides = option_words("overrides", self.overrides)
        return shlex.join(["jsrun", *sets, *each, *overrides, *launch.agent])
