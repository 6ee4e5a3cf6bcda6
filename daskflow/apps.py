"""Apps: plain functions and shell commands marked to be called lazily.

>>> @python_app
... def double(x):
...     return 2 * x
>>> double(double(1)).result()  # doctest: +SKIP
4
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, Generic, ParamSpec, TypeVar, overload

from dask import get_annotations

from daskflow.errors import BadStdStreamFile, ConfigurationError, SerializationError
from daskflow.files import File
from daskflow.futures.appfuture import AppFuture
from daskflow.futures.recording import process, recorder
from daskflow.futures.settling import settle
from daskflow.graph.arguments import capture
from daskflow.graph.call import AppSpec, Call, Options, State, check_walltime
from daskflow.graph.functions import by_value, reference
from daskflow.kernel import current  # noqa: F401 # lets a first demand load the default kernel
from daskflow.kernel.joins import run_body
from daskflow.worker import streams
from daskflow.worker.attempt import AUTO_FOLDER, Extras

P = ParamSpec("P")
R = TypeVar("R")


class _AutoLogname:
    """The type of `AUTO_LOGNAME`."""

    def __repr__(self) -> str:
        return "AUTO_LOGNAME"

    def __reduce__(self) -> str:
        return "AUTO_LOGNAME"


AUTO_LOGNAME = _AutoLogname()
"""Give it as ``stdout=`` or ``stderr=``: a file of its own in the kernel's run folder."""

_MOST_ANNOTATIONS = 100
_SPECIAL = ("inputs", "outputs", "stdout", "stderr", "walltime", "label")
_ALLOWED = tuple(f.name for f in fields(Options) if f.name != "annotations")


class App(Generic[P, R]):
    """A function that is called lazily: a call is recorded and gives an `AppFuture`.

    Attributes
    ----------
    func
        The plain function.
    kind
        ``"python"``, ``"bash"`` or ``"join"``.
    """

    def __init__(self, func: Callable[P, R], kind: str, given: Mapping[str, Any]):
        functools.update_wrapper(self, func)
        _refuse_unfit(func, kind)
        self.func = func
        self.kind = kind
        self._given = dict(given)
        for name in given:
            if name not in _ALLOWED:
                raise TypeError(
                    f"{kind}_app got an unknown option {name!r}; allowed are {', '.join(_ALLOWED)}"
                )
        name = getattr(func, "__name__", type(func).__name__)
        self._spec = AppSpec(
            name=name,
            kind=kind,
            func=func,
            options=Options(**given),
            runner=run_body if kind == "join" else None,
        )
        self._annotated: dict[str, Options] = {}
        self._takes, self._takes_any = _parameters(func)
        self._defaults = _special_defaults(func)

    @property
    def name(self) -> str:
        """The app's name in keys, logs and errors."""
        return self._spec.name

    def options(self, **changes: Any) -> App[P, R]:
        """Return a copy of this app with other options."""
        return App(self.func, self.kind, {**self._given, **changes})

    def __call__(self, *args: Any, **kwargs: Any) -> AppFuture:
        """Record a call and return its future.

        Any argument may be a future instead of a value, so the function's own types do not apply.
        """
        spec = self._spec
        options = spec.options
        annotations = get_annotations()
        if annotations:
            options = self._annotated_options(annotations)
        extras = None
        if self._defaults:
            missing = {k: v for k, (v, at) in self._defaults.items() if at >= len(args)}
            kwargs = {**missing, **kwargs}
        also: Any = ()
        if kwargs and not _SPECIAL_SET.isdisjoint(kwargs):
            also = kwargs.get("inputs", ())
            kwargs, extras = self._take_special(kwargs)
            if "inputs" in kwargs:
                also = ()
        try:
            captured, named, parents = capture(args, kwargs, process.literals, also)
        except SerializationError as error:
            return self._failed_call(options, error)
        call = Call(next(process.numbers), spec, captured, named, parents, options)
        if extras is not None:
            call.extras = extras
        future = AppFuture(call)
        recorder().record(call)
        return future

    def _annotated_options(self, annotations: dict[str, Any]) -> Options:
        """Return the options under ``dask.annotate``: the same object for the same annotations."""
        key = repr(sorted(annotations.items()))
        options = self._annotated.get(key)
        if options is None:
            options = self._spec.options.annotated(annotations)
            if len(self._annotated) >= _MOST_ANNOTATIONS:
                self._annotated.clear()
            self._annotated[key] = options
        return options

    def map(self, *iterables: Iterable[Any], **common: Any) -> list[AppFuture]:
        """Record one call for each tuple of items of `iterables`; stop with the shortest.

        `common` are keyword arguments that all calls share.
        """
        if not iterables:
            raise TypeError("App.map needs at least one iterable")
        return [self(*args, **common) for args in zip(*iterables, strict=False)]

    def _failed_call(self, options: Options, error: SerializationError) -> AppFuture:
        call = Call(next(process.numbers), self._spec, (), None, (), options)
        call.owner = recorder()
        future = AppFuture(call)
        settle([(call, State.FAILED, error)])
        return future

    def _take_special(self, kwargs: dict[str, Any]) -> tuple[dict[str, Any], Extras | None]:
        """Return the function's own keywords and what the special ones mean."""
        found = {name: kwargs[name] for name in _SPECIAL if name in kwargs}
        own = dict(kwargs)
        extras: dict[str, Any] = {}
        label = found.get("label")
        for name, value in found.items():
            meaning = self._meaning(name, value, label)
            if not self._takes_any and name not in self._takes:
                del own[name]
            elif meaning is not None and name in ("stdout", "stderr"):
                own[name] = meaning[name]
            if meaning is not None:
                extras.update(meaning)
        return own, Extras(**extras) if extras else None

    def _meaning(self, name: str, value: Any, label: object) -> dict[str, Any] | None:
        """Return what a special keyword means to us; None if it is the function's own business.

        A parameter of the function that has such a name but another meaning stays the function's.
        """
        try:
            return self._special_meaning(name, value, label)
        except (ConfigurationError, BadStdStreamFile, TypeError):
            if name in self._takes:
                return None
            raise

    def _special_meaning(self, name: str, value: Any, label: object) -> dict[str, Any] | None:
        if value is None:
            return None
        match name:
            case "walltime":
                check_walltime(value, "walltime")
                return {"walltime_s": float(value)}
            case "stdout" | "stderr":
                if value is AUTO_LOGNAME:
                    suffix = f"_{label}" if isinstance(label, str) and label else ""
                    return {name: os.path.join(AUTO_FOLDER, f"<key>{suffix}.{name}")}  # noqa: PTH118 # just a name
                streams.check_stream(value, name)
                return {name: value}
            case "outputs":
                if not isinstance(value, list | tuple) or not all(
                    isinstance(f, File) for f in value
                ):
                    raise TypeError(f"outputs={value!r}: must be a list of File")
                return {"outputs": tuple(f.cleancopy() for f in value)}
            case "inputs":
                if not isinstance(value, list | tuple):
                    raise TypeError(f"inputs={value!r}: must be a list")
                return None
            case _:
                if not isinstance(value, str):
                    raise TypeError(f"label={value!r}: must be a str")
                return None

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance, as a function does: ``instance.app(x)`` passes the instance first."""
        if instance is None:
            return self
        return functools.partial(self, instance)

    def __reduce__(self) -> str | tuple[Any, ...]:
        where = reference(self.func)
        if where is not None and not by_value.get():
            return _find_app, where[:2]
        return App, (self.func, self.kind, self._given)

    def __repr__(self) -> str:
        return f"<{self.kind}_app {self.__qualname__}>"

    __qualname__: str


_SPECIAL_SET = frozenset(_SPECIAL)


def _find_app(module: str, qualname: str) -> Any:
    target = __import__(module, fromlist=["*"])
    for part in qualname.split("."):
        target = getattr(target, part)
    return target


def _parameters(func: Callable[..., Any]) -> tuple[frozenset[str], bool]:
    """Return the names that `func` takes as keywords, and whether it takes any."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return frozenset(), True
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = frozenset(p.name for p in parameters if p.kind in named)
    return names, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)


_DEFAULTS = (str, os.PathLike, tuple, list, int, float, _AutoLogname)


def _special_defaults(func: Callable[..., Any]) -> dict[str, tuple[Any, int]]:
    """Return the special keywords that the signature gives a value, and their positions."""
    try:
        parameters = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {
        p.name: (p.default, at)
        for at, p in enumerate(parameters)
        if p.name in _SPECIAL_SET and isinstance(p.default, _DEFAULTS) and p.default
    }


def _refuse_unfit(func: Any, kind: str) -> None:
    what = getattr(func, "__qualname__", repr(func))
    if isinstance(func, App):
        raise TypeError(f"{kind}_app: {what} is an app already")
    if isinstance(func, type):
        raise TypeError(
            f"{kind}_app: {what} is a class; mark a function that makes an instance of it"
        )
    if isinstance(func, staticmethod | classmethod):
        raise TypeError(f"{kind}_app: put @{type(func).__name__} outside, above @{kind}_app")
    if not callable(func):
        raise TypeError(f"{kind}_app: {func!r} is no function")
    if inspect.iscoroutinefunction(func) or inspect.isasyncgenfunction(func):
        raise TypeError(
            f"{kind}_app: {what} is 'async def'; a call runs in a thread of its own, so write a "
            "plain function (asyncio.run inside it runs a coroutine)"
        )
    if inspect.isgeneratorfunction(func):
        raise TypeError(
            f"{kind}_app: {what} is a generator function, whose value cannot travel; "
            "return a list instead"
        )


@overload
def python_app(function: Callable[P, R], /) -> App[P, R]: ...
@overload
def python_app(
    function: None = None, /, **options: Any
) -> Callable[[Callable[P, R]], App[P, R]]: ...
def python_app(function: Any = None, /, **options: Any) -> Any:
    """Mark a function whose calls run in Python; with or without parentheses.

    Parameters
    ----------
    executors, retries, walltime_s, resources, priority, isolate
        See `daskflow.Options`.
    """
    return _decorated("python", function, options)


@overload
def bash_app(function: Callable[P, R], /) -> App[P, R]: ...
@overload
def bash_app(function: None = None, /, **options: Any) -> Callable[[Callable[P, R]], App[P, R]]: ...
def bash_app(function: Any = None, /, **options: Any) -> Any:
    """Mark a function that returns a shell command; its calls run the command under bash.

    The command is a string or a list of arguments; the value of the call is 0. Options as for
    `python_app`.

    Raises (in the future)
    ----------------------
    BashExitFailure
        The command ended with another exit code.
    MissingOutputs
        It ended without a file of ``outputs``.
    """
    return _decorated("bash", function, options)


@overload
def join_app(function: Callable[P, R], /) -> App[P, R]: ...
@overload
def join_app(function: None = None, /, **options: Any) -> Callable[[Callable[P, R]], App[P, R]]: ...
def join_app(function: Any = None, /, **options: Any) -> Any:
    """Mark a function that calls apps and returns their futures; the call has their values.

    It returns a future, or a list, tuple or dict of futures. Its body runs once its own arguments
    are there, so it can decide what to run by their values. Options as for `python_app`.
    """
    return _decorated("join", function, options)


def _decorated(kind: str, function: Any, options: dict[str, Any]) -> Any:
    for name in options:
        if name not in _ALLOWED:
            raise TypeError(
                f"{kind}_app got an unknown option {name!r}; allowed are {', '.join(_ALLOWED)}"
            )
    if function is None:
        Options(**options)
        return lambda func: App(func, kind, options)
    return App(function, kind, options)


__all__ = ["AUTO_LOGNAME", "App", "bash_app", "join_app", "python_app"]
