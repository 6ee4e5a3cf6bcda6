"""A scheduler plugin: what has been reported finished is not run again when its worker is lost.

Dask runs a lost task again if others on the scheduler still need it. But the values of a Box are at home
already. So a Box that leaves the memory of all workers becomes a task that answers "not run" for each
member: whoever needs them is sent again by the kernel, with the values that it has. Likewise a batch whose
worker died after it had told of some members (`daskflow.worker.handback`).
"""

from __future__ import annotations

import pickle
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin

from daskflow.graph import tasks
from daskflow.worker.batch import lost_batch, run_batch
from daskflow.worker.handback import TOPIC


class LossGuard(SchedulerPlugin):
    """Turns Boxes that are lost into Boxes of "not run"."""

    name = "daskflow-loss-guard"
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Remember the scheduler."""
        self._scheduler = scheduler
        self._reported_in_part: set[str] = set()

    def log_event(self, topic: str, msg: Any) -> None:
        """Note which batches have reported some of their members before their end."""
        if topic.startswith(TOPIC):
            self._reported_in_part.add(pickle.loads(msg).key)

    def transition(self, key: Any, start: str, finish: str, *_args: Any, **_kwargs: Any) -> None:
        """Watch for a Box that is no longer in memory, and for a batch that was interrupted."""
        if start == "processing" and key in self._reported_in_part:
            self._reported_in_part.discard(key)
            if finish in ("memory", "erred"):
                return
        elif start != "memory" or finish != "released":
            return
        state = self._scheduler.tasks.get(key)
        if state is None:
            return
        if start == "memory":
            # Released because nobody needs it any more: if it ever comes back, it must be run again.
            is_needed = bool(state.who_wants or state.waiters)
            if not is_needed or not (state.type or "").endswith("outcome.Box"):
                return
        spec = state.run_spec
        if getattr(spec, "func", None) is run_batch:
            state.run_spec = tasks.task(key, lost_batch, spec.args[0], inputs=_inputs(spec))


def _inputs(spec: Any) -> list[Any]:
    return [reference.key for reference in spec.args[1:]]
