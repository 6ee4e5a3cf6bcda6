from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.jobqueue_sites.machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    if machine.job_ids:
        machine.cancel(*machine.job_ids)
        for job_id in machine.job_ids:
            machine.end(job_id)
