"""Running a provider's commands: with a time limit, and with all that was said kept as evidence."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from typing import TypeVar

from jobqueue_sites.errors import CommandError, CommandTimeout
from jobqueue_sites.providers.base import Answer, Command

T = TypeVar("T")
_KILL_TIMEOUT_S = 1.0


async def run_command(command: Command[T], timeout_s: float) -> T:
    """Run a command and read its answer.

    Raises
    ------
    CommandTimeout
        It gave no answer in time; it has been killed.
    CommandError
        It cannot be run, or its answer says that it failed.
    """
    argv = command.argv
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C of the terminal is not for it
        )
    except OSError as error:
        raise CommandError(
            f"{argv[0]!r} cannot be run here: {error.strerror}. Is this a machine of that batch "
            "system, and are its commands on the PATH?",
            argv=argv,
        ) from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError as error:
        raise CommandTimeout(
            f"'{shlex.join(argv)}' gave no answer within {timeout_s:g} s (cmd_timeout)", argv=argv
        ) from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):  # it may hang in a file system
                await asyncio.wait_for(process.wait(), _KILL_TIMEOUT_S)
    assert process.returncode is not None
    answer = Answer(
        argv=argv,
        exit_code=process.returncode,
        stdout=out.decode(errors="replace"),
        stderr=err.decode(errors="replace"),
    )
    return command.read(answer)
