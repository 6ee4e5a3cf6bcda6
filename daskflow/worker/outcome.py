"""Outcomes: what became of each call of a batch, as it travels home.

::

    Box ──► [ value | Failed | Blocked | NotRun | Interrupted | Joined | TAKEN, ... ]   one for each member

A batch never raises: a member that fails leaves a `Failed` in its place, one whose argument has no
value a `Blocked`. `LargeBox` is a Box that stays on its worker until somebody asks; its type alone
tells the client so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daskflow.errors import FailureReport
from daskflow.worker import wire
from daskflow.worker.exceptions import ExceptionRecord


class Outcome:
    """Base of the entries of a Box that are no values."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Failed(Outcome):
    """The call raised; `retryable` if its policy leaves the decision to the kernel."""

    record: ExceptionRecord
    report: FailureReport
    attempts: int = 1
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class Blocked(Outcome):
    """The call never ran: an argument has no value, since `root` failed (None: it has not been run)."""

    root: Failed | None = None


@dataclass(frozen=True, slots=True)
class NotRun(Outcome):
    """The call has not been tried; it may be sent again."""


@dataclass(frozen=True, slots=True)
class Interrupted(NotRun):
    """The call has no outcome: its worker died while it ran it, of whatever cause."""


@dataclass(frozen=True, slots=True)
class Joined(Outcome):
    """The body of a join app ran: `description` is the pickle of what it recorded.

    `expand` runs a description where there is no kernel, and returns the value.
    """

    description: bytes
    expand: Callable[[bytes], object]
    attempts: int = 1

    def in_place(self) -> object:
        """Run what the body recorded, here and now; return the value of the join."""
        return self.expand(self.description)


Spent = dict[str, tuple[int, float, int]]
"""Of each app in a batch: how many calls ran, their seconds (a long one's cut off at 0.1), the bytes of
their results."""


class Box:
    """The outcomes of the members of one batch, opaque to Dask.

    Dask would serialize a list element by element; a Box is one pickle.
    """

    __slots__ = ("entries", "spent")

    def __init__(self, entries: Sequence[object], spent: Spent | None = None):
        self.entries = entries
        self.spent: Spent = spent or {}

    def __reduce__(self) -> tuple[type[Box], tuple[Sequence[object], Spent]]:
        return type(self), (self.entries, self.spent)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + sum(map(wire.size_bytes, self.entries))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.entries)} outcomes)"


class LargeBox(Box):
    """A Box whose values are too large to be fetched before anyone asks."""

    __slots__ = ()


def boxed(entries: list[object], spent: Spent, size_bytes: int) -> Box:
    """Return the Box for `entries` of `size_bytes` together, a LargeBox if that is much."""
    return (LargeBox if size_bytes > wire.LARGE_BYTES else Box)(entries, spent)


class Taken(Outcome):
    """Stands for a value that was passed on: one other call has taken it, and nobody can ask for it."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "TAKEN"

    def __repr__(self) -> str:
        return "<a value that was passed on to the only call that takes it>"


TAKEN = Taken()


class Remote(Outcome):
    """Stands in a Summary for a value that stays on its worker."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "REMOTE"


REMOTE = Remote()


def summarized(box: Box) -> Box:
    """Return a Box in which each large value of `box` is replaced by `REMOTE`."""
    limit = wire.LARGE_BYTES // max(1, len(box.entries))
    return Box([REMOTE if wire.size_bytes(e) > limit else e for e in box.entries], box.spent)
