"""What a failed attempt means: one more try, after how long, or the end. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from daskflow.graph.call import Options
from daskflow.retries import Retry, as_retry


@dataclass(frozen=True, slots=True)
class Again:
    """Try again after `pause_s`; the failures so far have cost `cost`."""

    pause_s: float
    cost: float


@dataclass(frozen=True, slots=True)
class Final:
    """Do not try again; `error` is the call's exception."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class RetryRules:
    """The retry settings of a Config."""

    default: Retry | None
    handler: Callable[[BaseException, Any], float] | None

    def policy(self, options: Options) -> Retry | None:
        """Return the policy of calls with `options`.

        With a handler, there is always one: a failure that costs nothing is tried again.
        """
        policy = self.default if options.retries is None else as_retry(options.retries)
        return _ONCE if policy is None and self.handler is not None else policy

    def decided_at_home(self, options: Options) -> bool:
        """Whether the kernel decides about further tries.

        A handler must be asked there, a pause kept there, so that no worker waits, and a filter of
        the user's own may not be there for a worker to import.
        """
        policy = self.policy(options)
        if policy is None:
            return False
        return self.handler is not None or policy.backoff_s > 0 or not policy.is_plain

    def decide(  # all that a decision depends on
        self,
        options: Options,
        error: BaseException,
        attempts: int,
        cost: float,
        call: Any,
        rng: Random,
    ) -> Again | Final:
        """Decide about a call that has failed `attempts` times, at a `cost` before this failure."""
        policy = self.policy(options)
        if policy is None:
            return Final(error)
        try:
            if not policy.applies_to(error):
                return Final(error)
            cost += 1.0 if self.handler is None else float(self.handler(error, call))
        except Exception as own:  # noqa: BLE001 # an error of the user's filter or handler is the call's
            own.__context__ = error
            return Final(own)
        if cost > policy.attempts - 1:
            return Final(error)
        return Again(policy.pause_s(attempts, rng), cost)


_ONCE = Retry(attempts=1)
