"""What all job scripts have in common behind their directives: `worker_init`, then the agents."""

from __future__ import annotations

from jobqueue_sites.launchers import Launch, Launcher

WORKER_INIT_FAILED = "jobqueue-sites: worker_init failed with exit code"


def body(launcher: Launcher, launch: Launch) -> str:
    """Return the shell text, for bash, that prepares the node's environment and starts the agents."""
    return f"{_worker_init(launch.worker_init)}{_SURVIVE}\n{launcher.line(launch)}\n"


# What a batch system ends gets SIGTERM first, all processes of a job alike. Were the script to end
# before the agents, they would be killed at once. A trap that does nothing is not inherited.
_SURVIVE = """\
# when the job is ended, the script waits for the agents
trap : TERM"""


def _worker_init(worker_init: str) -> str:
    """Return text that runs `worker_init`, and ends the job with a word of why if it fails.

    An EXIT trap says it, also when `worker_init` itself ends the script. It is not taken back, lest
    one that `worker_init` has set be lost.
    """
    if not worker_init.strip():
        return ""
    return f"""\
worker_init_done=
trap 'code=$?; [ -n "$worker_init_done" ] || echo "{WORKER_INIT_FAILED} $code" >&2' EXIT
# worker_init
{worker_init.strip()}
code=$?; [ "$code" -eq 0 ] || exit "$code"
worker_init_done=yes
"""
