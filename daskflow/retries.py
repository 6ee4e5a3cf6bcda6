"""Retry: how often, for what and after how long a failed call is tried again.

An app says ``retries=3`` (three more tries) or ``retries=Retry(...)``. `Config.retry_handler`
decides instead where an app says nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from daskflow.errors import ConfigurationError

ExceptionTypes = type[BaseException] | tuple[type[BaseException], ...]


@dataclass(frozen=True)
class Retry:
    """Say when a failed call is tried again.

    Parameters
    ----------
    attempts
        Number of tries in all, the first included (``retries=n`` means ``attempts=n + 1``).
    on, unless
        Exception types, or functions of the exception, that are worth another try, and those
        that are not. `unless` wins.
    backoff_s
        Seconds before the second try; doubled before each further one. 0: at once.
    jitter
        Each pause is lengthened by a random share of itself, 0 to `jitter`.
    max_backoff_s
        No pause is longer than this many seconds (before jitter).

    Examples
    --------
    >>> Retry(attempts=4, on=OSError, backoff_s=1.0).pause_s(3, Random(0))
    4.0
    """

    attempts: int = 3
    on: ExceptionTypes | Callable[[BaseException], bool] = Exception
    unless: ExceptionTypes | Callable[[BaseException], bool] = ()
    backoff_s: float = 0.0
    jitter: float = 0.0
    max_backoff_s: float = 300.0

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise ConfigurationError(f"Retry(attempts={self.attempts!r}): must be an int")
        if self.attempts < 1:
            raise ConfigurationError(f"Retry(attempts={self.attempts!r}): must be at least 1")
        for name in ("backoff_s", "jitter", "max_backoff_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value >= 0:
                raise ConfigurationError(f"Retry({name}={value!r}): must be a number >= 0")
        for name in ("on", "unless"):
            _check_filter(name, getattr(self, name))

    @property
    def is_plain(self) -> bool:
        """Whether it names built-in exception types only, which are the same in every process."""
        filters = [f if isinstance(f, tuple) else (f,) for f in (self.on, self.unless)]
        return all(kind.__module__ == "builtins" for kinds in filters for kind in kinds)

    def applies_to(self, error: BaseException) -> bool:
        """Tell whether `error` is worth another try, attempts aside."""
        return _matches(self.on, error) and not _matches(self.unless, error)

    def pause_s(self, failed_attempts: int, rng: Random) -> float:
        """Seconds to wait after the `failed_attempts`-th failure."""
        if self.backoff_s == 0:
            return 0.0
        pause = min(self.backoff_s * 2.0 ** min(failed_attempts - 1, 100), self.max_backoff_s)
        return pause * (1.0 + self.jitter * rng.random())


def as_retry(value: int | Retry) -> Retry | None:
    """Return the policy that an option ``retries=`` means; None for no second try."""
    if isinstance(value, Retry):
        return value if value.attempts > 1 else None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigurationError(f"retries={value!r}: must be an int >= 0 or a Retry")
    if value < 0:
        raise ConfigurationError(f"retries={value!r}: must be >= 0")
    return Retry(attempts=value + 1) if value else None


def _matches(what: ExceptionTypes | Callable[[BaseException], bool], error: BaseException) -> bool:
    if isinstance(what, type | tuple):
        return isinstance(error, what)
    return bool(what(error))


def _check_filter(name: str, what: object) -> None:
    types = what if isinstance(what, tuple) else (what,)
    if all(isinstance(each, type) and issubclass(each, BaseException) for each in types):
        return
    if callable(what) and not isinstance(what, type):
        return
    raise ConfigurationError(
        f"Retry({name}={what!r}): must be an exception type, a tuple of them, or a function"
    )
