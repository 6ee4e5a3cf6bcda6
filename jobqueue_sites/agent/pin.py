"""A Dask preload of workers: keeps every thread of the worker on the CPUs that were planned for it.

Threads and child processes inherit the mask from the thread that starts them, so those that come later
are kept too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jobqueue_sites.agent.variables import CPUS


def dask_setup(_worker: Any) -> None:
    """Pin this process (called by Dask before the worker takes tasks)."""
    text = os.environ.get(CPUS, "")
    if not text:
        return
    cpus = {int(cpu) for cpu in text.split(",")}
    os.sched_setaffinity(0, cpus)
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cpus)
        except ProcessLookupError:  # it has just ended
            continue
