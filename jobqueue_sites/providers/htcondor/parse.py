"""What HTCondor's commands answer: text → states. Pure.

Sources: the HTCondor Manual (condor_submit -terse, condor_q -json, condor_history; "Job ClassAd
Attributes").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jobqueue_sites.errors import SubmitRefused, UnreadableAnswer
from jobqueue_sites.providers.base import Answer, JobState, JobStatus, failed

ATTRIBUTES = (
    "ClusterId,ProcId,JobStatus,HoldReason,RemoveReason,ExitBySignal,ExitCode,ExitSignal,"
    "RemoteHost,LastRemoteHost"
)

_STATES = {
    1: JobState.PENDING,
    2: JobState.RUNNING,
    3: JobState.CANCELLED,
    4: JobState.COMPLETED,
    5: JobState.HELD,
    6: JobState.ENDING,  # its output is transferred
    7: JobState.RUNNING,  # suspended
}
_NOT_THERE = re.compile(r"not found|already (been )?(removed|completed)", re.IGNORECASE)


def submitted(answer: Answer) -> str:
    """Return the job's id from ``123.0 - 123.0``."""
    match = re.search(r"^(\d+\.\d+) - \d+\.\d+\s*$", answer.stdout, re.MULTILINE)
    if answer.exit_code == 0 and match:
        return match[1]
    said = [line for line in answer.stderr.splitlines() if line.strip()]
    if any(re.search(r"[Cc]an't (find|connect)|Failed to connect|SECMAN", line) for line in said):
        raise failed(answer)
    if answer.exit_code == 0:
        raise failed(answer, "condor_submit answered no job id", UnreadableAnswer)
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR")] or said
    refusal = errors[0].strip() if errors else f"exit code {answer.exit_code}"
    raise failed(answer, f"condor_submit refused: {refusal}", SubmitRefused)


def listed(answer: Answer) -> dict[str, JobStatus]:
    """Return the jobs that ``condor_q -json`` or ``condor_history -json`` list; nothing, if none."""
    if answer.exit_code != 0:
        raise failed(answer)
    try:
        jobs = json.loads(answer.stdout.strip() or "[]", strict=False)
        return {f"{job['ClusterId']}.{job['ProcId']}": _status(job) for job in jobs}
    except (ValueError, KeyError, TypeError) as error:
        raise failed(
            answer, f"{answer.argv[0]} answered no JSON that can be read: {error}", UnreadableAnswer
        ) from error


def cancelled(answer: Answer) -> None:
    """Raise unless ``condor_rm`` did what it can: jobs that have ended are none of its failures."""
    complaints = [line for line in answer.stderr.splitlines() if line.strip()]
    is_about_jobs = bool(complaints) and all(_NOT_THERE.search(line) for line in complaints)
    if answer.exit_code != 0 and not is_about_jobs:
        raise failed(answer)


def _status(job: Mapping[str, Any]) -> JobStatus:
    number = int(job["JobStatus"])
    host = str(job.get("RemoteHost") or job.get("LastRemoteHost") or "").rpartition("@")[2]
    nodes = (host,) if host else ()
    state = _STATES.get(number)
    if state is None:
        # Of a state that a later HTCondor may have, it is known only that the job is there.
        return JobStatus(
            state=JobState.RUNNING, reason=f"HTCondor says JobStatus {number}", nodes=nodes
        )
    reason, exit_code = "", None
    if state is JobState.HELD:
        reason = str(job.get("HoldReason", ""))
    elif state is JobState.CANCELLED:
        reason = str(job.get("RemoveReason", ""))
        if "PeriodicRemove" in reason or "periodic_remove" in reason:  # our limit of its time
            state = JobState.TIMEOUT
    elif state is JobState.COMPLETED:
        is_killed = job.get("ExitBySignal", False)
        exit_code = -int(job["ExitSignal"]) if is_killed else int(job.get("ExitCode", 0))
        state = JobState.FAILED if exit_code else state
    elif number == 7:
        reason = "suspended"
    return JobStatus(state=state, reason=reason, exit_code=exit_code, nodes=nodes)
