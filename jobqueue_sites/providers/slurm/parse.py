"""What Slurm's commands answer: text → states. Pure.

Sources: ``man squeue`` (JOB STATE CODES, --Format), ``man scontrol`` (show job), ``man sacct``
(--parsable2, ExitCode: "the exit code, then the signal"); answers recorded from Slurm 22.05.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from jobqueue_sites.errors import SubmitRefused, UnreadableAnswer
from jobqueue_sites.providers.base import Answer, JobState, JobStatus, failed

SQUEUE_FIELDS = "JobID:|,State:|,Reason:|,exit_code:|,NodeList:|,Cluster:|"
SACCT_FIELDS = "State,ExitCode,NodeList"

_STATES = {
    "PENDING": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,  # has nodes, which still boot
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "EXPEDITING": JobState.PENDING,
    "REQUEUE_HOLD": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,
    "RUNNING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "STOPPED": JobState.RUNNING,
    "SUSPENDED": JobState.RUNNING,
    "COMPLETING": JobState.ENDING,
    "STAGE_OUT": JobState.ENDING,
    "COMPLETED": JobState.COMPLETED,
    "TIMEOUT": JobState.TIMEOUT,
    "DEADLINE": JobState.TIMEOUT,
    "PREEMPTED": JobState.PREEMPTED,
    "CANCELLED": JobState.CANCELLED,
    "REVOKED": JobState.CANCELLED,  # another cluster of the federation has it
    "FAILED": JobState.FAILED,
    "LAUNCH_FAILED": JobState.FAILED,
    "RECONFIG_FAIL": JobState.FAILED,
    "NODE_FAIL": JobState.NODE_FAILED,
    "BOOT_FAIL": JobState.NODE_FAILED,
    "OUT_OF_MEMORY": JobState.OUT_OF_MEMORY,
}

# States of which the word itself says what the reason does not.
_TELLING = {"CONFIGURING", "STOPPED", "SUSPENDED", "DEADLINE", "BOOT_FAIL", "SPECIAL_EXIT"}

# Reasons for waiting that do not pass by waiting: the job asks for what is not given to any job there.
# (man squeue, JOB REASON CODES. PartitionNodeLimit may also mean that nodes are down or drained.)
_HOPELESS = re.compile(
    r"PartitionNodeLimit|PartitionTimeLimit|PartitionConfig|BadConstraints|InvalidAccount|InvalidQOS"
    r"|(Assoc|QOS)(Max|Grp|Min)\w*PerJob\w*|QOSMaxWallDurationPerJobLimit|QOSMin\w+|QOSNotAllowed"
    r"|AccountNotAllowed"
)

# The controller did not take the request, whatever was asked for: to ask again later may help.
_NO_CONTROLLER = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection refused|Zero Bytes were transmitted"
    r"|temporarily unable to accept job|Transport endpoint|Resource temporarily unavailable",
    re.IGNORECASE,
)
_ALREADY_ENDED = re.compile(
    r"Invalid job id specified|already completing or completed|already finished", re.IGNORECASE
)


def submitted(answer: Answer, settings: Mapping[str, str | None]) -> str:
    """Return the job's id from ``sbatch --parsable``: ``123``, or ``123;cluster``.

    Parameters
    ----------
    settings
        Values that a refusal may be about, by name, to be shown beside it.
    """
    if answer.exit_code != 0:
        if _NO_CONTROLLER.search(answer.stderr):
            raise failed(answer)
        refusal = _refusal(answer)
        # What is named first is what the refusal is about ("account or account/partition ...").
        said = refusal.lower()
        about = sorted((said.find(n), v) for n, v in settings.items() if v and n in said)
        value = about[0][1] if about else ""
        detail = f": {value!r}" if value and repr(value) not in refusal else ""
        raise failed(answer, f"sbatch refused: {refusal}{detail}", SubmitRefused)
    for line in reversed(answer.stdout.splitlines()):  # a site's wrapper may talk before it
        if re.fullmatch(r"\d+(;\S+)?", line.strip()):
            return line.strip()
    raise failed(answer, f"sbatch answered no job id, but {answer.stdout!r}", UnreadableAnswer)


def _refusal(answer: Answer) -> str:
    """Return what sbatch gives as the reason, without its prefixes."""
    errors = re.findall(r"^sbatch: (?:error: |fatal: )?(.*)$", answer.stderr, re.MULTILINE)
    for error in errors:
        if error.startswith("Batch job submission failed: "):
            return str(error.removeprefix("Batch job submission failed: "))
    return str(errors[-1]) if errors else answer.stderr.strip() or f"exit code {answer.exit_code}"


def listed(answer: Answer, *, has_clusters: bool = False) -> dict[str, JobStatus]:
    """Return the jobs that ``squeue`` lists; it answers an error if it knows none of them.

    Parameters
    ----------
    has_clusters
        Whether jobs are named with their clusters, as ``sbatch --clusters`` does.
    """
    if answer.exit_code != 0:
        if "Invalid job id specified" in answer.stderr:
            return {}
        raise failed(answer)
    jobs = {}
    for line in answer.stdout.splitlines():
        if not line.strip():
            continue
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != 7 or not fields[0].isdigit():
            raise failed(
                answer, f"squeue answered a line that is no job: {line!r}", UnreadableAnswer
            )
        number, state, reason, exit_code, nodes, cluster = fields[:6]
        job_id = f"{number};{cluster}" if has_clusters else number
        jobs[job_id] = _status(state, reason, _wait_status(exit_code), nodes)
    return jobs


def shown(answer: Answer) -> JobStatus | None:
    """Return what ``scontrol show job --oneliner`` says, if it knows the job."""
    if answer.exit_code != 0:
        if "Invalid job id specified" in answer.stderr + answer.stdout:
            return None
        raise failed(answer)
    found = re.findall(r"\b(JobState|Reason|ExitCode|NodeList)=(\S*)", answer.stdout)
    values = dict(
        reversed(found)
    )  # the first of each: paths come later, and may look like anything
    if "JobState" not in values:
        raise failed(answer, "scontrol answered no JobState", UnreadableAnswer)
    return _status(
        values["JobState"],
        values.get("Reason", ""),
        _exit_code(values.get("ExitCode", "")),
        values.get("NodeList", ""),
    )


def accounted(answer: Answer) -> JobStatus | None:
    """Return what ``sacct`` says, if there is accounting and it knows the job."""
    if answer.exit_code != 0:
        if "accounting storage is disabled" in answer.stderr:
            return None
        raise failed(answer)
    lines = [line for line in answer.stdout.splitlines() if line.strip()]
    if not lines:
        return None
    fields = lines[-1].split("|")  # a job that was requeued has a line for each time
    if len(fields) != 3:
        raise failed(answer, f"sacct answered {lines[-1]!r}", UnreadableAnswer)
    state, exit_code, nodes = fields
    return _status(state, "", _exit_code(exit_code), nodes)


def room(answer: Answer, partition: str | None) -> str:
    """Return how many nodes of a partition are free, from ``sinfo --format=%D %t %P``.

    Without a partition, that of the default one, which Slurm marks by a star.
    """
    if answer.exit_code != 0:
        raise failed(answer)
    nodes = free = 0
    name = partition or ""
    for line in answer.stdout.splitlines():
        match = re.fullmatch(r"(\d+) (\S+) (\S+)", line.strip())
        if match is None or not (partition or match[3].endswith("*")):
            continue
        name = match[3].rstrip("*")
        nodes += int(match[1])
        free += int(match[1]) if match[2] == "idle" else 0
    return f"{free} of {nodes} nodes of partition {name} are free" if nodes else ""


def cancelled(answer: Answer) -> None:
    """Raise unless ``scancel`` did what it can: jobs that have ended are none of its failures."""
    if answer.exit_code == 0:
        return
    errors = [line for line in answer.stderr.splitlines() if "error" in line.lower()]
    if not errors or not all(_ALREADY_ENDED.search(line) for line in errors):
        raise failed(answer)


def _status(state: str, reason: str, exit_code: int | None, nodes: str) -> JobStatus:
    word, _, rest = state.partition(" ")  # "CANCELLED by 1000"
    known = _STATES.get(word.rstrip("+"))
    if reason in {"None", "(null)", "N/A"}:
        reason = ""
    if known is None:
        # Of a state that a later Slurm may have, it is known only that the job is there.
        known, reason = JobState.RUNNING, f"Slurm says {state}"
    elif word in _TELLING:
        reason = f"{word}: {reason}" if reason else word
    elif rest:
        reason = reason or state
    if known is JobState.PENDING and re.search(r"JobHeld|_held\b|requeued.held", reason):
        known = JobState.HELD
    return JobStatus(
        state=known,
        reason=reason,
        exit_code=exit_code if known.is_final else None,
        nodes=expand_nodes("" if nodes in {"(null)", "None assigned"} else nodes),
        is_hopeless=known is JobState.PENDING and _HOPELESS.search(reason) is not None,
    )


def _wait_status(text: str) -> int | None:
    """Return the exit code of squeue's exit_code: what wait(2) gives, as one number."""
    if not text.isdigit():
        return _exit_code(text)
    status = int(text)
    return -(status & 0x7F) if status & 0x7F else status >> 8


def _exit_code(text: str) -> int | None:
    """Return the exit code of ``code:signal``, -N if signal N ended the job."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None:
        return None
    code, signal = int(match[1]), int(match[2])
    return -signal if signal else code


def expand_nodes(text: str) -> tuple[str, ...]:
    """Return the names in a node list such as ``node[1-3,07],login``; as they are, where unclear."""
    names: list[str] = []
    for item in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", text):
        names.extend(_expand(item))
    return tuple(names)


def _expand(item: str) -> list[str]:
    before, bracket, rest = item.partition("[")
    if not bracket:
        return [item]
    ranges, _, after = rest.partition("]")
    tails = _expand(after)
    names = []
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        try:
            numbers = range(int(first), int(last or first) + 1)
        except ValueError:
            return [item]  # better than to know nothing of the job
        names += [f"{before}{each:0{len(first)}d}{tail}" for each in numbers for tail in tails]
    return names
