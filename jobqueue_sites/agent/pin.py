"""A Dask preload of workers: keeps the worker on its CPUs, and leaves its end to the agent.

Threads and child processes inherit the mask from the thread that starts them, so those that come later
are kept too.

A batch system that ends a job tells every process of it. The agent then closes its workers so that the
scheduler knows that they leave; a worker that died of the signal would look as if its calls had killed it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from jobqueue_sites.agent.variables import CPUS


def dask_setup(_worker: Any) -> None:
    """Pin this process (called by Dask before the worker takes tasks)."""
    for number in (signal.SIGTERM, signal.SIGINT):  # LSF sends both
        # A handler that does nothing, not SIG_IGN: what the worker starts must not inherit it.
        signal.signal(number, lambda _number, _frame: None)
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
