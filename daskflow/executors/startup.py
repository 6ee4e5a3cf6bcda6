"""What a local worker does when it starts: the user's hook, as a plugin of distributed."""

from __future__ import annotations

import pickle
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin


class StartUp(WorkerPlugin):
    """Calls the user's start-up function; pickled, since its module may be __main__."""

    name = "daskflow-start-up"

    def __init__(self, function: bytes):
        self._function = function

    def setup(self, worker: Any) -> None:
        """Call it; if it raises, the worker does not start."""
        pickle.loads(self._function)()
