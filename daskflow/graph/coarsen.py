"""Granularity: which calls share one Dask task."""

from __future__ import annotations

from collections.abc import Sequence

from daskflow.graph.call import Call


def coarsen(calls: Sequence[Call]) -> list[list[Call]]:
    """Group `calls` (in an order in which parents come first) into batches."""
    return [[call] for call in calls]
