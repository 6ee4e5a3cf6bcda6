"""News: what is small of a Box goes home together with Dask's own news that its task has ended.

::

    run_batch ──► keep ──► (Dask: the task is in memory) ──► taken, sent to the topic of its run

So the kernel need not fetch it, which costs each process more than the task itself. Of a LargeBox, what
is not large goes home so; a task that looked into it might run elsewhere, and have it all moved there.
"""

from __future__ import annotations

from daskflow.worker import wire
from daskflow.worker.outcome import Box, LargeBox, summarized

NEWS_TOPIC = "daskflow-news-"
"""Dask event topic (with the run appended) on which workers tell of small Boxes."""
_MOST_KEPT = 1000

_kept: dict[str, tuple[str, bytes]] = {}


def keep(run: str, key: str, box: Box) -> None:
    """Keep the outcome of the batch `key` of `run` until Dask takes note of its end, if it is small."""
    if isinstance(box, LargeBox):
        box = summarized(box)
    if sum(map(wire.size_bytes, box.entries)) > wire.MESSAGE_BYTES:
        return
    data = wire.dumps((key, box))
    if len(data) <= wire.MESSAGE_BYTES and len(_kept) < _MOST_KEPT:
        _kept[key] = NEWS_TOPIC + run, data


def take(key: str) -> tuple[str, bytes] | None:
    """Return the topic and the message of a batch that has just ended; None if it has none."""
    return _kept.pop(key, None)
