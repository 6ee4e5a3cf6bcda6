"""Apps of these tests, in a module that workers can import."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from daskflow import python_app


@python_app
def double(number: int) -> int:
    return 2 * number


@python_app(batch=False)
def where(number: int, pause_s: float = 0.2) -> tuple[Any, ...]:
    """Tell where this runs: node, slot, devices, cores of the main thread and of a child."""
    time.sleep(pause_s)
    mask = tuple(sorted(os.sched_getaffinity(0)))
    return (
        socket.gethostname(),
        os.environ["JOBQUEUE_SITES_BLOCK"],
        os.environ["JOBQUEUE_SITES_SLOT"],
        os.environ.get("CUDA_VISIBLE_DEVICES"),
        mask,
    )


@python_app(batch=False)
def count_and_wait(folder: str, number: int, pause_s: float) -> int:
    """Leave a mark in `folder`, and take a while."""
    descriptor = os.open(Path(folder, str(number)), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b".")
    os.close(descriptor)
    time.sleep(pause_s)
    return number
