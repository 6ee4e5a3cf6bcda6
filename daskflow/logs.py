"""Loggers: daskflow logs under the name ``daskflow`` and configures nothing when imported."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def set_stream_logger(
    level: int | str = logging.INFO, stream: TextIO | None = None, name: str = "daskflow"
) -> Callable[[], None]:
    """Show log records of at least `level` on `stream` (stderr); return what undoes it."""
    return _added(logging.StreamHandler(stream or sys.stderr), level, name)


def set_file_logger(
    filename: str | Path, level: int | str = logging.INFO, name: str = "daskflow"
) -> Callable[[], None]:
    """Append log records of at least `level` to a file; return what undoes it."""
    Path(filename).parent.mkdir(parents=True, exist_ok=True)
    return _added(logging.FileHandler(filename), level, name)


def log_to(path: Path, level: str) -> Callable[[], None]:
    """Append what daskflow and jobqueue_sites log to a file; return what undoes it."""
    undoing = [set_file_logger(path, level, name) for name in ("daskflow", "jobqueue_sites")]

    def undo() -> None:
        for each in undoing:
            each()

    return undo


def _added(handler: logging.Handler, level: int | str, name: str) -> Callable[[], None]:
    logger = logging.getLogger(name)
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(FORMAT))
    with _lock:
        level_before, ours = _set_up.setdefault(name, (logger.level, []))
        ours.append(handler)
        logger.addHandler(handler)
        logger.setLevel(_level(level_before, ours))

    def undo() -> None:
        with _lock:
            if handler not in ours:
                return
            ours.remove(handler)
            logger.removeHandler(handler)
            logger.setLevel(_level(level_before, ours) if ours else level_before)
            if not ours:
                del _set_up[name]
        handler.close()

    return undo


def _level(before: int, handlers: Sequence[logging.Handler]) -> int:
    """Return the level of a logger that had `before` and now serves `handlers` too."""
    finest = min(handler.level for handler in handlers)
    return finest if before == logging.NOTSET else min(before, finest)


_lock = threading.Lock()
_set_up: dict[str, tuple[int, list[logging.Handler]]] = {}
"""For each logger that has handlers of ours: its level before them, and the handlers."""


def new_run_folder(run_dir: str | Path) -> Path:
    """Make and return the next numbered folder (``000``, ``001``, ...) in `run_dir`."""
    base = Path(run_dir)
    base.mkdir(parents=True, exist_ok=True)
    taken = [int(p.name) for p in base.iterdir() if p.name.isdigit()]
    number = max(taken, default=-1) + 1
    while True:
        folder = base / f"{number:03d}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder
