"""Launchers of Slurm."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.launchers.base import (
    RANK_VARIABLE,
    Launch,
    in_parallel,
    option_value,
    option_words,
)

# srun takes options from these: from those of this job, and from what is left of another where the job was
# submitted from within one. They would give the agents a part of the node, or end in a contradiction.
_UNSET = (
    "unset SLURM_CPUS_PER_TASK SRUN_CPUS_PER_TASK SLURM_CPUS_PER_GPU SLURM_GPUS_PER_TASK "
    "SLURM_NTASKS_PER_GPU SLURM_TRES_PER_TASK SLURM_GPU_BIND SLURM_THREADS_PER_CORE"
)

_OPTIONS = (
    "--export=ALL",  # also where the job was submitted with --export=NONE, which steps inherit
    "--cpu-bind=none",  # by default a task gets one core
    "--mem=0",  # all memory of the job
    "--overlap",  # steps that calls start share what the agents have, and need not wait for it
    "--mpi=none",  # an agent is no MPI process, and what it starts may be
    "--kill-on-bad-exit=0",  # an agent that fails leaves the others alone,
    "--wait=0",  # and so does one that ends
)


_COUNT = {"n", "ntasks", "N", "nodes"}
_PER_NODE = {"ntasks-per-node"}


@dataclass(frozen=True, kw_only=True)
class SrunLauncher:
    """Start the agents with one ``srun``; each has all cores, memory and GPUs of the job on its node.

    Parameters
    ----------
    overrides
        Options to add, such as ``"--network=single_node_vni"``. Of one that is there twice, srun takes
        the last.
    """

    overrides: str = ""
    spans_nodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_overrides(self.overrides)

    def line(self, launch: Launch) -> str:
        nodes = (
            f"--nodes={launch.nodes}",
            f"--ntasks={launch.nodes}",
            "--ntasks-per-node=1",
        )
        overrides = option_words("overrides", self.overrides)
        return f"{_UNSET}\nsrun {shlex.join([*nodes, *_OPTIONS, *overrides, *launch.agent])}"


@dataclass(frozen=True, kw_only=True)
class SrunMPILauncher:
    """Start each agent with a ``srun`` of its own, so that each is a job step.

    Steps end one by one, and each has the environment of a step of one node, in which calls that
    start MPI programs find no other agent. Hundreds of nodes are quicker to start with SrunLauncher.

    Parameters
    ----------
    overrides
        Options to add to each ``srun``.
    """

    overrides: str = ""
    spans_nodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_overrides(self.overrides)

    def line(self, launch: Launch) -> str:
        overrides = option_words("overrides", self.overrides)
        words = shlex.join(["--nodes=1", "--ntasks=1", *_OPTIONS, *overrides, *launch.agent])
        srun = f"{RANK_VARIABLE}=$rank srun --relative=$rank {words}"
        return f"{_UNSET}\n{in_parallel(srun, launch.nodes)}"


def _check_overrides(overrides: str) -> None:
    """Refuse what would start more agents, or fewer, than one on each node."""
    words = option_words("overrides", overrides)
    count = option_value(words, _COUNT)
    if count is not None:
        raise SettingsError(
            f"overrides={overrides!r}: the count of nodes and tasks ({count}) is nodes_per_block"
        )
    if option_value(words, _PER_NODE) not in {None, "1"}:
        raise SettingsError(
            f"overrides={overrides!r}: must be 1 process on a node: the agent, which starts the workers "
            "of its node"
        )
