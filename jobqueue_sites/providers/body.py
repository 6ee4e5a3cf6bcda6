"""What all job scripts have in common behind their directives: `worker_init`, then the agents."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jobqueue_sites.launchers.base import Launch, Launcher, checked_worker_init

# What a batch system ends gets SIGTERM first, all processes of a job alike. Were the script to end
# before the agents, they would be killed at once. A trap that does nothing is not inherited.
_SURVIVE = """\
# when the job is ended, the script waits for the agents
trap : TERM"""


def script(directives: Sequence[str], launcher: Launcher, launch: Launch, *, go: str = "") -> str:
    """Return the text of a job, for bash.

    Parameters
    ----------
    directives
        What the batch system reads.
    go
        Command that goes to the folder that the job was submitted from, where the batch system does not.
    """
    head = "\n".join(["#!/bin/bash", *directives])
    prepare = f"{go}\n" if go else ""
    init = checked_worker_init(launch.worker_init)
    return f"{head}\n\n{prepare}{init}{_SURVIVE}\n{launcher.line(launch)}\n"


def job_name(name: str, longest: int) -> str:
    """Return the name as batch systems take it: short, of plain letters, and beginning with one."""
    plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return (plain if plain[:1].isalpha() else f"b{plain}")[:longest]
