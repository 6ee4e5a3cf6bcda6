"""A batch system for one machine, as a program: ``submit SCRIPT``, ``query ID…``, ``cancel ID…``.

It is run by its path, without the packages that it lies in, so that a command takes a few hundredths of a
second; hence nothing but light modules of the standard library is imported.

::

    submit ──fork──► supervisor ──► bash SCRIPT ──► … all that the script starts
       │                 │ reaps them all; walltime or SIGTERM: SIGTERM to all, after a while SIGKILL
       ▼                 ▼
      ID  ◄──named──  ID.json  ──read by──► query, cancel

An ID is the path of the script, and the pid of the supervisor behind it; beside the script lies the record,
``ID.json``. A pid alone may be another process by now: the record has the time at which the process
started, which tells them apart.

A script begins with directives, ``#LOCAL --output=…``, ``--error=…``, ``--time=SECONDS`` and
``--kill-after=SECONDS``.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import signal
import socket
import sys
import time
from typing import Any, NoReturn

PREFIX = "#LOCAL"
ID_VARIABLE = "JOBQUEUE_SITES_JOB_ID"

_PR_SET_CHILD_SUBREAPER = (
    36  # <sys/prctl.h>: orphans among a process's descendants become its children
)

Record = dict[str, Any]


class Refused(Exception):  # noqa: D101
    pass


def main(arguments: list[str]) -> int:
    """Run one command."""
    command, *operands = arguments or [""]
    try:
        match command, operands:
            case "submit", [script]:
                sys.stdout.write(f"{submit(script)}\n")
            case "query", [_, *_]:
                json.dump(query(operands), sys.stdout)
            case "cancel", [_, *_]:
                cancel(operands)
            case _:
                raise Refused("usage: submit SCRIPT | query ID… | cancel ID…")
    except Refused as refused:
        sys.stderr.write(f"local: {refused}\n")
        return 1
    return 0


# ------------------------------------------------------------------ submit


def submit(script: str) -> str:
    """Start a supervisor, and return the job's ID once its record is there."""
    script = os.path.abspath(script)
    options = _options(script)
    try:
        files = tuple(
            os.open(options[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            for name in ("output", "error")
        )
    except OSError as error:
        raise Refused(f"Job submission failed: {error}") from error
    # What is signalled before the supervisor waits for it is not lost.
    signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    supervisor = os.fork()
    if supervisor == 0:
        os.close(reading)
        _supervise(script, options, files, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    if said != "started":
        raise Refused(f"Job submission failed: {said or 'the supervisor was killed'}")
    return f"{script}.{supervisor}"


def _options(script: str) -> dict[str, str]:
    """Return the directives of a script."""
    options = {"output": os.devnull, "error": os.devnull, "time": "31536000", "kill-after": "10"}
    try:
        with open(script, encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(f"{PREFIX} ")]
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"Job submission failed: {error}") from error
    for line in lines:
        for word in shlex.split(line.removeprefix(PREFIX)):
            name, _, value = word.removeprefix("--").partition("=")
            if name not in options:
                raise Refused(f"Job submission failed: Invalid directive: {line.strip()}")
            options[name] = value
    try:
        float(options["time"]), float(options["kill-after"])
    except ValueError as error:
        raise Refused(f"Job submission failed: Invalid directive: {error}") from error
    return options


# ------------------------------------------------------------------ the supervisor

_AWAITED = {signal.SIGCHLD, signal.SIGTERM}


def _supervise(script: str, options: dict[str, str], files: tuple[int, ...], told: int) -> NoReturn:
    """Run a job to its end; the record says what became of it."""
    code = 1
    try:
        os.setsid()
        job_id = f"{script}.{os.getpid()}"
        record: Record = {
            "state": "running",
            "supervisor": _identity(os.getpid()),
            "node": socket.gethostname(),
        }
        try:
            _adopt_orphans()
            child = os.posix_spawnp(
                "bash",
                ["bash", script],
                {**os.environ, ID_VARIABLE: job_id},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    *((os.POSIX_SPAWN_DUP2, file, to) for to, file in enumerate(files, start=1)),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # which Python ignores
            )
            record["job"] = _identity(child)
            _write(job_id, record)
        except OSError as error:
            os.write(told, str(error).encode())
            os._exit(1)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):  # whoever reads what submit says need not wait for the job's end
            os.dup2(null, stream)
        os.write(told, b"started")
        os.close(told)
        _watch(job_id, record, child, options)
        code = 0
    finally:
        os._exit(code)


def _watch(job_id: str, record: Record, child: int, options: dict[str, str]) -> None:
    """Wait for the script to end; end all of the job when it is to; write the last record."""
    act_at = time.monotonic() + float(options["time"])
    while (status := _reap(child)) is None:
        got = signal.sigtimedwait(_AWAITED, max(0, act_at - time.monotonic()))
        is_late = time.monotonic() >= act_at
        is_cancelled = got is not None and got.si_signo == signal.SIGTERM
        if record["state"] == "running" and (is_late or is_cancelled):
            record["state"] = "ending"
            record["end"], record["reason"] = (
                ("cancelled", "cancelled")
                if is_cancelled
                else ("timeout", f"its walltime of {options['time']} s is over")
            )
            _write(job_id, record)
            _signal_all(signal.SIGTERM)
            act_at = time.monotonic() + float(options["kill-after"])
        elif record["state"] == "ending" and is_late:
            _signal_all(signal.SIGKILL)
            act_at = time.monotonic() + 0.1  # what has been forked since
    while _signal_all(signal.SIGKILL):  # what the script has left behind
        if _reap(child) is None:
            signal.sigtimedwait({signal.SIGCHLD}, 0.05)
    exit_code = os.waitstatus_to_exitcode(status)
    final = "completed" if exit_code == 0 else "failed"
    _write(job_id, {**record, "state": record.get("end", final), "exit_code": exit_code})


def _reap(child: int) -> int | None:
    """Collect whatever has ended; return the status of the script once it has."""
    status = None
    while True:
        try:
            pid, ended_with = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == child:
            status = ended_with


def _adopt_orphans() -> None:
    """Stay the ancestor of all that the job starts, also of what has left its session."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _signal_all(number: int) -> int:
    """Signal every process of the job; return how many there were."""
    pids = _descendants(os.getpid())
    for pid in pids:
        _kill(pid, number)
    return len(pids)


def _descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, seen = [], [ancestor]
    while seen:
        for pid in children.get(seen.pop(), ()):
            found.append(pid)
            seen.append(pid)
    return found


# ------------------------------------------------------------------ query and cancel


def query(job_ids: list[str]) -> dict[str, Record]:
    """Return the records of those jobs that there are."""
    found = {}
    for job_id in job_ids:
        record = _read(job_id)
        if record is None:
            continue
        if record["state"] in {"running", "ending"} and not _is_alive(record["supervisor"]):
            record = _read(job_id) or record  # it may have ended in between
            if record["state"] in {"running", "ending"} and not _is_alive(record["job"]):
                record.update(state="lost", reason="its supervisor was killed")
        found[job_id] = record
    return found


def cancel(job_ids: list[str]) -> None:
    """Ask jobs to end; those that have ended, or are not known, are none to ask."""
    for job_id in job_ids:
        record = _read(job_id)
        if record is None or record["state"] not in {"running", "ending"}:
            continue
        if _is_alive(record["supervisor"]):
            _kill(record["supervisor"]["pid"], signal.SIGTERM)
        elif _is_alive(record["job"]):  # nobody is left to wait for it
            _kill(-record["job"]["pid"], signal.SIGKILL)


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError as error:
        if error.errno != errno.ESRCH:
            raise Refused(f"Kill job error: {error}") from error


def _read(job_id: str) -> Record | None:
    try:
        with open(f"{job_id}.json", encoding="utf-8") as file:
            record: Record = json.load(file)
    except OSError:
        return None
    return record


def _write(job_id: str, record: Record) -> None:
    """Put a record in the place of the one before, so that a reader sees one of them whole."""
    with open(f"{job_id}.tmp", "w", encoding="utf-8") as file:
        json.dump(record, file)
    os.replace(f"{job_id}.tmp", f"{job_id}.json")


def _identity(pid: int) -> Record:
    """Return what tells a process from any other that has or had its pid."""
    fields = _stat(pid)
    if fields is None:
        raise ProcessLookupError(errno.ESRCH, f"process {pid} is gone")
    return {"pid": pid, "started": fields[19]}


def _is_alive(identity: Record) -> bool:
    fields = _stat(identity["pid"])
    return fields is not None and fields[19] == identity["started"] and fields[0] != "Z"


def _stat(pid: int) -> list[str] | None:
    """Return /proc/PID/stat from the third field on: state, ppid, …; see proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
