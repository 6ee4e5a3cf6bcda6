"""Call: one use of an app, a vertex of the graph; AppSpec and Options: what an app is.

A call moves one way::

    RECORDED ──► HELD (an argument is not to be had yet) ──► SUBMITTED ──► DONE
        │                                                  │   │           FAILED
        │                                                  │   └► JOINING  DEP_FAILED
        └──────────────────────────────────────────────────┴─────────────► CANCELLED

and back from SUBMITTED to RECORDED when it is to be tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, Protocol

from daskflow.errors import ConfigurationError
from daskflow.retries import Retry, as_retry


class State(IntEnum):
    """Where a call is on its way; those from DONE on are final."""

    RECORDED = 0
    HELD = 1
    SUBMITTED = 2
    JOINING = 3
    DONE = 10
    FAILED = 11
    DEP_FAILED = 12
    CANCELLED = 13


STATUS_NAMES = {
    State.RECORDED: "recorded",
    State.HELD: "pending",
    State.SUBMITTED: "launched",
    State.JOINING: "joining",
    State.DONE: "exec_done",
    State.FAILED: "failed",
    State.DEP_FAILED: "dep_fail",
    State.CANCELLED: "cancelled",
}
FINAL = State.DONE


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be said of an app, and of one call by `App.options`.

    Parameters
    ----------
    executors
        Labels of the executors that may run it, or ``"all"``.
    retries
        Further tries after a failure, or a `Retry`; None: as the Config says.
    walltime_s
        Seconds after which an attempt is interrupted.
    resources
        Amounts of Dask worker resources an attempt takes, such as ``{"GPU": 1}``.
    priority
        Calls of higher priority run sooner.
    isolate
        Run each attempt in a child process.
    batch
        Whether several calls may share one Dask task: True (as their learned cost suggests), False,
        or how many; None: as the Config says.
    annotations
        Further Dask annotations (``workers``, ``allow_other_workers``).
    """

    executors: str | tuple[str, ...] = "all"
    retries: int | Retry | None = None
    walltime_s: float | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    priority: int = 0
    isolate: bool = False
    batch: bool | int | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "executors", _labels(self.executors))
        if self.retries is not None:
            as_retry(self.retries)
        if self.walltime_s is not None:
            check_walltime(self.walltime_s, "walltime_s")
        if isinstance(self.priority, bool) or not isinstance(self.priority, int | float):
            raise ConfigurationError(f"priority={self.priority!r}: must be a number")
        if not isinstance(self.isolate, bool):
            raise ConfigurationError(f"isolate={self.isolate!r}: must be True or False")
        if self.batch is not None:
            check_batch(self.batch)
        _check_resources(self.resources)

    @cached_property
    def placement(self) -> str:
        """What calls must have in common to share a Dask task: where and how soon it runs."""
        return repr(
            (sorted(self.resources.items()), self.priority, sorted(self.annotations.items()))
        )

    def annotated(self, annotations: Mapping[str, Any]) -> Options:
        """Return these options overridden by what ``dask.annotate`` says around a call."""
        own = {k: v for k, v in annotations.items() if k in ("retries", "priority", "resources")}
        others = {k: v for k, v in annotations.items() if k not in own}
        return replace(self, **own, annotations={**self.annotations, **others})


def check_walltime(value: object, name: str) -> None:
    """Raise ConfigurationError unless `value` is a time limit in seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigurationError(f"{name}={value!r}: must be a number of seconds > 0")


def check_batch(value: object) -> None:
    """Raise ConfigurationError unless `value` is True, False, or a number of calls."""
    if not isinstance(value, int) or (not isinstance(value, bool) and value < 1):
        raise ConfigurationError(f"batch={value!r}: must be True, False or an int >= 1")


def _labels(executors: object) -> str | tuple[str, ...]:
    if executors == "all":
        return "all"
    if isinstance(executors, list | tuple | set | frozenset) and executors:
        labels = tuple(executors)
        if all(isinstance(label, str) for label in labels):
            return labels
    raise ConfigurationError(f"executors={executors!r}: must be 'all' or a list of labels")


def _check_resources(resources: object) -> None:
    if not isinstance(resources, Mapping):
        raise ConfigurationError(f"resources={resources!r}: must be a dict such as {{'GPU': 1}}")
    for name, amount in resources.items():
        good = isinstance(amount, int | float) and not isinstance(amount, bool) and amount > 0
        if not isinstance(name, str) or not good:
            raise ConfigurationError(
                f"resources={resources!r}: must map names to numbers > 0, not {name!r}: {amount!r}"
            )


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class AppSpec:
    """An app as the graph sees it. `kind` is ``"python"``, ``"bash"`` or ``"join"``.

    `runner` wraps the function's call on the worker (join apps); `derived` marks the small apps
    behind ``future[key]`` and the like, which run on demand only.
    """

    name: str
    kind: str
    func: Callable[..., Any]
    options: Options
    runner: Callable[[Callable[[], object]], object] | None = None
    derived: bool = False


class BatchHandle(Protocol):
    """What the graph must know of the Dask task that runs a call."""

    @property
    def key(self) -> str: ...


class Call:
    """One use of an app. Its fields change only under the lock of its owner.

    `args` and `kwargs` are what `arguments.capture` made of the user's; `parents` are the calls
    whose values they need. `value` is, once final, the value in travelling form or the exception.
    `batch` and `member` say which entry of which Dask task it is while one runs it or keeps its
    value; `label` is the executor that it was given to. `owner` is the kernel (or the pool of calls
    without one) that answers for it. While the call is JOINING, `value` is the call whose value its
    own will be, if its body returned one.
    """

    __slots__ = (
        "__weakref__",
        "app",
        "args",
        "attempts",
        "batch",
        "extras",
        "future",
        "kwargs",
        "label",
        "member",
        "number",
        "options",
        "owner",
        "parents",
        "state",
        "value",
    )

    def __init__(  # a record, made in one place
        self,
        number: int,
        app: AppSpec,
        args: Any,
        kwargs: dict[str, Any] | None,
        parents: tuple[Call, ...],
        options: Options,
    ):
        self.number = number
        self.app = app
        self.args = args
        self.kwargs = kwargs
        self.parents = parents
        self.options = options
        self.extras: Any = None
        self.state = State.RECORDED
        self.value: Any = None
        self.future: Any = None
        self.owner: Any = None
        self.batch: Any = None
        self.member = 0
        self.label: str | None = None
        self.attempts = 0

    @property
    def is_final(self) -> bool:
        """Whether the call has ended, in whatever way."""
        return self.state >= FINAL

    @property
    def source(self) -> Call:
        """The call in whose outcome the value is found: this one, or what its join body returned."""
        call = self
        while call.state is State.JOINING and call.value is not None:
            call = call.value
        return call

    def forget_arguments(self) -> None:
        """Let go of what only running it needed."""
        self.args = ()
        self.kwargs = None
        self.parents = ()

    def __repr__(self) -> str:
        return f"<Call {self.number} of {self.app.name}: {STATUS_NAMES[self.state]}>"


class CallReference:
    """Marks a future that stands for a call among arguments.

    `means_value` is False where it stands for something else that is there once the call is done.
    """

    __slots__ = ()
    call: Call
    means_value = True

    def substitute(self) -> object:
        """Return what the argument is, if it is not the call's value."""
        raise NotImplementedError
