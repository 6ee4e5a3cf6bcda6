"""Exposing: calls get a Dask key of their own, for graphs that are not ours.

An exposed call is a Dask task that takes its value out of its batch. Dask holds what is built on it until
the batch has ended, so nobody here waits; but then the batch must not leave the call open, to be run by
another batch later: `open_among` tells which calls may be left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from daskflow.futures.recording import key_of, process
from daskflow.graph.call import Call, State
from daskflow.graph.lower import lower_exposed
from daskflow.graph.specs import SpecMaker
from daskflow.kernel.completions import Completions
from daskflow.kernel.retry import RetryRules
from daskflow.kernel.sending import Sender

_MOST_ALONE = 200


class Exposed:
    """The calls of a kernel that have a Dask key of their own. Needs a lock around it."""

    def __init__(self, sender: Sender, completions: Completions, rules: RetryRules):
        self._sender = sender
        self._completions = completions
        self._rules = rules
        self._known: WeakKeyDictionary[Call, tuple[Any, Any]] = WeakKeyDictionary()

    def __contains__(self, call: Call) -> bool:
        return call in self._known

    def task(self, call: Call) -> Any | None:
        """Return the task under the call's own key; None if it is not exposed."""
        known = self._known.get(call)
        return known[0] if known is not None else None

    def watch(self, call: Call) -> None:
        """Report an exposed call once its own key has ended."""
        self._completions.watch([(self._known[call][1], call)])

    def forget(self, call: Call) -> None:
        """Let a call have no key of its own any more."""
        self._known.pop(call, None)

    def expose(self, calls: Iterable[Call]) -> None:
        """Expose those of `calls` that are on the scheduler for good, or keep their value there."""
        wanted = [
            call
            for call in dict.fromkeys(calls)
            if call not in self._known
            and call.batch is not None
            and (call.state is State.DONE or not call.is_final)
        ]
        is_open = self.open_among(wanted)
        new = [call for call in wanted if not is_open[call]]
        if not new:
            return
        specs = SpecMaker(self._rules.policy)
        layer = {}
        for call in new:
            task = lower_exposed(call, key_of(call), process.run, specs)
            layer[task.key] = task
        futures = self._sender.get([(layer, {})], list(layer))
        for call in new:
            key = key_of(call)
            self._known[call] = layer[key], futures[key]
        self._completions.watch([(futures[key_of(call)], call) for call in new])

    def open_among(self, calls: Sequence[Call]) -> dict[Call, bool]:
        """Tell which of `calls` may come back from their task without an outcome.

        So may a join, a member of a batch (which may hand it back), a call whose failure the kernel
        decides about, one that has not been sent, and what depends on such a call.
        """
        found: dict[Call, bool] = {}
        stack = list(calls)
        while stack:
            call = stack[-1]
            if call in found:
                stack.pop()
                continue
            if call.is_final or self._is_open_itself(call):
                found[stack.pop()] = not call.is_final
                continue
            parents = [parent.source for parent in call.parents]
            missing = [parent for parent in parents if parent not in found]
            if missing:
                stack += missing
            else:
                found[stack.pop()] = any(found[parent] for parent in parents)
        return found

    def _is_open_itself(self, call: Call) -> bool:
        return (
            call.app.kind == "join"
            or call.batch is None
            or len(call.batch.calls) > 1
            or self._rules.decided_at_home(call.options)
        )

    def prepare(self, calls: Iterable[Call]) -> None:
        """See that calls which are to be exposed, and have not been sent, are not open then.

        Calls whose cost is known are left as they are: the cheap ones end soon, the others are alone.
        Those of an app that has not run yet are sent alone, unless they are many.
        """
        unknown: list[Call] = []
        seen: set[Call] = set()
        stack = list(calls)
        while stack and len(unknown) <= _MOST_ALONE:
            call = stack.pop().source
            if call.is_final or call.batch is not None or call in seen:
                continue
            seen.add(call)
            if self._sender.costs.estimate(call.app.name) is None:
                unknown.append(call)
            stack += call.parents
        if len(unknown) <= _MOST_ALONE:
            self._sender.alone.update(unknown)


@dataclass(slots=True)
class Pickling:
    """A graph that is being pickled for the scheduler; `needed` are calls that it does not know yet.

    With `asks`, it is pickled only to learn of those, and again once they are exposed.
    """

    asks: bool
    needed: list[Call] = field(default_factory=list)


_pickling: ContextVar[Pickling | None] = ContextVar("pickling", default=None)


def pickling() -> Pickling | None:
    """Return for what this thread is pickling; None if not for the scheduler of a kernel."""
    return _pickling.get()


@contextmanager
def pickled_for_scheduler(*, asks: bool) -> Iterator[Pickling]:
    """Let calls that are pickled in this block become what stands for them on the kernel's scheduler."""
    now = Pickling(asks)
    token = _pickling.set(now)
    try:
        yield now
    finally:
        _pickling.reset(token)
