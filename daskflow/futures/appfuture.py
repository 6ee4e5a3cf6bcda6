"""AppFuture: the future of a call.

It is a `dask.delayed.Delayed`, the one class that every part of Dask treats as a vertex with a key, and
a `concurrent.futures.Future`. Nothing runs before somebody demands it: ``result``, ``exception``,
``done``, ``add_done_callback``, ``await``, `concurrent.futures.wait`, or Dask when it materializes it.

Its state lives in its `Call`; what waiting needs is made when somebody waits.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from typing import Any, NoReturn

from dask._expr import Expr
from dask.delayed import Delayed, single_key

from daskflow.errors import DaskflowError
from daskflow.files import File
from daskflow.futures import binding, cluster, derived
from daskflow.futures.datafuture import DataFuture
from daskflow.futures.recording import key_of
from daskflow.futures.settling import guard, run_callbacks
from daskflow.graph.call import STATUS_NAMES, Call, CallReference, State
from daskflow.graph.lower import Home
from daskflow.worker import wire
from daskflow.worker.outcome import Remote, Taken

_CF_STATES = {
    State.DONE: "FINISHED",
    State.FAILED: "FINISHED",
    State.DEP_FAILED: "FINISHED",
    State.CANCELLED: "CANCELLED_AND_NOTIFIED",
}


class _Answer(Expr):
    """Makes `dask.is_dask_collection` answer without building a graph."""

    _parameters: list[str] = []  # noqa: RUF012 # declared so by dask


class AppFuture(CallReference, Delayed, concurrent.futures.Future[Any]):
    """The future of a call: its value, once somebody demands it.

    ``future[key]``, ``future.name`` and operators give new lazy futures of the item, attribute or
    result. As an argument of another app, of `dask.delayed` functions or of collections it stands
    for its value, which does not pass through this process.
    """

    __slots__ = ("_lazy_condition", "_lazy_waiters", "call", "callbacks")

    expr = _Answer()  # type: ignore[no-untyped-call] # dask is typed in part
    __setattr__ = object.__setattr__
    __hash__ = object.__hash__

    def __init__(self, call: Call):
        self.call = call
        self._lazy_condition: threading.Condition | None = None
        self._lazy_waiters: list[Any] | None = None
        self.callbacks: list[Callable[[Any], object]] | None = None
        if call.state < State.DONE:
            call.future = self

    # ---- what it is -------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The key that names this call in Dask, logs and errors."""
        return key_of(self.call)

    @property
    def app_name(self) -> str:
        """The name of the app."""
        return self.call.app.name

    @property
    def executor(self) -> str | None:
        """The label of the executor that the call was given to, None before, or if any may run it."""
        return self.call.label

    @property
    def stdout(self) -> Any:
        """Where the call's stdout goes: as given, with `AUTO_LOGNAME` resolved; None if not set."""
        return self.call.extras.stdout if self.call.extras is not None else None

    @property
    def stderr(self) -> Any:
        """Where the call's stderr goes, as `stdout`."""
        return self.call.extras.stderr if self.call.extras is not None else None

    @property
    def outputs(self) -> list[DataFuture]:
        """One DataFuture for each File of the call's ``outputs``."""
        made: list[DataFuture] | None = self.__dict__.get("_outputs")
        if made is None:
            files: tuple[File, ...] = self.call.extras.outputs if self.call.extras else ()
            made = self.__dict__.setdefault("_outputs", [DataFuture(self, f) for f in files])
        return made

    def task_status(self) -> str:
        """Return the call's state by name: ``recorded``, ``pending``, ``launched``, ``joining``,
        ``exec_done``, ``failed``, ``dep_fail`` or ``cancelled``. This is no demand.
        """
        return STATUS_NAMES[self.call.state]

    def __repr__(self) -> str:
        return f"<AppFuture {self.app_name} {self.key}: {self.task_status()}>"

    # ---- concurrent.futures.Future ----------------------------------------------------------

    def result(self, timeout: float | None = None) -> Any:
        """Return the value of the call; wait for it at most `timeout` seconds.

        Raises
        ------
        TimeoutError
            The call has not ended within `timeout`; it goes on.
        CancelledError
            It was cancelled.
        Exception
            What the app raised, or one of `daskflow.errors`.
        """
        call = self.call
        if call.state < State.DONE:
            self._wait(timeout)
        if call.state is not State.DONE:
            call.owner.was_shown(call.value)
            try:
                raise call.value
            finally:
                self = None  # type: ignore[assignment] # breaks the cycle with the traceback
        value = call.value
        kind = type(value)
        if kind in wire.ATOMS:
            return value
        if kind is Home:
            return value.value
        if kind is Remote:
            value = call.owner.fetch(call)
        if kind is Taken:
            raise RuntimeError(f"{self!r} has {value!r}")
        opened = wire.opened(value)
        call.value = Home(opened)
        return opened

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, None if it succeeded; wait at most `timeout` seconds."""
        call = self.call
        if call.state < State.DONE:
            self._wait(timeout)
        if call.state is State.CANCELLED:
            raise call.value
        if call.state is State.DONE:
            return None
        call.owner.was_shown(call.value)
        error: BaseException = call.value
        return error

    def done(self) -> bool:
        """Return whether the call has ended. Asking is demand: it will run."""
        self._demand()
        return self.call.state >= State.DONE

    def running(self) -> bool:
        """Return whether the call has been handed to a scheduler and has not ended."""
        return self.call.state in (State.SUBMITTED, State.JOINING)

    def cancelled(self) -> bool:
        """Return whether the call was cancelled."""
        return self.call.state is State.CANCELLED

    def cancel(self) -> bool:
        """Cancel the call, wherever it is; return whether it will deliver no result.

        A recorded or queued call never runs. Python code is interrupted (C code when it returns),
        a command is ended with all its children. Calls that depend on it fail with DependencyError.
        """
        return bool(self.call.owner.cancel(self.call))

    def add_done_callback(self, fn: Callable[[AppFuture], object]) -> None:
        """Call ``fn(self)`` once the call has ended; at once if it has."""
        self._demand()
        with guard.lock:
            if self.call.state < State.DONE:
                self.callbacks = [*(self.callbacks or ()), fn]
                return
        run_callbacks(self, (fn,))

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.wrap_future(self).__await__()

    def set_running_or_notify_cancel(self) -> NoReturn:
        self._refuse()

    def set_result(self, result: Any) -> NoReturn:
        self._refuse()

    def set_exception(self, exception: BaseException | None) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise concurrent.futures.InvalidStateError(f"{self!r} is set by its kernel only")

    def _demand(self) -> None:
        if self.call.state < State.DONE:
            self.call.owner.demand(self.call)

    @staticmethod
    def wait_for(call: Call, timeout: float | None = None) -> None:
        """Wait until `call`, which somebody has demanded, has ended."""
        future = call.future
        if future is not None:
            future._wait_demanded(timeout)

    def _wait(self, timeout: float | None) -> None:
        self._demand()
        self._wait_demanded(timeout)

    def _wait_demanded(self, timeout: float | None) -> None:
        if self.call.state >= State.DONE:
            return
        self.call.owner.check_may_wait()
        condition = self._own_condition()
        with condition:
            if not condition.wait_for(lambda: self.call.state >= State.DONE, timeout):
                raise TimeoutError(f"{self!r} has not ended within {timeout} s")

    # ---- what concurrent.futures.wait and as_completed touch --------------------------------

    def _own_condition(self) -> threading.Condition:
        with guard.lock:
            if self._lazy_condition is None:
                self._lazy_condition = threading.Condition()
            return self._lazy_condition

    @property
    def _condition(self) -> threading.Condition:  # type: ignore[override] # lazy
        self._demand()
        return self._own_condition()

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override] # lazy
        if self._lazy_waiters is None:
            self._lazy_waiters = []
        return self._lazy_waiters

    @property
    def _state(self) -> str:  # type: ignore[override] # lazy
        return _CF_STATES.get(self.call.state, "PENDING")

    @property
    def _result(self) -> Any:  # type: ignore[override] # lazy
        return self.result() if self.call.state is State.DONE else None

    @property
    def _exception(self) -> BaseException | None:  # type: ignore[override] # lazy
        return self.call.value if self.call.state in (State.FAILED, State.DEP_FAILED) else None

    # ---- for `settling` ---------------------------------------------------------------------

    def is_waited_for(self) -> bool:
        """Whether somebody holds a condition of this future."""
        return self._lazy_condition is not None

    def end_and_notify(self, end: Callable[[], bool]) -> None:
        """Run `end` under the condition and wake all who wait."""
        assert self._lazy_condition is not None
        with self._lazy_condition:
            with guard.lock:
                if not end():
                    return
            for waiter in self._lazy_waiters or ():
                if self.call.state is State.CANCELLED:
                    waiter.add_cancelled(self)
                elif self.call.state is State.DONE:
                    waiter.add_result(self)
                else:
                    waiter.add_exception(self)
            self._lazy_condition.notify_all()

    def take_callbacks(self) -> list[Callable[[Any], object]]:
        """Return the callbacks, which are to be run now."""
        with guard.lock:
            taken, self.callbacks = self.callbacks, None
        return taken or []

    # ---- dask.delayed.Delayed ---------------------------------------------------------------

    @property
    def _key(self) -> str:
        return self.key

    @property
    def _layer(self) -> str:
        return self.key

    _length = None

    @property
    def dask(self) -> Any:
        """The Dask graph of this call and what it depends on."""
        return binding.graph_of(self.call)

    @property
    def __dask_future__(self) -> bool:
        """Whether Dask may refer to it by its key alone (``client.submit`` asks, from 2026 on)."""
        return cluster.knows(self.call)

    def __dask_graph__(self) -> Any:
        return binding.graph_of(self.call)

    def __dask_layers__(self) -> tuple[str, ...]:
        return (self.key,)

    def __dask_tokenize__(self) -> str:
        return self.key

    __dask_optimize__ = staticmethod(binding.optimize)

    def __dask_postcompute__(self) -> tuple[Any, tuple[()]]:
        return single_key, ()

    def __dask_postpersist__(self) -> tuple[Any, tuple[str]]:
        return binding.rebuild, (self.key,)

    def __reduce__(self) -> tuple[Any, ...]:
        return Delayed, (self.key, self.dask)

    def __copy__(self) -> AppFuture:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> AppFuture:
        return self

    # ---- the value's own items, attributes and operators ------------------------------------

    def __getattr__(self, name: str) -> AppFuture:
        if name.startswith("_"):
            raise AttributeError(f"{name!r}: names that start with '_' are not deferred")
        meant = derived.nearly(name, _PUBLIC)
        if meant is not None:
            raise AttributeError(
                f"an AppFuture has no {name!r}; did you mean {meant!r}? "
                f"For the attribute of the value, write dask.delayed(getattr)(future, {name!r})"
            )
        return derived.attribute(self, name)

    def __getitem__(self, key: Any) -> AppFuture:
        return derived.item(self, key)

    def __call__(self, *args: Any, **kwargs: Any) -> AppFuture:
        return derived.applied(self, args, kwargs)

    def __iter__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be iterated: its length is known only once it has run. "
            "Use .result(), or future[i] for one item"
        )

    def __len__(self) -> int:
        raise TypeError(f"{self!r} has no len() before it has run. Use len(future.result())")

    def __contains__(self, item: object) -> bool:
        raise TypeError(f"'in' needs the value of {self!r}. Use .result()")

    def __bool__(self) -> bool:
        raise TypeError(f"the truth of {self!r} is not known before it has run. Use .result()")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __setitem__(self, key: Any, value: Any) -> NoReturn:
        raise TypeError(f"{self!r} cannot be changed")

    def __get__(self, instance: object, owner: type | None = None) -> AppFuture:
        return self


derived.bind_operators(AppFuture)
_PUBLIC = frozenset(
    name
    for name in dir(AppFuture)
    if not name.startswith("_") and callable(getattr(AppFuture, name))
)

__all__ = ["AppFuture", "CancelledError", "DaskflowError"]
