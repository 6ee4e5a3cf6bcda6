"""Loggers: daskflow logs under the name ``daskflow`` and configures nothing when imported."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
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


def _added(handler: logging.Handler, level: int | str, name: str) -> Callable[[], None]:
    logger = logging.getLogger(name)
    before = logger.level
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(FORMAT))
    logger.addHandler(handler)
    if before == logging.NOTSET or handler.level < before:
        logger.setLevel(handler.level)

    def undo() -> None:
        logger.removeHandler(handler)
        handler.close()
        if not logger.handlers:
            logger.setLevel(before)

    return undo


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
