"""Exceptions that travel: with type, arguments, attributes, traceback, cause and context.

Pickle alone loses the traceback and the cause, and breaks on an exception whose ``__init__`` does
not take its own ``args``. An exception that cannot be pickled at all arrives as a
`daskflow.errors.RemoteException` with its text.
"""

from __future__ import annotations

import pickle
import traceback
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

import tblib

from daskflow.errors import RemoteException
from daskflow.worker import wire


@dataclass(frozen=True, slots=True)
class ExceptionRecord:
    """An exception, taken apart."""

    payload: bytes | None
    type_name: str
    text: str
    formatted: str
    frames: tblib.Traceback | None
    cause: ExceptionRecord | None
    context: ExceptionRecord | None
    suppress_context: bool

    def rebuild(self) -> BaseException:
        """Return the exception, as near to the original as it can be had here."""
        error = self._rebuild_bare()
        if self.frames is not None:
            error = error.with_traceback(self.frames.as_traceback())
        if self.cause is not None:
            error.__cause__ = self.cause.rebuild()
        if self.context is not None:
            error.__context__ = self.context.rebuild()
        error.__suppress_context__ = self.suppress_context
        return error

    def _rebuild_bare(self) -> BaseException:
        if self.payload is not None:
            with suppress(Exception):
                return _revived(self.payload)
        return RemoteException(self.type_name, self.text)


def recorded(error: BaseException, skip_frames: int = 0, depth: int = 0) -> ExceptionRecord:
    """Take `error` apart; the first `skip_frames` frames of its traceback are ours, not the user's."""
    trace = error.__traceback__
    for _ in range(skip_frames):
        if trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
    chain = depth < _LONGEST_CHAIN
    return ExceptionRecord(
        payload=_pickled(error),
        type_name=f"{type(error).__module__}.{type(error).__qualname__}",
        text=_text(error),
        formatted=_formatted(error, trace),
        frames=tblib.Traceback(trace) if trace is not None else None,
        cause=recorded(error.__cause__, 0, depth + 1) if chain and error.__cause__ else None,
        context=recorded(error.__context__, 0, depth + 1)
        if chain and error.__context__ and not error.__cause__
        else None,
        suppress_context=error.__suppress_context__,
    )


_LONGEST_CHAIN = 10


def _pickled(error: BaseException) -> bytes | None:
    try:
        reduced = error.__reduce__()
        if isinstance(reduced, tuple) and reduced[0] is type(error):
            state = reduced[2] if len(reduced) > 2 else None
            data = wire.dumps((type(error), reduced[1], state, error.args))
            _revived(data)
            return data
        return wire.dumps((None, error, None, ()))
    except Exception:  # noqa: BLE001 # whatever user code does here
        return None


def _revived(data: bytes) -> BaseException:
    """Build an exception without trusting its ``__init__`` to take its own ``args``."""
    kind, first, state, args = pickle.loads(data)
    if kind is None:
        whole: BaseException = first
        return whole
    error: BaseException
    try:
        error = kind(*first)
    except Exception:  # noqa: BLE001 # whatever user code does here
        error = kind.__new__(kind, *first)
    error.args = args
    for name, value in (state or {}).items():
        setattr(error, name, value)
    return error


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 # whatever user code does here
        return "<an exception whose str() fails>"


def _formatted(error: BaseException, trace: TracebackType | None) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except Exception:  # noqa: BLE001 # whatever user code does here
        return f"{type(error).__qualname__}: {_text(error)}\n"
