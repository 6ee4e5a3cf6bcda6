"""Suspects: calls that may kill the process they run in are run in a child process, one after another.

::

    worker ── index of a member ──► child      a group of processes of its own
           ◄── its outcome ───────             (or the end of the pipe: the child has died of it)

The worker knows at any time which member the child is running: if the child dies, that one is to blame, and
if that one is cancelled, the child is ended at once. Another child goes on with the next.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from daskflow.errors import WorkerLost
from daskflow.worker import batch, wire
from daskflow.worker.attempt import failed
from daskflow.worker.functions import FunctionSpec
from daskflow.worker.handback import LONG_S, Claims
from daskflow.worker.isolate import how_it_ended, kill_group, open_orders, start_child
from daskflow.worker.keys import call_key
from daskflow.worker.outcome import Box, NotRun, boxed
from daskflow.worker.running import KILL_GRACE_S, Guard, was_cancelled


def run_suspects(
    payload: bytes,
    order: batch.Order,
    values: Sequence[object],
    entries: list[object],
    claims: Claims | None,
) -> Box:
    """Run the members of a suspect batch, append their outcomes to `entries`, and return its Box.

    What has ended is told at once where it would have to wait.
    """
    child: _Child | None = None
    told_s = time.perf_counter()
    try:
        for index, member in enumerate(order.members):
            if claims is not None and (child is None or time.perf_counter() - told_s > LONG_S):
                claims.tell_ended()
                told_s = time.perf_counter()
            if child is None:
                child = _Child(payload, values, entries)
            if claims is not None and not claims.begin(index, time.perf_counter()):
                break
            spec = order.functions[member.function]
            entries.append(child.run(index, spec, call_key(spec.name, order.run, member.number)))
            if child.is_over:
                child.end()
                child = None
    finally:
        if child is not None:
            child.end()
    # What they cost in a child is not what they cost.
    return boxed(batch.filled(order, entries), {}, sum(map(wire.size_bytes, entries)))


class _Child:
    """A child process that runs members of a batch."""

    def __init__(self, payload: bytes, values: Sequence[object], entries: Sequence[object]):
        self.is_over = False
        self._process, self._answers = start_child("daskflow.worker.suspects:serve")
        assert self._process.stdin is not None
        self._orders = self._process.stdin
        self._give(wire.dumps((payload, values, entries)))
        self._read()  # it is up

    def run(self, index: int, spec: FunctionSpec, key: str) -> object:
        """Run a member; return its outcome."""
        entry: object = NotRun()
        with Guard(key, process=self._process) as guard:
            if not was_cancelled(key):
                self._give(pickle.dumps(index))
                entry = self._read()
        if guard.reason is not None:
            self.is_over = True
            return NotRun()
        if self.is_over:
            error = WorkerLost(spec.name, how_it_ended(self._process.wait()))
            return failed(spec, key, error, 1)
        return entry

    def end(self) -> None:
        """End it, which is about to end by itself, for the pipe to it does."""
        with suppress(BrokenPipeError):
            self._orders.close()
        try:
            self._process.wait(KILL_GRACE_S)
        except subprocess.TimeoutExpired:  # a thread of the user's goes on
            kill_group(self._process)
        self._answers.close()

    def _give(self, order: bytes) -> None:
        with suppress(BrokenPipeError):
            self._orders.write(order)
            self._orders.flush()

    def _read(self) -> object:
        """Return what the child says next; None if it is over."""
        try:
            return pickle.load(self._answers)
        except (EOFError, pickle.UnpicklingError):
            self.is_over = True
            return None


def serve(descriptor: int) -> None:
    """Run the members that stdin names and write each outcome to `descriptor` (in the child)."""
    os.set_inheritable(descriptor, False)
    with open_orders() as orders, os.fdopen(descriptor, "wb") as answers:
        payload, values, entries = pickle.load(orders)  # our own parent
        order = batch.Order.loaded(payload)
        answer: object = None
        with suppress(EOFError, BrokenPipeError):
            while True:
                sys.stdout.flush()
                sys.stderr.flush()
                answers.write(wire.dumps(answer))
                answers.flush()
                index = pickle.load(orders)
                entries += [NotRun()] * (index - len(entries))
                answer = batch.run_member(order, order.members[index], values, entries)
                entries.append(answer)
