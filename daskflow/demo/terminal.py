"""`daskflow demo` at the terminal: loads a kernel, shows the progress, then the summary."""

from __future__ import annotations

import shutil
import sysconfig
import time
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from daskflow import AppFuture, Config, LocalExecutor, load
from daskflow.demo.measure import find_sources
from daskflow.demo.workflow import Results, Study, record


def standard_library() -> Path:
    """Return the folder of this Python's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def run_demo(source: Path, output: Path, workers: int | None, console: Console) -> None:
    """Run the workflow on `source`, write the results to `output` and print the summary.

    Raises
    ------
    OSError
        `source` is no folder of Python files, or `output` cannot be written.
    """
    source, output = source.resolve(), output.resolve()
    packages = find_sources(source)
    parts = output / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir(parents=True)
    executor = LocalExecutor() if workers is None else LocalExecutor(workers=workers)
    config = Config(executors=[executor], run_dir=str(output / "logs"), dashboard=False)
    started = time.monotonic()
    console.print(f"Reading the Python files in [bold]{source}[/], in {executor.workers} workers.")
    with load(config):
        study = record(source.name, packages, output)
        results = _watch(study, console)
    _show(results, study, time.monotonic() - started, console)
    console.print(f"\nThe page of pictures is [bold]{output / 'report.html'}[/]")
    console.print(f"The tables are in {output / 'files.csv'} and {output / 'packages.csv'}")


# [watch]
def _watch(study: Study, console: Console) -> Results:
    """Demand everything, show how far it is, and return the results."""
    progress = Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )
    stages = {
        "files measured": study.measured,
        "packages counted": study.counted,
        "tables and page": [study.tables, study.page],
    }
    with progress:
        for name, futures in stages.items():
            bar = progress.add_task(name, total=len(futures))
            for future in futures:
                future.add_done_callback(partial(_advance, progress, bar))
        study.tables.result()
        study.page.result()
    results: Results = study.results.result()
    return results


def _advance(progress: Progress, bar: TaskID, _future: AppFuture) -> None:
    progress.advance(bar)


# [/watch]


def _show(results: Results, study: Study, seconds: float, console: Console) -> None:
    total = results.sum
    agrees = (
        "as wc -l says"
        if results.lines_by_wc == total.lines
        else (f"but wc -l says {results.lines_by_wc:,}")
    )
    packages = len(study.counted)
    # For each package: gathered, joined and two files read; then the results, tables and page.
    calls = len(study.measured) + 4 * packages + results.commands + 3
    facts = Table("", "", title="What was found", show_header=False, title_justify="left")
    facts.add_row("packages", f"{packages:,}")
    facts.add_row("files", f"{total.files:,}, of which {len(results.broken)} do not parse")
    facts.add_row("lines", f"{total.lines:,}, {agrees}")
    facts.add_row("functions", f"{total.functions:,}")
    facts.add_row("classes", f"{total.classes:,}")
    facts.add_row("calls run", f"{calls:,}, of which {results.commands} shell commands")
    facts.add_row("seconds", f"{seconds:.1f}")
    slow = Table("file", "lines", "ms to parse", title="Slowest files", title_justify="left")
    for column in slow.columns[1:]:
        column.justify = "right"
    for each in results.slowest[:5]:
        name = f"{each.package}/{Path(each.path).name}"
        slow.add_row(name, f"{each.lines:,}", f"{1000 * each.parse_s:.0f}")
    console.print()
    console.print(facts)
    console.print()
    console.print(slow)
