"""Names of calls and batches, made so that Dask groups them by app.

``square-9f2c41d07be34a11000000000000002a``: app, run (16 hex digits), number of the call in the run
(16). Dask's ``key_split`` strips the last word, since it holds digits, and keeps ``square`` for its
pictures and statistics.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b

_INNER = 1 << 63
_NOT_IN_NAMES = re.compile(r"[^0-9A-Za-z_.]+")


@lru_cache(maxsize=1000)
def clean_name(name: str) -> str:
    """Return `name` without characters that have a meaning in keys (``<lambda>``: ``lambda``)."""
    return _NOT_IN_NAMES.sub("_", name).strip("_") or "app"


def call_key(app_name: str, run: str, number: int) -> str:
    """Name the call `number` of the run."""
    return f"{_prefix(app_name, run)}{number:016x}"


@lru_cache(maxsize=1000)
def _prefix(app_name: str, run: str) -> str:
    return f"{clean_name(app_name)}-{run}"


def inner_number(outer: int, attempt: int, place: int) -> int:
    """Return the number of the call that a join body, in this attempt at call `outer`, made as `place`.

    It has 64 bits, of which the highest is set, so that it is none of those that are counted.
    """
    digest = blake2b(f"{outer}.{attempt}.{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") | _INNER


def is_inner(number: int) -> bool:
    """Tell whether a call with this number was made by a join body."""
    return number >= _INNER


def batch_key(app_name: str, run: str, number: int) -> str:
    """Name the Dask task `number` of the run, which runs one or more calls."""
    return f"{clean_name(app_name)}-{run}b{number:015x}"


def literal_key(run: str, number: int) -> str:
    """Name a large argument that is shipped once."""
    return f"literal-{run}d{number:015x}"
