"""What `local.jobs` answers: text → states. Pure."""

from __future__ import annotations

import json

from jobqueue_sites.errors import SubmitRefused, UnreadableAnswer
from jobqueue_sites.providers.base import Answer, JobState, JobStatus, failed

_STATES = {
    "running": JobState.RUNNING,
    "ending": JobState.ENDING,
    "completed": JobState.COMPLETED,
    "timeout": JobState.TIMEOUT,
    "cancelled": JobState.CANCELLED,
    "failed": JobState.FAILED,
    "lost": JobState.NODE_FAILED,
}

_SAYS = "local: "  # what the program itself says begins so


def submitted(answer: Answer) -> str:
    """Return the job's id."""
    if answer.exit_code != 0:
        said = answer.stderr.strip()
        if not said.startswith(_SAYS):
            raise failed(answer)
        raise failed(answer, f"this machine refused: {said.removeprefix(_SAYS)}", SubmitRefused)
    if not answer.stdout.strip():
        raise failed(answer, "submit answered no job id", UnreadableAnswer)
    return answer.stdout.strip()


def listed(answer: Answer) -> dict[str, JobStatus]:
    """Return the jobs that are known."""
    if answer.exit_code != 0:
        raise failed(answer)
    try:
        records = json.loads(answer.stdout)
        return {
            job_id: JobStatus(
                state=_STATES[record["state"]],
                reason=record.get("reason", ""),
                exit_code=record.get("exit_code"),
                nodes=(record["node"],),
            )
            for job_id, record in records.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise failed(answer, f"query answered {answer.stdout!r}", UnreadableAnswer) from error


def cancelled(answer: Answer) -> None:
    """Raise unless all jobs were told to end."""
    if answer.exit_code != 0:
        raise failed(answer)
