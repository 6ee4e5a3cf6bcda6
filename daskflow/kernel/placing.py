"""Placing: which executor a call is given to, and how many of its like may be on the scheduler.

Dask keeps tasks that any worker may run in a queue of the scheduler, and hands them out one by one. Those
that only some workers may run (of a label, with a resource) it hands out all at once: workers that come
later find nothing to do, and one that dies takes many with it. So these wait here, by **route**, and only a
few for each slot are on the scheduler.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from daskflow.errors import InvalidResourceSpecification, UnknownExecutor
from daskflow.executors.base import Executor
from daskflow.graph.call import Call

Route = tuple[Any, tuple[tuple[str, float], ...]]
_FOR_EACH_SLOT = 4
_LEAST_ON_SCHEDULER = 8


class Placing:
    """Chooses among the executors of a kernel.

    `client` is asked where they do not say their size; `clusters` are those whose workers come and go,
    by label.
    """

    def __init__(self, executors: Sequence[Executor], client: Any, clusters: Mapping[str, Any]):
        self._executors = executors
        self._clusters = clusters
        self._labels = [executor.label for executor in executors]
        self._checked: set[tuple[Any, str]] = set()
        self._busy = Counter[str]()
        own = [executor.slots for executor in executors]
        known = None not in own
        slots = sum(s or 0 for s in own) if known else sum(client.nthreads().values())
        self.slots = max(1, slots)
        self._on_scheduler = Counter[Route]()

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

    def route(self, call: Call) -> Route | None:
        """Return what calls have in common that only the same workers may run; None: any may."""
        options = call.options
        if options.executors == "all" and not options.resources:
            return None
        labels = options.executors if len(self._labels) > 1 else "all"
        if labels == "all" and not options.resources:
            return None
        return labels, tuple(sorted(options.resources.items()))

    def is_for(self, route: Route | None, label: str) -> bool:
        """Tell whether calls of a route may run on the executor `label`."""
        if route is None:
            return True
        labels, _resources = route
        return labels == "all" or label in labels

    def room(self, route: Route) -> int:
        """Return how many more tasks of a route may be on the scheduler now."""
        labels, _resources = route
        wanted = self._labels if labels == "all" else labels
        slots = sum(self._slots_now(e) for e in self._executors if e.label in wanted)
        return max(_LEAST_ON_SCHEDULER, _FOR_EACH_SLOT * slots) - self._on_scheduler[route]

    def _slots_now(self, executor: Executor) -> int:
        cluster = self._clusters.get(executor.label)
        if cluster is not None:
            slots: int = cluster.slots_now
            return slots
        return executor.slots if executor.slots is not None else self.slots

    def sent(self, call: Call) -> None:
        """Note that a task with calls like this one is on the scheduler."""
        route = self.route(call)
        if route is not None:
            self._on_scheduler[route] += 1

    def ended(self, call: Call) -> None:
        """Note that a task with calls like this one is no longer on the scheduler."""
        route = self.route(call)
        if route is not None:
            self._on_scheduler[route] -= 1

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
        has = " or ".join(sorted({_in_words(offer) for offer in offers}))
        raise InvalidResourceSpecification(
            f"app {call.app.name!r} asks for resources {dict(wanted)!r}; "
            f"no worker of its executors has them: each has {has}"
        )


def _in_words(offer: Mapping[str, float]) -> str:
    amounts = (
        name if amount == math.inf else f"{name}: {amount:g}" for name, amount in offer.items()
    )
    return ", ".join(amounts) or "none"
