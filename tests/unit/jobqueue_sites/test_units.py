"""Times and sizes, as settings give them and as batch systems take them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.units import (
    memory_bytes,
    memory_mib,
    memory_text,
    walltime_minutes_text,
    walltime_s,
    walltime_text,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:10:00", 600),
        ("01:30:05", 5405),
        ("100:00:00", 360_000),
        ("1-00:00:01", 86_401),
        ("02:30", 150),
    ],
)
def test_a_walltime_is_read_to_the_second(text: str, seconds: int) -> None:
    assert walltime_s(text) == seconds


@pytest.mark.parametrize("text", ["", "600", "1h", "00:00:00", "-01:00:00", "1:2:3", "01:00:00\n"])
def test_what_is_no_walltime_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="walltime="):
        walltime_s(text)


@given(st.integers(1, 10_000_000))
def test_no_second_is_lost(seconds: int) -> None:
    assert walltime_s(walltime_text(seconds)) == seconds


@given(st.integers(1, 10_000_000))
def test_minutes_are_rounded_up(seconds: int) -> None:
    hours, minutes = walltime_minutes_text(seconds).split(":")
    given_s = (int(hours) * 60 + int(minutes)) * 60
    assert seconds <= given_s < seconds + 60
    assert int(minutes) < 60


@given(st.floats(1e-6, 1e6))
def test_memory_is_never_less_than_asked_for(gib: float) -> None:
    assert memory_bytes(gib) >= gib * 2**30
    assert memory_bytes(gib) <= memory_mib(gib) * 2**20 < memory_bytes(gib) + 2**20


def test_memory_is_whole_gigabytes_where_it_can_be() -> None:
    assert memory_text(4, gigabytes="G", megabytes="M") == "4G"
    assert memory_text(2.0, gigabytes="gb", megabytes="mb") == "2gb"
    assert memory_text(0.5, gigabytes="G", megabytes="M") == "512M"
    assert memory_text(1e-9, gigabytes="G", megabytes="M") == "1M"
