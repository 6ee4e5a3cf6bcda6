"""What calls of each app cost, learned from every batch that comes home."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_HALF_LIFE_CALLS = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """The mean of one call: seconds it runs, bytes of its result."""

    seconds: float
    bytes: float


class Costs:
    """Moving averages by app name."""

    def __init__(self) -> None:
        self._known: dict[str, Cost] = {}

    def estimate(self, app_name: str) -> Cost | None:
        """Return the cost of a call of the app; None if none has run yet."""
        return self._known.get(app_name)

    def apps_of_results(self, least_bytes: int) -> set[str]:
        """Name the apps whose results have `least_bytes` or more."""
        return {name for name, cost in self._known.items() if cost.bytes >= least_bytes}

    def observe(self, spent: Mapping[str, tuple[int, float, int]]) -> None:
        """Learn from a batch: of each app, how many calls ran, their seconds and result bytes."""
        for name, (calls, seconds, size) in spent.items():
            new = Cost(seconds / calls, size / calls)
            # One call that happens to take long says little about a thousand others, and the first on a
            # worker often imports what all of them need.
            old = self._known.get(name, Cost(0.0, new.bytes))
            weight = 1.0 - 0.5 ** (calls / _HALF_LIFE_CALLS)
            self._known[name] = Cost(
                old.seconds + weight * (new.seconds - old.seconds),
                old.bytes + weight * (new.bytes - old.bytes),
            )
