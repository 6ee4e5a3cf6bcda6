"""Jobs of this machine, for tests: each in a folder of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jobqueue_sites import LocalProvider
from jobqueue_sites.blocks.commands import run_command
from jobqueue_sites.providers import BlockJob, Command, JobStatus

T = TypeVar("T")


def run(command: Command[T]) -> T:
    return asyncio.run(run_command(command, timeout_s=30))


def until(is_so: Callable[[], T], within_s: float = 60) -> T:
    end_s = time.monotonic() + within_s
    while not (found := is_so()):
        assert time.monotonic() < end_s, "it did not come to that"
        time.sleep(0.02)
    return found


class Machine:
    """Submits jobs and looks after them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.provider = LocalProvider()
        self.job_ids: list[str] = []

    def submit(self, agent: str, **settings: Any) -> str:
        """Submit a job whose agents run a text under bash."""
        self.provider = LocalProvider(**settings)
        job = BlockJob(
            name="b-0",
            agent=("bash", "-c", agent),
            stdout=str(self.folder / "out"),
            stderr=str(self.folder / "err"),
        )
        return self.submit_text(self.provider.script(job))

    def submit_text(self, text: str) -> str:
        script = self.folder / "b-0.sh"
        script.write_text(text)
        job_id = run(self.provider.submit(str(script)))
        self.job_ids.append(job_id)
        return job_id

    def status(self, job_id: str) -> JobStatus:
        return run(self.provider.query([job_id]))[job_id]

    def end(self, job_id: str) -> JobStatus:
        """Wait for a job to end."""
        until(lambda: self.status(job_id).state.is_final)
        return self.status(job_id)

    def cancel(self, *job_ids: str) -> None:
        run(self.provider.cancel(job_ids))

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()
