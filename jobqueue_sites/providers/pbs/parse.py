"""What the commands of OpenPBS answer: text → states. Pure.

Sources: ``man qstat``, ``man qsub``; the PBS Professional Administrator's Guide (job states, exit status);
and how OpenPBS 23.06 was seen to answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jobqueue_sites.errors import CommandError, SubmitRefused, UnreadableAnswer
from jobqueue_sites.providers.base import Answer, JobState, JobStatus, failed

_STATES = {
    "Q": JobState.PENDING,
    "T": JobState.PENDING,  # is moved to another queue
    "W": JobState.PENDING,  # waits for the time that it was submitted for
    "M": JobState.PENDING,  # was moved to another server
    "H": JobState.HELD,
    "R": JobState.RUNNING,
    "B": JobState.RUNNING,
    "S": JobState.RUNNING,
    "U": JobState.RUNNING,
    "E": JobState.ENDING,
}
_TELLING = {"S": "suspended", "U": "suspended: its node is in use", "M": "moved to another server"}
_ENDED = {"F", "X"}

# Exit_status below 0: why the server or the node ended the job.
_EXITS = {
    -14: JobState.NODE_FAILED,
    -20: JobState.NODE_FAILED,
    -26: JobState.OUT_OF_MEMORY,
    -27: JobState.OUT_OF_MEMORY,
    -29: JobState.TIMEOUT,
}
_DELETED = 91  # substate

# Words about single jobs, which make no failure of a command for several.
_NOT_THERE = re.compile(r"Unknown Job Id|Job has finished|has finished|Request invalid for state")
_NO_SERVER = re.compile(
    r"[Cc]annot connect|[Cc]onnection refused|[Cc]onnection timed out|[Cc]ommunication failure"
    r"|[Nn]o default server|Premature end of message|Server .*not (running|responding)",
)


def submitted(answer: Answer, settings: Mapping[str, str | None]) -> str:
    """Return the job's id, such as ``123.server``.

    Parameters
    ----------
    settings
        Values that a refusal may be about, by a word that it then has.
    """
    said = answer.stderr.strip() or answer.stdout.strip()
    if answer.exit_code != 0:
        if _NO_SERVER.search(said):
            raise failed(answer)
        raise refused(answer, said, settings)
    for line in reversed(answer.stdout.splitlines()):
        if re.fullmatch(r"\d+(\[\])?(\.\S+)?", line.strip()):
            return line.strip()
    if said:  # some print why they refuse a job, and succeed
        raise refused(answer, said, settings)
    raise failed(answer, "qsub answered no job id", UnreadableAnswer)


def refused(answer: Answer, said: str, settings: Mapping[str, str | None]) -> CommandError:
    """Return the error of a job that is refused, beside the setting that it seems to be about."""
    lines = [line.removeprefix("qsub: ") for line in said.splitlines() if line.strip()]
    errors = re.findall(
        r"error: (.*)", said
    )  # the Torque commands of Slurm say much more around it
    refusal = [f"exit code {answer.exit_code}", *lines, *errors][-1]
    about = [value for word, value in settings.items() if value and word in refusal.lower()]
    detail = f": {about[0]!r}" if about and about[0] not in refusal else ""
    return failed(answer, f"qsub refused: {refusal}{detail}", SubmitRefused)


def listed(answer: Answer) -> dict[str, JobStatus]:
    """Return the jobs that ``qstat -x -f -F json`` lists."""
    complaints = [line for line in answer.stderr.splitlines() if line.strip()]
    unknown = [line for line in complaints if _NOT_THERE.search(line)]
    if answer.exit_code != 0 and (not complaints or len(unknown) < len(complaints)):
        raise failed(answer)
    if answer.exit_code != 0 and not answer.stdout.strip():
        return {}
    try:
        # Values of a job's environment may have raw control characters.
        jobs = json.loads(answer.stdout, strict=False).get("Jobs", {})
        return {job_id: _status(job) for job_id, job in jobs.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise failed(
            answer, f"qstat answered no JSON that can be read: {error}", UnreadableAnswer
        ) from error


def cancelled(answer: Answer) -> None:
    """Raise unless ``qdel`` did what it can: jobs that have ended are none of its failures."""
    complaints = [line for line in answer.stderr.splitlines() if line.strip()]
    is_about_jobs = bool(complaints) and all(_NOT_THERE.search(line) for line in complaints)
    if answer.exit_code != 0 and not is_about_jobs:
        raise failed(answer)


def _status(job: Mapping[str, Any]) -> JobStatus:
    letter = str(job["job_state"])
    comment = str(job.get("comment", ""))
    nodes = exec_hosts(str(job.get("exec_host", "")))
    if letter in _ENDED:
        return _ended(job, comment, nodes)
    state = _STATES.get(letter)
    if state is None:
        # Of a state that a later PBS may have, it is known only that the job is there.
        return JobStatus(state=JobState.RUNNING, reason=f"PBS says {letter}", nodes=nodes)
    reason = comment if state in {JobState.PENDING, JobState.HELD} else ""
    return JobStatus(
        state=state,
        reason=reason or _TELLING.get(letter, ""),
        nodes=nodes,
        is_hopeless=state is JobState.PENDING and comment.startswith("Can Never Run"),
    )


def _ended(job: Mapping[str, Any], comment: str, nodes: tuple[str, ...]) -> JobStatus:
    exit_code = None if "Exit_status" not in job else int(job["Exit_status"])
    if exit_code in _EXITS:
        state = _EXITS[exit_code]
    elif job.get("substate") in {_DELETED, str(_DELETED)}:
        state = JobState.CANCELLED
    elif exit_code == 0:
        state = JobState.COMPLETED
    else:
        state = JobState.FAILED
    return JobStatus(state=state, reason=comment, exit_code=signalled(exit_code), nodes=nodes)


def signalled(exit_code: int | None) -> int | None:
    """Return -N for 256 + N, which PBS gives for a job that signal N ended."""
    return 256 - exit_code if exit_code is not None and exit_code > 256 else exit_code


def exec_hosts(text: str) -> tuple[str, ...]:
    """Return the names in ``node1/0*4+node2/0*4``, each once."""
    return tuple(dict.fromkeys(part.partition("/")[0] for part in text.split("+") if part))
