"""What OAR's commands answer: text → states. Pure.

Sources: ``man oarsub``, ``man oarstat``, and which values OAR 2.5.9 puts into the JSON of ``oarstat``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jobqueue_sites.errors import SubmitRefused, UnreadableAnswer
from jobqueue_sites.providers.base import Answer, JobState, JobStatus, failed

_STATES = {
    "Waiting": JobState.PENDING,
    "toLaunch": JobState.PENDING,
    "toAckReservation": JobState.PENDING,
    "Launching": JobState.PENDING,
    "Hold": JobState.HELD,
    "Running": JobState.RUNNING,
    "Suspended": JobState.RUNNING,
    "Resuming": JobState.RUNNING,
    "Finishing": JobState.ENDING,
    "toError": JobState.ENDING,
    "Terminated": JobState.COMPLETED,
    "Error": JobState.FAILED,
}

# Events of a job that ended in an error: why.
_EVENTS = {
    "WALLTIME": JobState.TIMEOUT,
    "FRAG_JOB_REQUEST": JobState.CANCELLED,
    "BESTEFFORT_KILL": JobState.PREEMPTED,
}
_NOT_THERE = re.compile(r"does not exist|[Nn]ot found|already|no longer|terminated", re.IGNORECASE)


def submitted(answer: Answer) -> str:
    """Return the job's id from ``OAR_JOB_ID=123``."""
    match = re.search(r"^OAR_JOB_ID=(\d+)", answer.stdout, re.MULTILINE)
    if answer.exit_code == 0 and match:
        return match[1]
    said = (answer.stderr.strip() or answer.stdout.strip()).splitlines()
    if any("DB connection" in line or "Connection refused" in line for line in said):
        raise failed(answer)
    if answer.exit_code == 0:
        raise failed(answer, "oarsub answered no job id", UnreadableAnswer)
    refusal = (
        re.sub(r"^# (Error|ERROR):\s*", "", said[-1]) if said else f"exit code {answer.exit_code}"
    )
    raise failed(answer, f"oarsub refused: {refusal}", SubmitRefused)


def listed(answer: Answer) -> dict[str, JobStatus]:
    """Return the jobs that ``oarstat --full --json`` lists."""
    if answer.exit_code != 0:
        raise failed(answer)
    try:
        jobs = json.loads(answer.stdout or "{}", strict=False)
        return {job_id: _status(job) for job_id, job in jobs.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise failed(
            answer, f"oarstat answered no JSON that can be read: {error}", UnreadableAnswer
        ) from error


def cancelled(answer: Answer) -> None:
    """Raise unless ``oardel`` did what it can: jobs that have ended are none of its failures."""
    complaints = [line for line in answer.stderr.splitlines() if line.strip()]
    is_about_jobs = bool(complaints) and all(_NOT_THERE.search(line) for line in complaints)
    if answer.exit_code != 0 and not is_about_jobs:
        raise failed(answer)


def _status(job: Mapping[str, Any]) -> JobStatus:
    word = str(job["state"])
    message = str(job.get("message") or "")
    nodes = tuple(dict.fromkeys(map(str, job.get("assigned_network_address") or ())))
    state = _STATES.get(word)
    if state is None:
        # Of a state that a later OAR may have, it is known only that the job is there.
        return JobStatus(state=JobState.RUNNING, reason=f"OAR says {word}", nodes=nodes)
    code = job.get("exit_code")  # as wait(2) gives it
    exit_code = None
    if state.is_final and code is not None:
        status = int(code)
        exit_code = -(status & 0x7F) if status & 0x7F else status >> 8
    if state is JobState.COMPLETED and exit_code:
        state = JobState.FAILED
    elif state is JobState.FAILED:
        kinds = [str(event.get("type", "")) for event in job.get("events") or ()]
        state = next((_EVENTS[kind] for kind in kinds if kind in _EVENTS), state)
    if word == "Suspended":
        message = "suspended"
    elif state is JobState.RUNNING:
        message = ""
    return JobStatus(state=state, reason=message, exit_code=exit_code, nodes=nodes)
