"""Names of calls and batches, made so that Dask groups them by app.

``square-9f2c41d07be34a11000000000000002a``: app, run (16 hex digits), number of the call in the run
(16). Dask's ``key_split`` strips the last word, since it holds digits, and keeps ``square`` for its
pictures and statistics.
"""

from __future__ import annotations

import re
from functools import lru_cache

_NOT_IN_NAMES = re.compile(r"[^0-9A-Za-z_.]+")


@lru_cache(maxsize=1000)
def clean_name(name: str) -> str:
    """Return `name` without characters that have a meaning in keys (``<lambda>``: ``lambda``)."""
    return _NOT_IN_NAMES.sub("_", name).strip("_") or "app"


def call_key(app_name: str, run: str, number: int) -> str:
    """Name the call `number` of the run."""
    return f"{clean_name(app_name)}-{run}{number:016x}"


def batch_key(app_name: str, run: str, number: int) -> str:
    """Name the Dask task `number` of the run, which runs one or more calls."""
    return f"{clean_name(app_name)}-{run}b{number:015x}"


def literal_key(run: str, number: int) -> str:
    """Name a large argument that is shipped once."""
    return f"literal-{run}d{number:015x}"
