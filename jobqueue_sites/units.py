"""Times and sizes, converted at the edge: inside there are seconds and bytes."""

from __future__ import annotations

import re

from jobqueue_sites.errors import SettingsError

_WALLTIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d\d)")


def walltime_s(text: str, name: str = "walltime") -> int:
    """Return the seconds of ``"HH:MM:SS"``, ``"D-HH:MM:SS"`` or ``"MM:SS"``.

    Raises
    ------
    SettingsError
        It is no such text, or no time at all.
    """
    match = _WALLTIME.fullmatch(str(text))
    if match is None:
        raise SettingsError(f"{name}={text!r}: must be 'HH:MM:SS', such as '01:30:00'")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total_s == 0:
        raise SettingsError(f"{name}={text!r}: must be longer than 0 s")
    return total_s


def walltime_text(seconds: int) -> str:
    """Return ``HH:MM:SS``, hours unbounded, as Slurm and PBS take it."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}"
