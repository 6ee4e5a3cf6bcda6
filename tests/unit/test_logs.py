"""Loggers: what is set up is undone, and importing sets up nothing."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import daskflow
from daskflow.logs import new_run_folder

logger = logging.getLogger("daskflow")


def test_a_stream_logger_shows_records_of_its_level_until_undone() -> None:
    stream = io.StringIO()
    undo = daskflow.set_stream_logger(logging.INFO, stream)
    logging.getLogger("daskflow.kernel").info("seen")
    logging.getLogger("daskflow.kernel").debug("too fine")
    undo()
    logging.getLogger("daskflow.kernel").info("too late")
    assert "seen" in stream.getvalue()
    assert "too fine" not in stream.getvalue()
    assert "too late" not in stream.getvalue()


def test_a_file_logger_makes_the_folder_and_appends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down.log"
    for words in ("first", "second"):
        undo = daskflow.set_file_logger(path, "DEBUG")
        logger.debug(words)
        undo()
    assert [line.split(": ")[-1] for line in path.read_text().splitlines()] == ["first", "second"]


def test_undoing_in_any_order_restores_the_logger_as_it_was(tmp_path: Path) -> None:
    before = logger.level, list(logger.handlers)
    for order in ((0, 1), (1, 0)):
        undos = [
            daskflow.set_file_logger(tmp_path / "a.log", "INFO"),
            daskflow.set_stream_logger("DEBUG", io.StringIO()),
        ]
        for index in order:
            undos[index]()
        assert (logger.level, logger.handlers) == before


def test_undoing_a_fine_logger_leaves_the_level_of_those_that_stay(tmp_path: Path) -> None:
    undo_file = daskflow.set_file_logger(tmp_path / "a.log", "INFO")
    undo_stream = daskflow.set_stream_logger("DEBUG", io.StringIO())
    undo_stream()
    assert logger.level == logging.INFO
    undo_file()


def test_undoing_twice_is_harmless(tmp_path: Path) -> None:
    before = logger.level, list(logger.handlers)
    undo = daskflow.set_file_logger(tmp_path / "a.log", "INFO")
    undo()
    undo()
    assert (logger.level, logger.handlers) == before


def test_run_folders_are_numbered_upwards_past_other_files(tmp_path: Path) -> None:
    base = tmp_path / "runinfo"
    assert new_run_folder(base).name == "000"
    assert new_run_folder(base).name == "001"
    (base / "notes").mkdir()
    (base / "041").mkdir()
    assert new_run_folder(str(base)).name == "042"


def test_run_folders_made_at_once_are_all_different(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_run_folder(tmp_path), range(40)))
    assert len(set(folders)) == 40


LOOK = """
import json, logging, os, signal, sys
import dask
signals = {n: str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
config = repr(dask.config.config)
files = sorted(os.listdir())
import daskflow
for name in daskflow.__all__:
    getattr(daskflow, name)
names = [n for n in logging.root.manager.loggerDict if n.startswith("daskflow")]
print(json.dumps({
    "handlers": [n for n in names if logging.getLogger(n).handlers] + logging.root.handlers,
    "levels": [n for n in names if logging.getLogger(n).level != logging.NOTSET],
    "signals changed": signals != {
        n: str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)},
    "config changed": config != repr(dask.config.config),
    "files": [f for f in sorted(os.listdir()) if f not in files],
}))
"""


def test_importing_configures_nothing(tmp_path: Path) -> None:
    root = str(Path(daskflow.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout) == {
        "handlers": [],
        "levels": [],
        "signals changed": False,
        "config changed": False,
        "files": [],
    }
    assert done.stderr == ""
