"""Where a call's stdout and stderr go.

A specification is None (where the worker's own go), a path (appended to), ``(path, mode)``, or a
`File` (written anew). Parent folders are made. A bash app's command gets the open files; of a python
app, what its own thread prints is redirected.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from daskflow.errors import BadStdStreamFile
from daskflow.files import File

StreamSpec = str | os.PathLike[str] | tuple[str | os.PathLike[str], str] | File
_MODES = frozenset({"w", "a", "x", "w+", "a+", "x+", "wb", "ab", "xb", "w+b", "a+b", "wb+", "ab+"})


def check_stream(spec: object, which: str) -> None:
    """Raise BadStdStreamFile unless `spec` has one of the allowed forms."""
    if spec is None or isinstance(spec, str | os.PathLike | File):
        return
    if isinstance(spec, tuple) and len(spec) == 2:  # (path, mode)
        path, mode = spec
        if isinstance(path, str | os.PathLike) and isinstance(mode, str) and mode in _MODES:
            return
        if isinstance(path, str | os.PathLike):
            raise BadStdStreamFile(
                f"{which}={spec!r}: mode {mode!r} is not one that writes, such as 'w' or 'a'"
            )
    raise BadStdStreamFile(
        f"{which}={spec!r}: must be a path, a (path, mode) tuple, a File or AUTO_LOGNAME"
    )


def opened(spec: StreamSpec, which: str) -> IO[Any]:
    """Open the file of a specification.

    Raises
    ------
    BadStdStreamFile
        It has a wrong form or cannot be opened.
    """
    check_stream(spec, which)
    if isinstance(spec, tuple):
        path, mode = Path(spec[0]), spec[1]
    elif isinstance(spec, File):
        path, mode = Path(spec.filepath), "w"
    else:
        path, mode = Path(spec), "a"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open(mode)
    except OSError as error:
        raise BadStdStreamFile(f"{which}={spec!r} cannot be opened: {error}") from error


@contextmanager
def redirected(stdout: StreamSpec | None, stderr: StreamSpec | None) -> Iterator[None]:
    """Send what this thread prints to the given files."""
    with _redirected("stdout", stdout), _redirected("stderr", stderr):
        yield


@contextmanager
def _redirected(which: str, spec: StreamSpec | None) -> Iterator[None]:
    if spec is None:
        yield
        return
    with opened(spec, which) as target:
        text = os.fdopen(os.dup(target.fileno()), "a") if "b" in target.mode else target
        router = _Router.install(which)
        try:
            router.targets[threading.get_ident()] = text
            yield
        finally:
            text.flush()
            router.remove(threading.get_ident())
            if text is not target:
                text.close()


class _Router:
    """Stands for sys.stdout or sys.stderr while some thread is redirected."""

    _lock = threading.Lock()

    def __init__(self, which: str, fallback: TextIO):
        self.which = which
        self.fallback = fallback
        self.targets: dict[int, IO[Any]] = {}
        self._users = 0

    @classmethod
    def install(cls, which: str) -> _Router:
        with cls._lock:
            stream = getattr(sys, which)
            if not isinstance(stream, cls):
                stream = cls(which, stream)
                setattr(sys, which, stream)
            stream._users += 1
            return stream

    def remove(self, thread_id: int) -> None:
        with self._lock:
            self.targets.pop(thread_id, None)
            self._users -= 1
            if self._users == 0 and getattr(sys, self.which) is self:
                setattr(sys, self.which, self.fallback)

    def _target(self) -> IO[Any]:
        return self.targets.get(threading.get_ident(), self.fallback)

    def write(self, text: str) -> int:
        return self._target().write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)
