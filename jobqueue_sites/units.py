"""Times and sizes, converted at the edge: inside there are seconds and bytes."""

from __future__ import annotations

import math
import re

from jobqueue_sites.errors import SettingsError

_WALLTIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d\d)")

MIB = 2**20
GIB = 2**30


def walltime_s(text: str, name: str = "walltime") -> int:
    """Return the seconds of ``"HH:MM:SS"``, ``"D-HH:MM:SS"`` or ``"MM:SS"``.

    Raises
    ------
    SettingsError
        It is no such text, or no time at all.
    """
    match = _WALLTIME.fullmatch(str(text))
    if match is None:
        raise SettingsError(
            f"{name}={text!r}: must be 'HH:MM:SS', such as '01:30:00', 'D-HH:MM:SS' or 'MM:SS'"
        )
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total_s == 0:
        raise SettingsError(f"{name}={text!r}: must be longer than 0 s")
    return total_s


def walltime_text(seconds: int) -> str:
    """Return ``HH:MM:SS``, hours unbounded: what all batch systems but LSF take."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"


def walltime_minutes_text(seconds: int) -> str:
    """Return ``HH:MM``, rounded up, as LSF takes it."""
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours:02d}:{minutes:02d}"


def memory_bytes(gib: float) -> int:
    """Return the bytes of a setting that is given in GB.

    A GB is 2**30 bytes here, as it is for Slurm (``--mem=4G``) and PBS (``mem=4gb``).
    """
    return math.ceil(gib * GIB)


def memory_mib(gib: float) -> int:
    """Return the MiB, rounded up, of a setting that is given in GB."""
    return math.ceil(memory_bytes(gib) / MIB)


def memory_text(gib: float, *, gigabytes: str, megabytes: str) -> str:
    """Return whole GB if it is some, else MB, with the letters of the batch system behind."""
    mib = memory_mib(gib)
    return f"{mib // 1024}{gigabytes}" if mib % 1024 == 0 else f"{mib}{megabytes}"
