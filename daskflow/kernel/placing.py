"""Placing: which executor a call is given to, and whether there is one that can run it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from daskflow.errors import InvalidResourceSpecification, UnknownExecutor
from daskflow.executors.base import Executor
from daskflow.graph.call import Call


class Placing:
    """Chooses among the executors of a kernel. `client` is asked where they do not say their size."""

    def __init__(self, executors: Sequence[Executor], client: Any):
        self._executors = executors
        self._labels = [executor.label for executor in executors]
        self._checked: set[tuple[Any, str]] = set()
        self._busy = Counter[str]()
        own = [executor.slots for executor in executors]
        known = None not in own
        slots = sum(s or 0 for s in own) if known else sum(client.nthreads().values())
        self.slots = max(1, slots)

    def check(self, call: Call) -> None:
        """Raise if no executor of this kernel can run the call.

        Raises
        ------
        UnknownExecutor
            It asks for a label that nobody has.
        InvalidResourceSpecification
            It asks for resources that no worker of its executors has.
        """
        options = call.options
        asked = options.executors, options.placement
        if asked in self._checked:
            return
        wanted = self._labels if options.executors == "all" else options.executors
        for label in wanted:
            if label not in self._labels:
                raise UnknownExecutor(
                    f"app {call.app.name!r} asks for executor {label!r}; "
                    f"this kernel has {', '.join(map(repr, self._labels))}"
                )
        offers = [e.offers for e in self._executors if e.label in wanted]
        if options.resources and None not in offers:
            _check_resources(call, [dict(offer or {}) for offer in offers])
        self._checked.add(asked)

    def label_for(self, call: Call) -> str | None:
        """Return the executor that a call is to be sent to now: the least busy; None: any worker."""
        labels = call.options.executors
        if labels == "all" or len(self._labels) == 1:
            return None
        label = min(labels, key=lambda label: self._busy[label])
        self._busy[label] += 1
        return label

    def left(self, label: str | None, calls: int = 1) -> None:
        """Note that calls with this `label_for` are no longer there."""
        if label is not None:
            self._busy[label] -= calls


def _check_resources(call: Call, offers: Sequence[dict[str, float]]) -> None:
    wanted = call.options.resources
    if not any(all(offer.get(k, 0) >= v for k, v in wanted.items()) for offer in offers):
        raise InvalidResourceSpecification(
            f"app {call.app.name!r} asks for resources {dict(wanted)!r}; "
            f"no worker of its executors has them: they have {offers!r}"
        )
