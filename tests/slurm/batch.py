"""Jobs that are submitted as the blocks of a cluster are, with agents that only tell where they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jobqueue_sites import SlurmProvider
from jobqueue_sites.blocks.commands import run_command
from jobqueue_sites.providers import BlockJob, Command, JobStatus

T = TypeVar("T")

# Each agent leaves its environment, and what it sees of its node, in a file of its own.
TELL = """\
file=$0/agents/$(hostname).$$
{ env -0; printf 'HOST=%s\\0CPUS=%s\\0CWD=%s\\0' \\
    "$(hostname)" "$(taskset -cp $$ | sed 's/.*: //')" "$PWD"; } >"$file.tmp"
mv "$file.tmp" "$file"
"""


def ask(command: Command[T]) -> T:
    return asyncio.run(run_command(command, timeout_s=30))


def until(is_so: Callable[[], T], within_s: float = 60) -> T:
    end_s = time.monotonic() + within_s
    while not (found := is_so()):
        assert time.monotonic() < end_s, "it did not come to that"
        time.sleep(0.05)
    return found


def told(folder: Path) -> list[Mapping[str, str]]:
    """What agents have told of themselves."""
    return [
        dict(item.split("=", 1) for item in file.read_text().split("\0") if "=" in item)
        for file in (folder / "agents").iterdir()
        if file.suffix != ".tmp"
    ]


class Batch:
    """Submits jobs from a folder of its own, and looks after them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.job_ids: list[str] = []
        (folder / "agents").mkdir()

    def submit(self, then: str = "", *, stdout: str = "out", **settings: Any) -> str:
        """Submit a job whose agents tell where they are, and then run a text under bash."""
        shared: dict[str, Any] = {"partition": "main", "walltime": "00:05:00"}
        self.provider = SlurmProvider(**shared | settings)
        self.stdout = self.folder / stdout
        job = BlockJob(
            name="b-0",
            agent=("bash", "-c", TELL + then, str(self.folder)),
            stdout=str(self.stdout),
            stderr=str(self.folder / "err"),
        )
        script = self.folder / "b-0.sh"
        script.write_text(self.provider.script(job))
        script.chmod(0o700)
        job_id = ask(self.provider.submit(str(script)))
        self.job_ids.append(job_id)
        return job_id

    def status(self, job_id: str) -> JobStatus:
        return ask(self.provider.query([job_id]))[job_id]

    def end(self, job_id: str) -> JobStatus:
        """Wait for a job to end."""
        until(lambda: self.status(job_id).state.is_final)
        return self.status(job_id)

    def cancel(self, *job_ids: str) -> None:
        ask(self.provider.cancel(job_ids))

    def agents(self) -> list[Mapping[str, str]]:
        """What the agents have told so far."""
        return told(self.folder)

    @property
    def out(self) -> str:
        return self.stdout.read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()
