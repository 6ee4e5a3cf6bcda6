"""`daskflow perf` at the terminal: loads a kernel, runs the workloads, shows what came of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from daskflow import Config, load
from daskflow.perf import report
from daskflow.perf.measure import (
    STARTUP,
    KernelEngine,
    Measurement,
    measured,
    ready_slots,
    seconds_to_first_result,
    surroundings,
)
from daskflow.perf.workloads import WORKLOADS

NAMES = (*(workload.name for workload in WORKLOADS), STARTUP)


def run_perf(
    config: Path | None, names: Sequence[str], factor: float, console: Console, *, as_json: bool
) -> None:
    """Run the workloads `names` (all, if there are none) and print what came of them.

    Raises
    ------
    DaskflowError
        The kernel could not be loaded, or a result was wrong.
    """
    chosen = [w for w in WORKLOADS if not names or w.name in names]
    measurements: list[Measurement] = []
    notes = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="daskflow-perf-") as folder:
        settings = Config.from_toml(config) if config else Config(run_dir=folder)
        with notes.status("starting workers") as status, load(settings) as kernel:
            slots = ready_slots(kernel)
            where = surroundings(kernel, slots)
            engine = KernelEngine(slots)
            for workload in chosen:
                status.update(f"{workload.name}: {workload.title}")
                measurements.append(measured(workload, factor, engine, kernel.client))
        startup_s = None
        if not names or STARTUP in names:
            with notes.status("starting a fresh process"):
                startup_s = seconds_to_first_result(str(config) if config else None)
    if as_json:
        found = report.as_json(measurements, startup_s, where)
        console.file.write(f"{json.dumps(found, indent=2)}\n")
        return
    rows = [report.row(measurement) for measurement in measurements]
    if startup_s is not None:
        rows.append(report.startup_row(startup_s))
    console.print(report.header(where))
    console.print(_table(rows))
    remarks = Table.grid(padding=(0, 2))
    for name, *_texts, remark in rows:
        if remark:
            remarks.add_row(name, remark)
    console.print(remarks)
    console.print("\nClient, scheduler and workers: µs of CPU for each call.")
    console.print("All results are right.")


def _table(rows: Sequence[tuple[str, ...]]) -> Table:
    """Return the table of all but the remarks, which would make it too wide for a terminal."""
    table = Table(*report.COLUMNS[:-1], box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row[:-1])
    return table
