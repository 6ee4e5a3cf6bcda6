"""What measurements say, as rows of text and as JSON: values in, values out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daskflow.perf.measure import STARTUP, STARTUP_TITLE, CpuTime, Measurement, Surroundings
from daskflow.perf.workloads import Run

COLUMNS = ("workload", "calls", "seconds", "calls/s", "client", "scheduler", "workers", "remark")
"""Client, scheduler and workers: µs of CPU for each call."""


def row(measurement: Measurement) -> tuple[str, ...]:
    """Return the texts of a measurement's row, in the order of `COLUMNS`."""
    name, run = measurement.workload.name, measurement.run
    if run is None or measurement.cpu is None:
        return (name, *[""] * (len(COLUMNS) - 2), measurement.why_not)
    cpu = measurement.cpu.divided(run.calls)
    shares = [_micros(seconds) for seconds in (cpu.client, cpu.scheduler, cpu.workers)]
    rate = run.calls / run.seconds
    return (name, f"{run.calls:,}", f"{run.seconds:.2f}", _rate(rate), *shares, remark(run))


def startup_row(seconds: float) -> tuple[str, ...]:
    """Return the texts of the row that tells how long a fresh process takes."""
    return (STARTUP, "1", f"{seconds:.2f}", *[""] * (len(COLUMNS) - 4), "from python to result")


def remark(run: Run) -> str:
    """Return what a run says beyond its rate."""
    parts = []
    if run.efficiency is not None:
        parts.append(f"{run.efficiency:.0%} of ideal")
    if run.round_trip_s is not None:
        parts.append(f"median {1000 * run.round_trip_s:.1f} ms")
    if run.left_bytes is not None and run.held_bytes is not None:
        parts.append(f"{run.held_bytes / run.calls / 1000:.1f} kB held for a call")
        parts.append(f"{run.left_bytes / 1e6:.0f} MB left")
    elif run.held_bytes is not None:
        parts.append(f"client grew {run.held_bytes / 1e6:.0f} MB")
    return ", ".join(parts)


def header(where: Surroundings) -> str:
    """Return two lines that say where it was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in where.versions)
    workers = "1 worker" if where.workers == 1 else f"{where.workers} workers"
    return (
        f"Python {where.python}, {versions}\n"
        f"{workers}, {where.slots} calls at once; {where.cores} cores here"
    )


def as_json(
    measurements: Sequence[Measurement], startup_s: float | None, where: Surroundings
) -> dict[str, Any]:
    """Return everything as what `json` can write."""
    found = [_measurement_as_json(measurement) for measurement in measurements]
    if startup_s is not None:
        found.append({"name": STARTUP, "title": STARTUP_TITLE, "calls": 1, "seconds": startup_s})
    return {
        "python": where.python,
        "versions": dict(where.versions),
        "cores": where.cores,
        "workers": where.workers,
        "slots": where.slots,
        "workloads": found,
    }


def _measurement_as_json(measurement: Measurement) -> dict[str, Any]:
    workload, run, cpu = measurement.workload, measurement.run, measurement.cpu
    told: dict[str, Any] = {"name": workload.name, "title": workload.title}
    if run is None or cpu is None:
        return {**told, "why_not": measurement.why_not}
    return {**told, **run.as_json(), "cpu_us_per_call": cpu_as_json(cpu.divided(run.calls))}


def cpu_as_json(cpu: CpuTime) -> dict[str, float | None]:
    """Return the µs of each kind of process."""
    parts = {"client": cpu.client, "scheduler": cpu.scheduler, "workers": cpu.workers}
    return {name: None if s is None else round(1e6 * s, 3) for name, s in parts.items()}


def _micros(seconds: float | None) -> str:
    if seconds is None:
        return "in client"
    micros = 1e6 * seconds
    return f"{micros:,.0f}" if micros >= 10 else f"{micros:.1f}"


def _rate(calls_per_s: float) -> str:
    return f"{calls_per_s:,.0f}" if calls_per_s >= 10 else f"{calls_per_s:.2f}"
