"""Launchers of MPI implementations. The agents are no MPI programs: what is used is the starting alone.

What differs between them, and was measured with one agent of two ending in failure:

==========  =====================  ===================  ============================================
spelling    one agent on a node    no binding           an agent that fails
==========  =====================  ===================  ============================================
OPENMPI     --map-by ppr:1:node    --bind-to none       ends the others
HYDRA       -ppn 1                 -bind-to none        leaves them, with -disable-auto-cleanup
PALS        --ppn 1                --cpu-bind none      leaves them, with --no-abort-on-failure
==========  =====================  ===================  ============================================

(Open MPI 5 and 4 have options to the same end, of other names, and with them the exit code is lost.)
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.launchers.base import (
    Launch,
    one_line,
    option_value,
    option_words,
    unique_nodes,
)


class MpiSpelling(StrEnum):
    """How an ``mpiexec`` takes its options."""

    OPENMPI = "openmpi"
    HYDRA = "hydra"  # MPICH and its relatives
    PALS = "pals"  # HPE Cray


_ONE_PER_NODE = {
    MpiSpelling.OPENMPI: ("--map-by", "ppr:1:node"),
    MpiSpelling.HYDRA: ("-ppn", "1"),
    MpiSpelling.PALS: ("--ppn", "1"),
}
_LEAVE_OTHERS = {
    MpiSpelling.OPENMPI: (),
    MpiSpelling.HYDRA: ("-disable-auto-cleanup",),
    MpiSpelling.PALS: ("--no-abort-on-failure",),
}

# Names of options without their hyphens, of which one or two are taken alike.
_PER_NODE = {"ppn", "npernode", "N", "perhost"}
_MAPPING = {"map-by", "pernode"}
_BINDING = {"bind-to", "cpu-bind", "binding"}
_HOSTS = {"hostfile", "machinefile", "f", "host", "hosts"}
_COUNT = {"n", "np", "c"}


@dataclass(frozen=True, kw_only=True)
class MpiExecLauncher:
    """Start the agents with ``mpiexec``, one on each node, bound to no cores.

    With Open MPI an agent that fails ends the other agents of its block, and an agent that is asked to end
    has one second for it.

    Parameters
    ----------
    bind_cmd
        The option that binds processes to cores; it is given ``none``. ``"--cpu-bind"`` is that of HPE
        Cray's PALS, ``"--bind-to"`` that of Open MPI and MPICH. ``""``: no such option.
    overrides
        Options to add, such as ``"--depth=64"``. Of the launcher's own, those that are there already
        are left out.
    spelling
        How ``mpiexec`` takes its options: ``"openmpi"``, ``"hydra"`` or ``"pals"``. None: PALS for
        ``"--cpu-bind"``, else the job's script asks ``mpiexec --version``.
    command
        The command, such as ``"mpiexec.mpich"``.
    """

    bind_cmd: str = "--bind-to"
    overrides: str = ""
    spelling: MpiSpelling | str | None = None
    command: str = "mpiexec"
    spans_nodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_line("command", self.command)
        one_line("bind_cmd", self.bind_cmd)
        if self.bind_cmd and (not self.bind_cmd.startswith("-") or len(self.bind_cmd.split()) > 1):
            raise SettingsError(
                f"bind_cmd={self.bind_cmd!r}: must be an option, such as '--bind-to' or '--cpu-bind'"
            )
        if self.spelling is not None and self.spelling not in set(MpiSpelling):
            allowed = ", ".join(repr(str(each)) for each in MpiSpelling)
            raise SettingsError(f"spelling={self.spelling!r}: must be {allowed} or None")
        words = option_words("overrides", self.overrides)
        if (count := option_value(words, _COUNT)) is not None:
            raise SettingsError(
                f"overrides={self.overrides!r}: the count of processes ({count}) is nodes_per_block"
            )
        per_node = option_value(words, _PER_NODE)
        if per_node not in {None, "1"}:
            raise SettingsError(
                f"overrides={self.overrides!r}: must be 1 process on a node: the agent, which starts "
                "the workers of its node"
            )

    def line(self, launch: Launch) -> str:
        overrides = option_words("overrides", self.overrides)
        words = [*shlex.split(self.command)]
        if self.bind_cmd and option_value(overrides, _BINDING) is None:
            words += [self.bind_cmd, "none"]
        words += overrides
        count = ["-n", str(launch.nodes)]
        before, hosts, after = "", "", ""
        if launch.node_names and option_value(overrides, _HOSTS) is None:
            before = f'hostfile=$(mktemp)\n{unique_nodes(launch.node_names)} >"$hostfile"\n'
            hosts = ' --hostfile "$hostfile"'
            after = '\nexit_code=$?; rm -f -- "$hostfile"; (exit "$exit_code")'
        spelling = self._spelling()
        if spelling is None:
            before += self._asked(overrides)
            own = ' "${spelling[@]}"'
        else:
            own = "".join(f" {word}" for word in _own(spelling, overrides))
        agent = shlex.join(launch.agent)
        return f"{before}{shlex.join(words)}{own} {shlex.join(count)}{hosts} {agent}{after}"

    def _spelling(self) -> MpiSpelling | None:
        if self.spelling is not None:
            return MpiSpelling(self.spelling)
        return MpiSpelling.PALS if self.bind_cmd == "--cpu-bind" else None

    def _asked(self, overrides: Sequence[str]) -> str:
        openmpi = shlex.join(_own(MpiSpelling.OPENMPI, overrides))
        hydra = shlex.join(_own(MpiSpelling.HYDRA, overrides))
        return f"""\
case $({self.command} --version 2>&1) in
    *"Open MPI"* | *OpenRTE*) spelling=({openmpi}) ;;
    *) spelling=({hydra}) ;;
esac
"""


@dataclass(frozen=True, kw_only=True)
class MpiRunLauncher(MpiExecLauncher):
    """Start the agents with ``mpirun``, one on each node, bound to no cores."""

    command: str = "mpirun"


def _own(spelling: MpiSpelling, overrides: Sequence[str]) -> list[str]:
    """Return the options of ours that the user's leave to say."""
    own: list[str] = []
    if option_value(overrides, _PER_NODE | _MAPPING) is None:
        own += _ONE_PER_NODE[spelling]
    own += [word for word in _LEAVE_OTHERS[spelling] if word not in overrides]
    return own
