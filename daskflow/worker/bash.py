"""Bash apps: run the command that the function returned, in its own process group.

Its stderr is kept to the last lines, also when it goes to the worker's own, so that a failure can
show them.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any

from daskflow.errors import AppBadFormatting, BashAppNoReturn, BashExitFailure
from daskflow.worker import streams
from daskflow.worker.running import Guard

TAIL_BYTES = 4096
TAIL_LINES = 20
_DRAIN_S = 0.5
_MOST_DRAINS = 10


def run_command(
    make_command: Callable[[], object],
    app_name: str,
    guard: Guard,
    stdout: streams.StreamSpec | None,
    stderr: streams.StreamSpec | None,
) -> int:
    """Build a command by `make_command`, run it under bash, and return 0.

    Raises
    ------
    BashAppNoReturn, AppBadFormatting
        `make_command` returned something else than a command, or failed on formatting it.
    BadStdStreamFile
        A stream cannot be opened; nothing ran.
    BashExitFailure
        The command ended with another exit code than 0.
    """
    command = _command_text(make_command, app_name)
    with ExitStack() as stack:
        out = stack.enter_context(streams.opened(stdout, "stdout")) if stdout is not None else None
        err = stack.enter_context(streams.opened(stderr, "stderr")) if stderr is not None else None
        start = err.tell() if err is not None and err.seekable() else 0
        process = guard.start(
            lambda: subprocess.Popen(
                [shutil.which("bash") or "/bin/bash", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=_flushed(out),
                stderr=_flushed(err) if err is not None else subprocess.PIPE,
                start_new_session=True,
            )
        )
        pump = None if process.stderr is None else _Pump(process.stderr)
        try:
            exitcode = process.wait()
        except BaseException:
            _kill(process)
            raise
        tail = pump.tail() if pump is not None else _file_tail(err, start)
    if exitcode != 0 and guard.reason is None:
        raise BashExitFailure(app_name, exitcode, command, tail)
    return 0


def _command_text(make_command: Callable[[], object], app_name: str) -> str:
    try:
        command = make_command()
    except (AttributeError, IndexError, KeyError) as error:
        raise AppBadFormatting(
            f"bash app {app_name!r} failed while it built its command: "
            f"{type(error).__name__}: {error}"
        ) from error
    if isinstance(command, str):
        return command
    if (
        isinstance(command, Sequence)
        and not isinstance(command, bytes)
        and command
        and all(isinstance(word, str | os.PathLike) for word in command)
    ):
        return shlex.join(os.fspath(word) for word in command)
    raise BashAppNoReturn(
        f"bash app {app_name!r} returned {command!r}: "
        "must be a command string or a list of arguments"
    )


def _flushed(stream: IO[Any] | None) -> IO[Any] | None:
    if stream is not None:
        stream.flush()
    return stream


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


class _Pump:
    """Copies a command's stderr to this process's and keeps its end."""

    def __init__(self, source: IO[bytes]):
        self._source = source
        self._kept = b""
        self._thread = threading.Thread(target=self._run, name="daskflow-stderr", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with self._source:
            while chunk := os.read(self._source.fileno(), 65536):
                self._kept = (self._kept + chunk)[-TAIL_BYTES:]
                try:
                    sys.stderr.write(chunk.decode(errors="replace"))
                    sys.stderr.flush()
                except (OSError, ValueError):
                    continue

    def tail(self) -> str:
        # A background process of the command may hold the pipe open for ever: do not wait for it.
        for _ in range(_MOST_DRAINS):
            self._thread.join(_DRAIN_S)
            if not self._thread.is_alive() or not self._has_more():
                break
        return last_lines(self._kept)

    def _has_more(self) -> bool:
        """Tell whether something was written that has not been read: this process may be very busy."""
        try:
            return bool(select.select([self._source], [], [], 0)[0])
        except (OSError, ValueError):  # closed: all was read
            return False


def _file_tail(stream: IO[Any] | None, start: int) -> str:
    if stream is None:
        return ""
    try:
        with open(stream.name, "rb") as written:  # noqa: PTH123 # the name may be a descriptor
            end = written.seek(0, os.SEEK_END)
            written.seek(max(start, end - TAIL_BYTES, 0))
            return last_lines(written.read())
    except OSError:
        return ""


def last_lines(data: bytes) -> str:
    """Return the last lines of `data` as text."""
    return "\n".join(data.decode(errors="replace").splitlines()[-TAIL_LINES:])
