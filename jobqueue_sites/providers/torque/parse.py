"""What Torque's ``qstat -f`` answers: text → states. Pure.

Sources: ``man qstat``; the Torque Administrator's Guide (job states, exit status); answers recorded from
the wrappers that Slurm 22.05 has for these commands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from jobqueue_sites.errors import UnreadableAnswer
from jobqueue_sites.providers.base import Answer, JobState, JobStatus, failed
from jobqueue_sites.providers.pbs.parse import exec_hosts, signalled

_STATES = {
    "Q": JobState.PENDING,
    "W": JobState.PENDING,
    "T": JobState.PENDING,
    "H": JobState.HELD,
    "R": JobState.RUNNING,
    "S": JobState.RUNNING,
    "E": JobState.ENDING,
}

# exit_status: below 0 why the node ended the job, 256 + N that signal N did.
_EXITS = {
    -10: JobState.OUT_OF_MEMORY,
    -11: JobState.TIMEOUT,
    256 + 15: JobState.CANCELLED,
}
_NOT_THERE = re.compile(
    r"Unknown Job|invalid state for job|Request invalid for state", re.IGNORECASE
)
_UNKNOWN_JOB = 153  # the exit code; the wrappers of Slurm have no words for it


def listed(answer: Answer) -> dict[str, JobStatus]:
    """Return the jobs that ``qstat -f`` lists."""
    complaints = [line for line in answer.stderr.splitlines() if line.strip()]
    if answer.exit_code != 0:
        is_about_jobs = answer.exit_code == _UNKNOWN_JOB or bool(complaints)
        if not is_about_jobs or not all("Unknown Job" in line for line in complaints):
            raise failed(answer)
    jobs = {}
    for block in re.split(r"^Job Id:\s*", answer.stdout, flags=re.MULTILINE)[1:]:
        job_id, _, attributes = block.partition("\n")
        # A long value goes on in lines that begin with a tab; each attribute is indented too.
        unfolded = re.sub(r"\n\t(?!\s*[\w.]+ = )", "", attributes)
        values = dict(re.findall(r"^\s+([\w.]+) = (.*)$", unfolded, re.MULTILINE))
        if "job_state" not in values:
            raise failed(answer, f"qstat answered no state of job {job_id}", UnreadableAnswer)
        jobs[job_id.strip()] = _status(values)
    return jobs


def cancelled(answer: Answer) -> None:
    """Raise unless ``qdel`` did what it can: jobs that have ended are none of its failures.

    The commands of Slurm fail without a word for each of them.
    """
    complaints = [line for line in answer.stderr.splitlines() if line.strip()]
    if answer.exit_code != 0 and not all(_NOT_THERE.search(line) for line in complaints):
        raise failed(answer)


def _status(values: Mapping[str, str]) -> JobStatus:
    letter = values["job_state"]
    nodes = exec_hosts(values.get("exec_host", ""))
    comment = values.get("comment", "")
    if letter == "C":
        exit_code = int(values["exit_status"]) if "exit_status" in values else None
        # Without an exit status nothing says that the job failed.
        usual = JobState.FAILED if exit_code else JobState.COMPLETED
        state = usual if exit_code is None else _EXITS.get(exit_code, usual)
        return JobStatus(state=state, reason=comment, exit_code=signalled(exit_code), nodes=nodes)
    state = _STATES.get(letter, JobState.RUNNING)
    if letter not in _STATES:
        comment = f"Torque says {letter}"
    elif letter == "S":
        comment = "suspended"
    elif state is JobState.RUNNING:
        comment = ""
    return JobStatus(state=state, reason=comment, nodes=nodes)
