"""What jobqueue_sites says it has, it has."""

from __future__ import annotations

import pytest

import jobqueue_sites


@pytest.mark.parametrize("name", jobqueue_sites.__all__)
def test_a_public_name_can_be_had(name: str) -> None:
    assert getattr(jobqueue_sites, name).__module__.startswith("jobqueue_sites")


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SlurmBlock'"):
        _ = jobqueue_sites.SlurmBlock
