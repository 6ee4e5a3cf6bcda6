"""Who goes first: calls of higher priority pass those that wait, wherever they wait."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import daskflow
from daskflow import Config, python_app
from tests.integration.jobqueue_sites.machine import until

Configs = Callable[..., Config]


class Order:
    """In which order calls ran: one worker appends to a file."""

    def __init__(self, folder: Path):
        self.path = str(folder / "order")

    def note(self, name: str) -> None:
        with Path(self.path).open("a") as file:
            file.write(f"{name}\n")

    def __call__(self) -> list[str]:
        return Path(self.path).read_text().split()


@pytest.mark.parametrize("max_in_flight", [2, 5000], ids=["in this process", "on the scheduler"])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_urgent_call_passes_all_that_have_not_been_given_to_a_worker(
    config: Configs, tmp_path: Path, max_in_flight: int, batch: int
) -> None:
    order = Order(tmp_path)
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)

    @python_app(batch=batch)
    def cheap(x: int) -> int:
        order.note("cheap")
        return x

    @python_app(batch=False)
    def first() -> None:
        Path(gate).read_text()  # the test has recorded the others

    def knows_urgent(dask_scheduler: Any) -> bool:
        return any(key.startswith("lambda-") for key in dask_scheduler.tasks)

    urgent = python_app(lambda: order.note("urgent"), priority=1, batch=batch)
    with daskflow.load(config(max_in_flight=max_in_flight)) as kernel:
        first()
        daskflow.submit()
        with Path(gate).open("w"):
            futures = cheap.map(range(300))
            daskflow.submit()
            last = urgent()
            daskflow.submit()
            if max_in_flight > 300:
                until(lambda: kernel.client.run_on_scheduler(knows_urgent))
        last.result()
        ran_before = order().index("urgent")
        daskflow.gather(futures)
    assert ran_before <= 2 * batch, "what lies at the worker, and perhaps what is on its way there"
    assert len(order()) == 301
