"""Checks of settings, each naming the setting, the value it had and what is allowed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from itertools import pairwise
from math import inf

from jobqueue_sites.errors import SettingsError

_DIRECTIVE = re.compile(r"#(SBATCH|PBS|BSUB|OAR|\$)")


def whole(name: str, value: object, *, least: int, optional: bool = False) -> None:
    """Refuse what is no whole number of at least `least`."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingsError(f"{name}={value!r}: must be a whole number, at least {least}")


def positive(name: str, value: object, *, optional: bool = False) -> None:
    """Refuse what is no number above 0."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
        raise SettingsError(f"{name}={value!r}: must be a number above 0")


def share(name: str, value: object) -> None:
    """Refuse what is no number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise SettingsError(f"{name}={value!r}: must be a number from 0 to 1")


def truth(name: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise SettingsError(f"{name}={value!r}: must be True or False")


def word(name: str, value: object) -> None:
    """Refuse what cannot be the value of one option: it is no text, or empty, or has line ends."""
    if value is None:
        return
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise SettingsError(f"{name}={value!r}: must be a text of one line, or None")


def lines(name: str, value: object) -> None:
    """Refuse what is no text; it may have several lines."""
    if not isinstance(value, str) or "\0" in value:
        raise SettingsError(f"{name}={value!r}: must be a text, of one line or several")


def directives(value: object, prefix: str, *, taken: Collection[tuple[str, str]] = ()) -> list[str]:
    """Return the lines of `scheduler_options`, each with the prefix of the batch system.

    Parameters
    ----------
    prefix
        Such as ``"#SBATCH"``. Lines may have it already.
    taken
        Options that a setting has been made for, and the setting: ``("--nodes", "nodes_per_block")``.
    """
    lines("scheduler_options", value)
    result = []
    for line in map(str.strip, str(value).splitlines()):
        if not line:
            continue
        found = _DIRECTIVE.match(line)
        if found and found[0] != prefix:
            raise SettingsError(
                f"scheduler_options has the line {line!r}: this batch system reads {prefix} …"
            )
        if line.startswith("#") and not found:  # a comment
            result.append(line)
            continue
        options = line[len(prefix) :].strip() if found else line
        if not options.startswith("-"):
            raise SettingsError(
                f"scheduler_options has the line {line!r}: must be options, such as "
                f"'{prefix} -m n' or '-m n'; shell commands belong in worker_init"
            )
        for option, setting in taken:
            if has_option(options, option):
                raise SettingsError(
                    f"scheduler_options has the line {line!r}: {option} is set by {setting}"
                )
        result.append(f"{prefix} {options}")
    return result


def has_option(options: str, option: str) -> bool:
    """Whether one of the words is the option, as ``--nodes``, ``--nodes=2``, ``-N`` or ``-N2``.

    An option of two words, ``-l select``, is found as ``-l select=…``.
    """
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise SettingsError(f"scheduler_options has the line {options!r}: {error}") from error
    first, _, second = option.partition(" ")
    if second:
        return any(
            left == first and re.match(rf"(.*,)?{re.escape(second)}\b", right)
            for left, right in pairwise(words)
        )
    if option.startswith("--"):
        return any(each == option or each.startswith(f"{option}=") for each in words)
    return any(re.match(rf"{re.escape(option)}(\d|$)", each) for each in words)
