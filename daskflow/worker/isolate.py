"""Isolated calls: one attempt in a child process of its own.

The child leads its own process group, so a walltime or a cancel ends it exactly, whatever code it
runs; and if it crashes, only this attempt is lost, with its exit code or signal as evidence.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from daskflow.errors import WorkerLost
from daskflow.worker import wire
from daskflow.worker.exceptions import ExceptionRecord, recorded
from daskflow.worker.functions import FunctionSpec, load_function
from daskflow.worker.outcome import Joined
from daskflow.worker.running import Guard

if TYPE_CHECKING:
    from daskflow.worker.attempt import Extras

on_start: bytes | None = None
"""The pickled start-up function of this worker, if it has one: its children call it as well."""
_CHILD = (
    "import sys; sys.path[:] = sys.argv[3:]; import importlib; "
    "module, name = sys.argv[1].split(':'); "
    "getattr(importlib.import_module(module), name)(int(sys.argv[2]))"
)


def run_isolated(
    spec: FunctionSpec,
    key: str,
    arguments: Callable[[], tuple[Sequence[Any], Mapping[str, Any]]],
    extras: Extras,
    walltime_s: float | None,
) -> object:
    """Run one attempt in a child process; return its result in travelling form.

    Raises
    ------
    WorkerLost
        The child ended without a result.
    """
    from daskflow.worker.attempt import check_outputs, raise_interrupted  # a cycle

    args, kwargs = arguments()
    order = wire.dumps((replace(spec, isolate=False), key, args, dict(kwargs), extras))
    child, answers = start_child("daskflow.worker.isolate:serve")
    with answers, Guard(key, walltime_s, child) as guard:
        give(child, order)
        answer = answers.read()
        exitcode = child.wait()
    if guard.reason is not None:
        raise_interrupted(guard, spec.name, walltime_s)
    if not answer:
        raise WorkerLost(spec.name, how_it_ended(exitcode))
    result = pickle.loads(answer)
    if isinstance(result, ExceptionRecord):
        raise result.rebuild()
    check_outputs(spec.name, extras.outputs)
    return result


def start_child(serve: str) -> tuple[subprocess.Popen[bytes], BinaryIO]:
    """Start a child that runs the function `serve` (``"module:name"``) of a descriptor.

    Returns the child and what it writes to that descriptor. It opens with `open_orders` what is
    written to its stdin.
    """
    readable, writable = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, serve, str(writable), *_python_path()],
            stdin=subprocess.PIPE,
            pass_fds=(writable,),
            start_new_session=True,
        )
    finally:
        os.close(writable)
    assert child.stdin is not None
    with suppress(BrokenPipeError):
        pickle.dump(on_start, child.stdin)
    return child, os.fdopen(readable, "rb")


def open_orders() -> BinaryIO:
    """Return what a child has been given on stdin, once its worker's start-up function has run."""
    orders = os.fdopen(os.dup(0), "rb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # what the calls read from stdin must not be ours
    os.close(null)
    function = pickle.load(orders)  # our own parent
    if function is not None:
        pickle.loads(function)()
    return orders


def give(child: subprocess.Popen[bytes], order: bytes) -> None:
    """Write its order to a child, which may be dead already."""
    assert child.stdin is not None
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(order)


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def how_it_ended(exitcode: int) -> str:
    """Say in words what an exit code of `subprocess` means."""
    return f"exit code {exitcode}" if exitcode >= 0 else f"signal {-exitcode}"


def _python_path() -> list[str]:
    package_parent = str(Path(__file__).parents[2])
    return [*(path or str(Path.cwd()) for path in sys.path), package_parent]


def serve(descriptor: int) -> None:
    """Run the attempt that stdin describes and write its result to `descriptor` (in the child)."""
    from daskflow.worker.attempt import run_function  # a cycle

    os.set_inheritable(descriptor, False)
    with open_orders() as orders:
        spec, key, args, kwargs, extras = pickle.load(orders)  # our own parent
    try:
        with Guard(key) as guard:
            function = load_function(spec)
            value = run_function(spec, function, args, kwargs, extras, guard)
        is_joined = isinstance(value, Joined)
        result: object = (
            value if is_joined else wire.packed(value, f"the result of app {spec.name!r}")
        )
    except BaseException as error:  # noqa: BLE001 # SystemExit and all travel as evidence
        result = recorded(error, skip_frames=2)
    sys.stdout.flush()
    sys.stderr.flush()
    with open(descriptor, "wb") as answers:  # a descriptor
        answers.write(wire.dumps(result))
