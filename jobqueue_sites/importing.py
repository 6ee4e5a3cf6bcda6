"""Importing dask_jobqueue without what it does to the process and to the user's files.

Its import writes a file into the user's Dask configuration folder and replaces the handler of SIGINT, so
that Ctrl-C would end the process; in another thread than the main one it fails for that.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import dask.config


@contextlib.contextmanager
def without_side_effects() -> Iterator[None]:
    """Keep signal handlers and configuration files as they are while something is imported."""
    ensure_file, set_handler = dask.config.ensure_file, signal.signal

    def leave_file(*_arguments: Any, **_options: Any) -> None:
        return None

    def leave_handler(signalnum: int, handler: Any) -> Any:
        return signal.getsignal(signalnum)

    dask.config.ensure_file = leave_file
    signal.signal = leave_handler
    try:
        yield
    finally:
        dask.config.ensure_file, signal.signal = ensure_file, set_handler
