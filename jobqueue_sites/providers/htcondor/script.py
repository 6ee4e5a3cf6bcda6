"""The text of an HTCondor job. Pure; the commands are those of ``man condor_submit``.

HTCondor reads a submit description, not a script: the description is in the lines of the script that begin
with ``#CONDOR``, from which the submitting command takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.providers import body, checks
from jobqueue_sites.providers.base import BlockJob
from jobqueue_sites.units import memory_mib, walltime_s

if TYPE_CHECKING:
    from jobqueue_sites.providers.htcondor.provider import HTCondorProvider

PREFIX = "#CONDOR"

# ("$1" is the script.) `queue` submits one job of what has been described.
SUBMIT = f"""\
{{ sed -n 's/^{PREFIX} //p' "$1"; printf 'executable = %s\\nqueue\\n' "$1"; }} | condor_submit -terse -"""

_TAKEN = {"executable", "arguments", "queue", "output", "error", "batch_name", "periodic_remove"}


def script(provider: HTCondorProvider, job: BlockJob) -> str:
    """Return the text that the job runs, with its description in it."""
    return body.script(_directives(provider, job), provider.launcher, provider.launch(job))


def _directives(provider: HTCondorProvider, job: BlockJob) -> Sequence[str]:
    memory = provider.mem_per_node
    limit_s = walltime_s(provider.walltime)
    commands = {
        "batch_name": job.name,
        "output": job.stdout,
        "error": job.stderr,
        "stream_output": "True",
        "stream_error": "True",
        "request_cpus": provider.cores_per_node,
        "request_memory": None if memory is None else memory_mib(memory),
        "request_gpus": provider.gpus_per_node,
        "requirements": provider.requirements,
        "accounting_group": provider.project,
        "periodic_remove": f"JobStatus == 2 && time() - EnteredCurrentStatus > {limit_s}",
    }
    ours = [f"{PREFIX} {name} = {value}" for name, value in commands.items() if value is not None]
    return [*ours, *(f"{PREFIX} {line}" for line in options(provider.scheduler_options))]


def options(text: str) -> list[str]:
    """Return the commands that `scheduler_options` has, one on each line."""
    checks.lines("scheduler_options", text)
    result = []
    for line in map(str.strip, text.splitlines()):
        command = line.removeprefix(PREFIX).strip()
        name, equals, _ = command.partition("=")
        if not command:
            continue
        if not equals or command.startswith("#"):
            raise SettingsError(
                f"scheduler_options has the line {line!r}: must be 'name = value', as condor_submit "
                "reads it"
            )
        if name.strip().lower() in _TAKEN:
            raise SettingsError(
                f"scheduler_options has the line {line!r}: {name.strip()} is made from other settings"
            )
        result.append(command)
    return result
