"""The text of a job of this machine. Pure; the directives are those of `local.jobs`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from jobqueue_sites.providers import body
from jobqueue_sites.providers.base import BlockJob
from jobqueue_sites.providers.local.jobs import PREFIX
from jobqueue_sites.units import walltime_s

if TYPE_CHECKING:
    from jobqueue_sites.providers.local.provider import LocalProvider


def script(provider: LocalProvider, job: BlockJob) -> str:
    """Return the text that `local.jobs` takes."""
    options = {
        "output": job.stdout,
        "error": job.stderr,
        "time": walltime_s(provider.walltime),
        "kill-after": provider.kill_after,
    }
    directives = [f"{PREFIX} {shlex.quote(f'--{name}={value}')}" for name, value in options.items()]
    return body.script(directives, provider.launcher, provider.launch(job))
