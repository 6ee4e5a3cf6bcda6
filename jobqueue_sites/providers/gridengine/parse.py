"""What Grid Engine's commands answer: text → states. Pure.

Sources: ``man qstat`` (states, -xml), ``man qacct``, ``man accounting`` (failed, exit_status); answers
recorded from Son of Grid Engine 8.1.9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from xml.etree import ElementTree as ET

from jobqueue_sites.errors import SubmitRefused, UnreadableAnswer
from jobqueue_sites.providers.base import Answer, JobState, JobStatus, failed

_KILLED = {37, 100}  # for a limit; assumedly after the job

_NO_MASTER = re.compile(
    r"unable to (contact|send message to) qmaster|can't connect|got no response"
)
_NOT_THERE = re.compile(r"does not exist|already in deletion|is already|invalid job", re.IGNORECASE)


def submitted(answer: Answer) -> str:
    """Return the job's id from ``qsub -terse``."""
    if answer.exit_code == 0:
        for line in reversed(answer.stdout.splitlines()):
            if line.strip().isdigit():
                return line.strip()
        raise failed(answer, f"qsub answered no job id, but {answer.stdout!r}", UnreadableAnswer)
    said = (answer.stderr.strip() or answer.stdout.strip()).splitlines()
    if any(_NO_MASTER.search(line) for line in said):
        raise failed(answer)
    words = [line for line in said if line != "Exiting."]
    refusal = re.sub(r"^(qsub: |Unable to run job: )", "", words[0]) if words else "no reason given"
    raise failed(answer, f"qsub refused: {refusal}", SubmitRefused)


def listed(answer: Answer) -> dict[str, JobStatus]:
    """Return the jobs that ``qstat -xml -g t`` lists: a job has an element for each of its queues."""
    if answer.exit_code != 0:
        raise failed(answer)
    try:
        root = ET.fromstring(answer.stdout)
    except ET.ParseError as error:
        raise failed(
            answer, f"qstat answered no XML that can be read: {error}", UnreadableAnswer
        ) from error
    states: dict[str, str] = {}
    nodes: dict[str, dict[str, None]] = {}
    for element in root.iter("job_list"):
        job_id = element.findtext("JB_job_number", "").strip()
        state = element.findtext("state", "").strip()
        if not job_id or not state:
            raise failed(answer, "qstat answered a job without its state", UnreadableAnswer)
        states[job_id] = state
        host = (element.findtext("queue_name") or "").partition("@")[2]
        if host:
            nodes.setdefault(job_id, {})[host] = None
    return {
        job_id: _status(state, tuple(nodes.get(job_id, ()))) for job_id, state in states.items()
    }


def accounted(answer: Answer) -> JobStatus | None:
    """Return what ``qacct -j`` says of a job that has ended, if it knows it."""
    if answer.exit_code != 0:
        # It is also without an accounting file until the first job has ended.
        if re.search(r"not found|No such file", answer.stderr + answer.stdout):
            return None
        raise failed(answer)
    record = answer.stdout.rpartition("=====")[2]  # a job that was started again has several
    values = dict(re.findall(r"^(\w+)[ \t]+(.*?)[ \t]*$", record, re.MULTILINE))
    status = re.match(r"\d+", values.get("exit_status", ""))
    reason_code = re.match(r"\d+", values.get("failed", ""))
    if status is None or reason_code is None:
        raise failed(answer, "qacct answered no exit_status", UnreadableAnswer)
    exit_code = int(status[0])
    was_killed = exit_code > 128 or int(reason_code[0]) in _KILLED
    host = values.get("hostname", "")
    if was_killed and _wallclock_s(values) >= _limit_s(values):
        state = JobState.TIMEOUT
    elif values.get("deleted_by", "NONE") != "NONE":  # where it is written
        state = JobState.CANCELLED
    elif exit_code != 0 or int(reason_code[0]) != 0:
        state = JobState.FAILED
    else:
        state = JobState.COMPLETED
    return JobStatus(
        state=state,
        reason=values["failed"].partition(":")[2].strip(),
        exit_code=128 - exit_code if exit_code > 128 else exit_code,
        nodes=(host,) if host not in {"", "unknown"} else (),
    )


def _wallclock_s(values: Mapping[str, str]) -> float:
    match = re.match(r"[\d.]+", values.get("ru_wallclock", ""))
    return float(match[0]) if match else 0.0


def _limit_s(values: Mapping[str, str]) -> float:
    """Return the walltime that was asked for, which is written in seconds."""
    match = re.search(r"\bh_rt=(\d+)", values.get("category", ""))
    return float(match[1]) if match else inf


def cancelled(answer: Answer) -> None:
    """Raise unless ``qdel`` did what it can: jobs that have ended are none of its failures."""
    said = (answer.stdout + answer.stderr).splitlines()
    refusals = [line for line in said if not re.search(r"has (registered|deleted)", line)]
    is_about_jobs = bool(said) and all(_NOT_THERE.search(line) for line in refusals)
    if answer.exit_code != 0 and not is_about_jobs:
        raise failed(answer)


def _status(letters: str, nodes: tuple[str, ...]) -> JobStatus:
    """Read letters such as ``qw``, ``hqw``, ``Eqw``, ``r``, ``t``, ``dr``, ``s``."""
    reason = ""
    if "d" in letters:
        state = JobState.ENDING
    elif "E" in letters:
        state, reason = JobState.HELD, "in error (see qstat -j)"
    elif "h" in letters and "q" in letters:
        state = JobState.HELD
    elif "q" in letters:
        state = JobState.PENDING
    else:
        state = JobState.RUNNING
        if re.search(r"[sSTN]", letters):
            reason = "suspended"
    return JobStatus(state=state, reason=reason, nodes=nodes)
