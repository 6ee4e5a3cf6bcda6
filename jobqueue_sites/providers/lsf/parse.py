"""What LSF's commands answer: text → states. Pure.

Source: IBM Spectrum LSF 10.1 Command Reference (bsub, bjobs -o, bkill; "job states", "exit reasons").
"""

from __future__ import annotations

import re

from jobqueue_sites.errors import SubmitRefused, UnreadableAnswer
from jobqueue_sites.providers.base import Answer, JobState, JobStatus, failed

FIELDS = "jobid stat exit_code exec_host exit_reason pend_reason delimiter='|'"

_STATES = {
    "PEND": JobState.PENDING,
    "WAIT": JobState.PENDING,
    "PSUSP": JobState.HELD,
    "RUN": JobState.RUNNING,
    "USUSP": JobState.RUNNING,
    "SSUSP": JobState.RUNNING,
    "UNKWN": JobState.RUNNING,  # its node does not answer
    "DONE": JobState.COMPLETED,
    "EXIT": JobState.FAILED,
    "ZOMBI": JobState.NODE_FAILED,
}
_TELLING = {"USUSP": "suspended", "SSUSP": "suspended", "UNKWN": "its node does not answer"}
_EXIT_REASONS = {
    "TERM_RUNLIMIT": JobState.TIMEOUT,
    "TERM_DEADLINE": JobState.TIMEOUT,
    "TERM_WINDOW": JobState.TIMEOUT,
    "TERM_PREEMPT": JobState.PREEMPTED,
    "TERM_OWNER": JobState.CANCELLED,
    "TERM_FORCE_OWNER": JobState.CANCELLED,
    "TERM_ADMIN": JobState.CANCELLED,
    "TERM_FORCE_ADMIN": JobState.CANCELLED,
    "TERM_MEMLIMIT": JobState.OUT_OF_MEMORY,
    "TERM_SWAP": JobState.OUT_OF_MEMORY,
    "TERM_ZOMBIE": JobState.NODE_FAILED,
}
_NOT_THERE = re.compile(r"is not found|No matching job|already finished|being terminated")


def submitted(answer: Answer) -> str:
    """Return the job's id from ``Job <123> is submitted to queue <normal>.``"""
    match = re.search(r"Job <(\d+)> is submitted", answer.stdout)
    if answer.exit_code == 0 and match:
        return match[1]
    said = (answer.stderr.strip() or answer.stdout.strip()).splitlines()
    if any(re.search(r"LIM is down|batch daemon|Cannot connect", line) for line in said):
        raise failed(answer)
    if answer.exit_code == 0 and not said:
        raise failed(answer, "bsub answered no job id", UnreadableAnswer)
    words = [line for line in said if not line.endswith("Job not submitted.")] or said
    refusal = words[-1] if words else f"exit code {answer.exit_code}"
    raise failed(answer, f"bsub refused: {refusal}", SubmitRefused)


def listed(answer: Answer) -> dict[str, JobStatus]:
    """Return the jobs that ``bjobs -a -noheader -o`` lists."""
    complaints = [line for line in answer.stderr.splitlines() if line.strip()]
    if not all(_NOT_THERE.search(line) for line in complaints):
        raise failed(answer)
    if answer.exit_code != 0 and not complaints:
        raise failed(answer)
    jobs = {}
    for line in answer.stdout.splitlines():
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("|", 5)]
        if len(fields) != 6 or not fields[0].isdigit():
            raise failed(
                answer, f"bjobs answered a line that is no job: {line!r}", UnreadableAnswer
            )
        jobs[fields[0]] = _status(*fields[1:])
    return jobs


def cancelled(answer: Answer) -> None:
    """Raise unless ``bkill`` did what it can: jobs that have ended are none of its failures."""
    complaints = [line for line in answer.stderr.splitlines() if line.strip()]
    is_about_jobs = bool(complaints) and all(_NOT_THERE.search(line) for line in complaints)
    if answer.exit_code != 0 and not is_about_jobs:
        raise failed(answer)


def _status(word: str, code: str, hosts: str, exit_reason: str, pend_reason: str) -> JobStatus:
    state = _STATES.get(word)
    nodes = tuple(dict.fromkeys(re.findall(r"(?:^|:)(?:\d+\*)?([^:*-][^:*]*)", hosts)))
    if state is None:
        # Of a state that a later LSF may have, it is known only that the job is there.
        return JobStatus(state=JobState.RUNNING, reason=f"LSF says {word}", nodes=nodes)
    reason = _TELLING.get(word, "")
    if state is JobState.FAILED:
        term = re.match(r"\w+", exit_reason)
        state = _EXIT_REASONS.get(term[0] if term else "", JobState.FAILED)
        reason = "" if exit_reason == "-" else exit_reason
    elif not state.is_final and state is not JobState.RUNNING:
        reason = "" if pend_reason == "-" else pend_reason
    exit_code = 0 if state is JobState.COMPLETED else None
    if state.is_final and code.isdigit():
        # Over 128: the signal that ended it.
        exit_code = 128 - int(code) if int(code) > 128 else int(code)
    return JobStatus(state=state, reason=reason, exit_code=exit_code, nodes=nodes)
