"""Launchers that go to each node by ssh, for jobs whose batch system starts nothing there by itself.

::

    script ──ssh──► bash on the node: worker_init, then the agent
              stdin is a pipe that stays open as long as ssh runs: when it closes, the agent is told to end

Without that, nobody would tell the agents on other nodes that the job has ended.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.launchers.base import (
    RANK_VARIABLE,
    WAIT_FOR_AGENTS,
    Launch,
    checked_worker_init,
    option_words,
    unique_nodes,
)


@dataclass(frozen=True, kw_only=True)
class SshLauncher:
    """Start each agent with ``ssh``, which must need no password between nodes of a job.

    The environment of the job's script is not there: `worker_init` is run on each node.

    Parameters
    ----------
    overrides
        Options of ssh to add, such as ``"-o StrictHostKeyChecking=no"``.
    """

    overrides: str = ""
    spans_nodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        option_words("overrides", self.overrides)

    def line(self, launch: Launch) -> str:
        return f"""\
{_start_agent(launch, self.overrides)}
agents=()
for node in $({_nodes(launch)}); do
    start_agent "${{#agents[@]}}" "$node" &
    agents+=($!)
done
{WAIT_FOR_AGENTS}"""


@dataclass(frozen=True, kw_only=True)
class GnuParallelLauncher:
    """Start each agent with ``ssh``, all of them by GNU parallel.

    As SshLauncher, and an agent is started every tenth of a second, so that many nodes do not ask for the
    same files at once. The exit code is the number of agents that failed.

    Parameters
    ----------
    overrides
        Options of ``parallel`` to add, such as ``"--joblog agents.log"``.
    ssh_overrides
        Options of ``ssh`` to add.
    """

    overrides: str = ""
    ssh_overrides: str = ""
    spans_nodes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        option_words("overrides", self.overrides)
        option_words("ssh_overrides", self.ssh_overrides)

    def line(self, launch: Launch) -> str:
        options = ["--will-cite", "--jobs", "0", "--delay", "0.1", "--line-buffer"]
        words = shlex.join([*options, *option_words("overrides", self.overrides)])
        return f"""\
{_start_agent(launch, self.ssh_overrides)}
export on_node
export -f start_agent
{_nodes(launch)} | PARALLEL_SHELL=$BASH parallel {words} start_agent '{{= $_ = seq() - 1 =}}' '{{}}'"""


def _nodes(launch: Launch) -> str:
    if not launch.node_names:
        raise SettingsError(
            "this launcher goes to each node by its name, and the provider cannot name them"
        )
    return unique_nodes(launch.node_names)


def _start_agent(launch: Launch, overrides: str) -> str:
    """Return a shell function that starts one agent, given its rank and its node, and waits for it.

    What is to be done on the node is read there from stdin, in braces so that it is read whole before it is
    begun: a login shell of any kind has one short command to understand.
    """
    ssh = shlex.join(["ssh", "-o", "BatchMode=yes", *option_words("overrides", overrides)])
    return f"""\
on_node=$(cat <<'ON_NODE'
{{
exec 3<&0 </dev/null
{checked_worker_init(launch.worker_init)}{shlex.join(launch.agent)} 3<&- &
agent=$!
{{ cat <&3 >/dev/null; kill -TERM "$agent"; }} 2>/dev/null &
wait "$agent"
code=$?
kill "$!" 2>/dev/null
exit "$code"
}}
ON_NODE
)
start_agent() {{
    local pipe keeper code
    exec {{pipe}}< <(
        printf 'cd %q || exit\\n%s\\n' "$PWD" "$on_node"
        exec sleep infinity
    )
    keeper=$!
    {ssh} "$2" "env {RANK_VARIABLE}=$1 bash -s" <&"$pipe"
    code=$?
    kill "$keeper"
    return "$code"
}}"""
