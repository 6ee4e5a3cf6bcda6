"""Failures that nobody has asked about: silence is not success, so closing a kernel tells of them."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter

from daskflow.errors import PropagatedException
from daskflow.futures.recording import key_of
from daskflow.graph.call import Call

logger = logging.getLogger("daskflow.kernel")
_LOGGED_OF_AN_APP = 10
_REMEMBERED = 10_000


class UnaskedFailures:
    """Remembers calls that failed until somebody has seen their exception, or that of a dependent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._errors: dict[int, tuple[BaseException, str]] = {}
        self._logged: Counter[str] = Counter()

    def add(self, call: Call, error: BaseException) -> None:
        """Note that `call` has failed."""
        if isinstance(error, PropagatedException):
            return
        name = call.app.name
        with self._lock:
            if len(self._errors) < _REMEMBERED:
                self._errors[id(error)] = error, key_of(call)
            self._logged[name] += 1
            count = self._logged[name]
        if count <= _LOGGED_OF_AN_APP:
            more = (
                "; more failures of this app are not logged" if count == _LOGGED_OF_AN_APP else ""
            )
            logger.warning("call %s failed: %r%s", key_of(call), error, more)

    def seen(self, error: BaseException) -> None:
        """Note that somebody has been shown `error`."""
        root = error.__cause__ if isinstance(error, PropagatedException) else error
        with self._lock:
            self._errors.pop(id(root), None)

    def tell(self, where: str) -> None:
        """Say on stderr what nobody has asked about; `where` is the log."""
        with self._lock:
            unseen = list(self._errors.values())
            self._errors.clear()
        if not unseen:
            return
        calls = "1 call" if len(unseen) == 1 else f"{len(unseen)} calls"
        error, key = unseen[0]
        first = "it" if len(unseen) == 1 else f"the first, {key},"
        sys.stderr.write(
            f"daskflow: {calls} failed and nobody asked for the result; {first} raised "
            f"{type(error).__name__}: {error} (log: {where})\n"
        )
