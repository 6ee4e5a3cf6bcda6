"""The standard workloads on daskflow, Parsl, dask.delayed and client.map, alternating in one run.

    python tests/benchmarks/compare.py [--rounds 3] [--only WORKLOAD ...] [--engines ENGINE ...]
                                       [--output docs/explanation/measured]

Each engine has two worker processes of one thread and its defaults otherwise. In each round each engine
runs in a fresh process. Parsl is installed from PyPI into an environment of its own, in the cache folder
of the user (`--environment` says where else). Sizes are such that each workload takes a second or a few
on each engine: rates are compared, not times.

Takes about eight minutes, prints medians and ratios, and writes ``results.json``, ``table.md`` and
``rates.svg``, which docs/explanation/performance.md shows. With `--redraw` it measures nothing, and
writes the tables and the picture anew from ``results.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import page

from daskflow.perf.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]
WORKERS = 2
STARTUP = "startup"
_TIMEOUT_S = 240
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "daskflow-benchmarks"

# How large a workload is on each engine; what an engine lacks, it does not run. daskflow runs all, in
# the sizes that `daskflow perf` has.
SIZES: dict[str, dict[str, int]] = {
    "parsl": {
        "independent": 2000,
        "arrays": 1500,
        "chain": 800,
        "map-reduce": 1500,
        "tree": 1024,
        "ten-parents": 300,
        "milliseconds": 400,
        "uneven": 200,
        "latency": 500,
        "large-array": 1,
        "busy": 1500,
        "keywords": 1000,
        "closure": 1000,
        "failing": 1000,
    },
    "delayed": {
        "independent": 1000,
        "arrays": 1000,
        "chain": 300,
        "map-reduce": 1000,
        "tree": 256,
        "ten-parents": 200,
        "milliseconds": 300,
        "uneven": 200,
        "latency": 100,
        "large-array": 5,
        "busy": 1000,
        "keywords": 1000,
        "closure": 1000,
    },
    "futures": {
        "independent": 1000,
        "arrays": 1000,
        "chain": 500,
        "map-reduce": 1000,
        "tree": 256,
        "ten-parents": 300,
        "milliseconds": 300,
        "uneven": 200,
        "latency": 200,
        "large-array": 5,
        "busy": 1000,
        "keywords": 1000,
        "closure": 1000,
        "failing": 1000,
    },
    "daskflow": {w.name: w.size for w in WORKLOADS},
}
# What takes so long that the first round alone has it.
ONCE = {
    ("parsl", "large-array"),
    ("daskflow", "unseen"),
    ("daskflow", "million"),
    *((peer, "uneven") for peer in ("parsl", "delayed", "futures")),
}
IN_PICTURE = (
    "independent",
    "arrays",
    "chain",
    "map-reduce",
    "tree",
    "ten-parents",
    "keywords",
    "closure",
    "failing",
)


def parsl_environment(folder: Path) -> Path:
    """Return the Python of an environment that has Parsl; make the environment if need be."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        say(f"installing Parsl into {folder}")
        done = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            done = subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", "parsl", "numpy", "psutil"],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise SystemExit(f"Parsl cannot be installed:\n{done.stdout}{done.stderr}")
        (folder / "complete").touch()
    return python


def lines_of(python: Path, engine: str, *wanted: str) -> Iterator[Any]:
    """Run peers.py and yield what it tells, as it tells it; complain if it fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        # Parsl finds its own scripts there.
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", "")]),
    }
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("peers.py")), engine, str(WORKERS), *wanted],
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=environment,
            start_new_session=True,
        )
        watchdog = threading.Timer(_TIMEOUT_S, _end_group, [process])
        watchdog.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
            if process.wait() != 0:
                complaints.seek(0)
                say(f"  {engine} failed:\n{complaints.read()[-2000:]}")
        finally:
            watchdog.cancel()
            _end_group(process)


def _end_group(process: subprocess.Popen[str]) -> None:
    """End a process, if it has not ended, and all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def first_result_s(python: Path, engine: str) -> float | None:
    """Return how long a fresh process takes to its first result."""
    start_s = time.perf_counter()
    for value in lines_of(python, engine, "first"):
        seconds = time.perf_counter() - start_s
        return seconds if value == 1 else None
    return None


def samples_of(
    python: Path, engine: str, number: int, only: Sequence[str], versions: dict[str, str]
) -> Iterator[page.Sample]:
    """Measure one engine in one round."""
    sizes = {
        name: size
        for name, size in SIZES[engine].items()
        if (not only or name in only) and (number == 0 or (engine, name) not in ONCE)
    }
    if not only or STARTUP in only:
        seconds = first_result_s(python, engine)
        if seconds is not None:
            yield sample(engine, number, {"workload": STARTUP, "calls": 1, "seconds": seconds})
    if not sizes:
        return
    for told in lines_of(python, engine, *(f"{name}={size}" for name, size in sizes.items())):
        if "versions" in told:
            versions.update(told["versions"])
        else:
            yield sample(engine, number, told)


def sample(engine: str, number: int, told: dict[str, Any]) -> page.Sample:
    """Return what peers.py has told of a run."""
    cpu = told.get("cpu_us_per_call", {})
    figures = {k: v for k, v in told.items() if k not in ("workload", "cpu_us_per_call")}
    return page.Sample(
        engine=engine,
        workload=told["workload"],
        round=number,
        figures=tuple(figures.items()),
        cpu_us=tuple(cpu.items()),
    )


def say(text: str) -> None:
    print(text, flush=True)


def written(samples: Sequence[page.Sample], facts: dict[str, Any]) -> str:
    """Return what ``results.json`` holds."""
    found = [
        {
            "engine": s.engine,
            "workload": s.workload,
            "round": s.round,
            **dict(s.figures),
            **({"cpu_us_per_call": dict(s.cpu_us)} if s.cpu_us else {}),
        }
        for s in samples
    ]
    return json.dumps({**facts, "samples": found}, indent=1) + "\n"


def read(text: str) -> tuple[list[page.Sample], dict[str, Any]]:
    """Return what was `written`."""
    facts = json.loads(text)
    found = facts.pop("samples")
    return [
        sample(
            each["engine"],
            each["round"],
            {k: v for k, v in each.items() if k not in ("engine", "round")},
        )
        for each in found
    ], facts


def tables(samples: Sequence[page.Sample], facts: dict[str, Any]) -> str:
    """Return the part of the page that is measured."""
    titles = {w.name: w.title for w in WORKLOADS}
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts["versions"].items()))
    verdicts = [page.verdict(goal, samples) for goal in page.GOALS]
    rated = {
        w: titles[w] for w in titles if w not in ("unseen", "uneven", "large-array", "million")
    }
    return f"""Measured with Python {facts["python"]}, {versions},
on {facts["cores"]} cores under {facts["system"]}, in {facts["rounds"]} rounds.

Calls per second, medians of all rounds:

{page.rates_table(samples, rated)}
What is to be reached (in parentheses: the goal beyond), and what is:

{page.goals_table(verdicts)}
Where the time goes: µs of CPU of a call, client · scheduler · workers. A scheduler of `LocalCluster` is
part of its client's process.

{page.cpu_table(samples, titles)}"""


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [*(w.name for w in WORKLOADS), STARTUP]
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=names, default=[], metavar="WORKLOAD")
    parser.add_argument("--engines", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "explanation" / "measured")
    version = platform.python_version()
    parser.add_argument("--environment", type=Path, default=_CACHE / f"parsl-{version}")
    parser.add_argument("--redraw", action="store_true")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> tuple[list[page.Sample], dict[str, Any]]:
    """Run all engines, round by round."""
    pythons = {engine: Path(sys.executable) for engine in options.engines}
    if "parsl" in pythons:
        pythons["parsl"] = parsl_environment(options.environment)
    samples: list[page.Sample] = []
    versions: dict[str, str] = {}
    for number in range(options.rounds):
        for engine in options.engines:
            say(f"round {number + 1} of {options.rounds}: {page.NAMES[engine]}")
            for each in samples_of(pythons[engine], engine, number, options.only, versions):
                samples.append(each)
                seconds = each.figure(page.Quantity.SECONDS)
                rate = each.figure(page.Quantity.RATE)
                per_s = "" if rate is None else f"{rate:12,.1f} calls/s"
                say(f"  {each.workload:14}{seconds:8.2f} s{per_s}")
    return samples, {
        "python": platform.python_version(),
        "versions": versions,
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} on {platform.machine()}",
        "rounds": options.rounds,
    }


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    options = options_of()
    results = options.output / "results.json"
    if options.redraw:
        samples, facts = read(results.read_text())
    else:
        samples, facts = measure(options)
        options.output.mkdir(parents=True, exist_ok=True)
        results.write_text(written(samples, facts))
    titles = {w.name: w.title for w in WORKLOADS if w.name in IN_PICTURE}
    (options.output / "table.md").write_text(tables(samples, facts))
    (options.output / "rates.svg").write_text(page.picture(samples, titles))
    say(f"\n{tables(samples, facts)}\nwritten to {options.output}")


if __name__ == "__main__":
    main()
