"""The error tree: every exception daskflow raises by itself.

::

    DaskflowError
    ├── ConfigurationError            a setting that cannot work
    ├── NoDataFlowKernelError         no kernel is loaded here, and none may be
    │   ├── KernelClosedError         the kernel of this future has been closed
    │   └── KernelForkedError         the kernel belongs to the parent process
    ├── WouldDeadlockError            waiting here could never end
    ├── AppException                  one call failed by its own doing
    │   ├── AppTimeout                it ran longer than its walltime
    │   ├── BashExitFailure           its command ended with a non-zero exit code
    │   ├── BashAppNoReturn           it returned no command
    │   ├── AppBadFormatting          it failed while it built its command
    │   ├── MissingOutputs            it ended without the files it promised
    │   ├── BadStdStreamFile          its stdout or stderr cannot be opened
    │   └── RemoteException           its exception cannot travel; here is its text
    ├── SerializationError            an argument, function or result cannot travel
    │   └── CapturedFutureError       a function holds an AppFuture it was not given
    ├── DeserializationError          arguments that arrived cannot be unpickled there
    ├── DataFlowException
    │   └── PropagatedException       a call failed because others did
    │       ├── DependencyError       ... those it needed as arguments
    │       └── JoinError             ... those its body returned
    ├── WrongResult                   a workload of `daskflow perf` got a wrong value
    └── ExecutorError                 the machinery below the calls
        ├── UnknownExecutor           no executor has that label
        ├── InvalidResourceSpecification
        ├── VersionMismatch           a worker has another Python, dask or daskflow
        ├── BlocksFailed              the batch system gives no nodes, or workers do not come up on them
        ├── SchedulerLost             the scheduler ended or cannot be reached
        └── WorkerLost                the worker process of a call ended under it

An exception that an app raised reaches the user as what it was, with its remote
traceback; where it happened is in its attribute ``daskflow`` (a `FailureReport`)
and in its notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FailureReport:
    """Where and when one attempt of a call failed (attribute ``daskflow`` of its exception)."""

    app: str
    key: str
    host: str
    worker: str
    attempt: int
    traceback: str = ""

    def __str__(self) -> str:
        return (
            f"daskflow: app {self.app!r}, call {self.key}, attempt {self.attempt}, "
            f"on host {self.host}, worker {self.worker}"
        )


class DaskflowError(Exception):
    """Base of all errors that daskflow raises."""


class ConfigurationError(DaskflowError, ValueError):
    """A setting has a value that cannot work."""


class WrongResult(DaskflowError):
    """A workload of ``daskflow perf`` got another value than it should."""


class NoDataFlowKernelError(DaskflowError, RuntimeError):
    """No kernel is loaded in this process, or none may be."""


class KernelClosedError(NoDataFlowKernelError):
    """The kernel that owned this call has been closed."""


class KernelForkedError(NoDataFlowKernelError):
    """The kernel belongs to the process this one was forked from."""


class WouldDeadlockError(DaskflowError, RuntimeError):
    """Waiting here could never end, e.g. for a future inside a done-callback."""


class AppException(DaskflowError):
    """A call failed by its own doing."""


class AppTimeout(AppException, TimeoutError):
    """A call ran longer than its walltime."""


class BashExitFailure(AppException):
    """The command of a bash app ended with a non-zero exit code.

    Attributes ``app_name``, ``exitcode`` (negative: ended by that signal), ``command`` and
    ``stderr_tail`` (the last lines it wrote to stderr) keep the evidence.
    """

    def __init__(self, app_name: str, exitcode: int, command: str = "", stderr_tail: str = ""):
        super().__init__(app_name, exitcode, command, stderr_tail)
        self.app_name = app_name
        self.exitcode = exitcode
        self.command = command
        self.stderr_tail = stderr_tail

    def __str__(self) -> str:
        if self.exitcode < 0:
            how = f"was ended by signal {-self.exitcode}"
        else:
            how = f"failed with exit code {self.exitcode}"
        text = f"bash app {self.app_name!r} {how}"
        if self.command:
            text += f"\n  command: {_shortened(self.command)}"
        if self.stderr_tail:
            lines = "\n".join(f"    {line}" for line in self.stderr_tail.splitlines())
            text += f"\n  last lines of stderr:\n{lines}"
        return text


class BashAppNoReturn(AppException, TypeError):
    """The function of a bash app returned neither a string nor a list of arguments."""


class AppBadFormatting(AppException):
    """The function of a bash app failed while it built its command."""


class MissingOutputs(AppException, FileNotFoundError):
    """A call ended without the files it promised in ``outputs``."""

    def __init__(self, app_name: str, missing: Sequence[str | Path]):
        super().__init__(app_name, [str(path) for path in missing])
        self.app_name = app_name
        self.missing = [str(path) for path in missing]

    def __str__(self) -> str:
        return f"app {self.app_name!r} ended without its outputs: {', '.join(self.missing)}"


class BadStdStreamFile(AppException, OSError):
    """The file given as stdout or stderr cannot be used."""


class RemoteException(AppException):
    """An app raised an exception that cannot be pickled; this carries its text.

    ``type_name`` is the qualified name of the original type.
    """

    def __init__(self, type_name: str, text: str):
        super().__init__(type_name, text)
        self.type_name = type_name
        self.text = text

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text} (the original exception could not be pickled)"


class SerializationError(DaskflowError, TypeError):
    """An argument, a function or a result cannot be pickled, so it cannot travel."""


class DeserializationError(DaskflowError):
    """The arguments of a call arrived but cannot be unpickled on the worker."""


class CapturedFutureError(SerializationError):
    """A function holds an AppFuture in a closure or a global instead of taking it as argument."""


class DataFlowException(DaskflowError):
    """Base of the errors about calls that depend on each other."""


class PropagatedException(DataFlowException):
    """A call failed because another did; ``__cause__`` is the exception at the root.

    Parameters
    ----------
    key
        The call that failed so.
    via
        The failed call next to it.
    via_error
        That one's exception; if it is a PropagatedException too, the path goes on through it.
    others
        How many further calls next to it had failed as well.
    """

    noun = "Dependency"

    def __init__(self, key: str, via: str, via_error: BaseException | None = None, others: int = 0):
        super().__init__(key, via)
        self.key = key
        self.via = via
        self.others = others
        self._via_error = via_error if isinstance(via_error, PropagatedException) else None
        through = self._via_error
        self.__cause__ = through.__cause__ if through is not None else via_error

    @property
    def path(self) -> tuple[str, ...]:
        """The keys from the call next to this one to the one that failed by itself."""
        keys: list[str] = []
        error: PropagatedException | None = self
        while error is not None:
            keys.append(error.via)
            error = error._via_error
        return tuple(keys)

    def __str__(self) -> str:
        path = self.path
        if len(path) > _LONGEST_PATH:
            path = (*path[: _LONGEST_PATH // 2], "…", *path[-_LONGEST_PATH // 2 :])
        text = f"{self.noun} failure for call {self.key}: via {' <- '.join(path)}"
        if self.others:
            text += f" (and {self.others} other failed)"
        if (cause := self.__cause__) is not None:
            text += f"; root cause {type(cause).__name__}: {_shortened(str(cause))}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        return _propagated, (type(self), self.key, self.path, self.others, self.__cause__)


def _propagated(
    kind: type[PropagatedException],
    key: str,
    path: Sequence[str],
    others: int,
    cause: BaseException | None,
) -> PropagatedException:
    error = cause
    for nearer, farther in zip([key, *path[:-1]][::-1], path[::-1], strict=True):
        error = kind(nearer, farther, error)
    assert isinstance(error, PropagatedException)
    error.others = others
    return error


class DependencyError(PropagatedException):
    """A call never ran because a call it needs as argument failed or was cancelled."""


class JoinError(PropagatedException):
    """A join app failed because a future that its body returned failed."""

    noun = "Join"


class ExecutorError(DaskflowError):
    """Something below the calls failed."""


class UnknownExecutor(ExecutorError, ValueError):
    """A call names an executor that the kernel does not have."""


class InvalidResourceSpecification(ExecutorError, ValueError):
    """A call asks for resources that no worker can have."""


class VersionMismatch(ExecutorError):
    """A worker runs another version of Python, dask or daskflow than this process."""


class BlocksFailed(ExecutorError):
    """Blocks of an executor do not come up, time after time; the message says what happened."""


class SchedulerLost(ExecutorError):
    """The scheduler ended or can no longer be reached."""


class WorkerLost(ExecutorError):
    """The process that ran a call ended under it.

    ``evidence`` says how (exit code or signal), as far as it is known.
    """

    def __init__(self, app_name: str, evidence: str):
        super().__init__(app_name, evidence)
        self.app_name = app_name
        self.evidence = evidence

    def __str__(self) -> str:
        return f"app {self.app_name!r} lost its worker process: {self.evidence}"


_LONGEST_PATH = 12


def _shortened(text: str, limit: int = 500) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
