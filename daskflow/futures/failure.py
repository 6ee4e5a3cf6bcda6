"""The error of a call whose arguments failed."""

from __future__ import annotations

from daskflow.errors import DependencyError
from daskflow.futures.recording import key_of
from daskflow.graph.call import FINAL, Call, State


def dependency_error(call: Call) -> DependencyError | None:
    """Return the error of `call` if calls that it needs have ended without a value, else None."""
    failed = [p for p in call.parents if p.state >= FINAL and p.state is not State.DONE]
    if not failed:
        return None
    first = failed[0]
    others = len({id(parent) for parent in failed}) - 1
    return DependencyError(key_of(call), key_of(first), first.value, others)
