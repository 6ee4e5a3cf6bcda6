"""The workflow of `daskflow demo`: which apps there are, and how their calls hang together.

::

    measure_file ─┬─► gather_package ─┬─► dask bag ──► totals, slowest, … ─┬─► write_tables
    (each file)  ─┘   (each package)  │                                    ├─► write_page
                                      └─► count_package ───────────────────┘
                                          a join: decides how many shell commands it takes
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import dask.bag as db

from daskflow import AppFuture, File, bash_app, join_app, python_app
from daskflow.demo import page
from daskflow.demo.measure import (
    FileFacts,
    Totals,
    added,
    does_not_parse,
    length_of_longest,
    measure,
    package_of,
    parse_time,
    with_file,
)

LINES_PER_COMMAND = 60_000
FILES_PER_COMMAND = 300


# [apps]
@python_app
def measure_file(package: str, path: str) -> FileFacts:
    """Parse one file and count what is in it."""
    return measure(package, path)


@python_app
def gather_package(facts: Sequence[FileFacts]) -> list[FileFacts]:
    """Return what is known of the files of one package, as one partition of a bag."""
    return list(facts)


# [/apps]


# [bash]
@bash_app
def count_lines(paths: Sequence[str], stdout: File, outputs: Sequence[File]) -> str:
    """Count the lines of all `paths` together; the command's stdout is the result."""
    return f"cat {shlex.join(paths)} | wc -l"


@bash_app
def count_imports(paths: Sequence[str], outputs: Sequence[File]) -> str:
    """Write how often `paths` import which module, as grep sees it."""
    return rf"""
        set -o pipefail; export LC_ALL=C
        # grep ends with 1 if it finds nothing, which is no failure here
        {{ grep -hE '^[[:space:]]*(import|from)[[:space:]]+[A-Za-z_]' {shlex.join(paths)} ||
           test $? = 1; }} |
          sed -nE 's/^[[:space:]]*from[[:space:]]+([A-Za-z0-9_]+)[A-Za-z0-9_.]*[[:space:]]+import.*/\1/p
                   s/^[[:space:]]*import[[:space:]]+([A-Za-z0-9_]+)[A-Za-z0-9_.]*([[:space:]]*$|[[:space:]]*[,;#].*|[[:space:]]+as.*)/\1/p' |
          sort | uniq -c > {shlex.quote(outputs[0].filepath)}
    """  # noqa: E501 # a sed script is written on one line


@bash_app
def add_counts(inputs: Sequence[File], outputs: Sequence[File]) -> str:
    """Add up the counts of several files of `count_imports`, most frequent first."""
    files = shlex.join(file.filepath for file in inputs)
    return (
        f"awk '{{ sum[$2] += $1 }} END {{ for (name in sum) print sum[name], name }}' {files}"
        f" | LC_ALL=C sort -k1,1nr -k2 > {shlex.quote(outputs[0].filepath)}"
    )


# [/bash]


@python_app
def read_counts(file: File) -> dict[str, int]:
    """Return the counts in a file of `add_counts`."""
    pairs = [line.split() for line in Path(file).read_text().splitlines()]
    return {name: int(count) for count, name in pairs}


@python_app
def read_numbers(files: Sequence[File]) -> list[int]:
    """Return the number that each of `files` holds."""
    return [int(Path(file).read_text()) for file in files]


# [join]
@join_app
def count_package(package: str, facts: Sequence[FileFacts], folder: str) -> dict[str, AppFuture]:
    """Let the shell count a package: in one go, or in parts if it turns out to be large."""
    lines, imports = [], []
    for number, part in enumerate(_parts(facts)):
        paths = [each.path for each in part]
        counted = File(f"{folder}/{package}-{number}.lines")
        lines.append(count_lines(paths, stdout=counted, outputs=[counted]))
        found = File(f"{folder}/{package}-{number}.imports")
        imports.append(count_imports(paths, outputs=[found]))
    together = add_counts(
        inputs=[call.outputs[0] for call in imports],
        outputs=[File(f"{folder}/{package}.imports")],
    )
    return {
        "lines": read_numbers([call.outputs[0] for call in lines]),
        "imports": read_counts(together.outputs[0]),
    }


# [/join]


def _parts(facts: Sequence[FileFacts]) -> list[list[FileFacts]]:
    """Split a package so that no part has too many lines, or names for one command line."""
    parts: list[list[FileFacts]] = [[]]
    lines = 0
    for each in facts:
        lines += each.lines
        if parts[-1] and (lines > LINES_PER_COMMAND or len(parts[-1]) >= FILES_PER_COMMAND):
            parts.append([])
            lines = each.lines
        parts[-1].append(each)
    return parts


class Results(NamedTuple):
    """What the workflow found."""

    totals: list[tuple[str, Totals]]
    slowest: list[FileFacts]
    longest: list[FileFacts]
    broken: list[FileFacts]
    imports: list[tuple[str, int]]
    lines_by_wc: int
    commands: int

    @property
    def sum(self) -> Totals:
        """The totals of all packages."""
        total = Totals()
        for _, each in self.totals:
            total = added(total, each)
        return total


@python_app
def put_together(  # one for each part of the results
    totals: Sequence[tuple[str, Totals]],
    slowest: Sequence[FileFacts],
    longest: Sequence[FileFacts],
    broken: Sequence[FileFacts],
    counts: Sequence[Mapping[str, Any]],
) -> Results:
    """Make one result of what the bag and the shell counted."""
    imports: Counter[str] = Counter()
    for each in counts:
        imports.update(each["imports"])
    parts = [number for each in counts for number in each["lines"]]
    return Results(
        totals=sorted(totals, key=lambda item: -item[1].lines),
        slowest=list(slowest),
        longest=list(longest),
        broken=list(broken),
        imports=imports.most_common(20),
        lines_by_wc=sum(parts),
        commands=2 * len(parts) + len(counts),
    )


@python_app
def write_tables(facts: Sequence[FileFacts], results: Results, outputs: Sequence[File]) -> None:
    """Write the CSV tables: one of the files, one of the packages."""
    page.write_csv(outputs[0].filepath, FileFacts._fields, facts)
    rows = [(package, *totals) for package, totals in results.totals]
    page.write_csv(outputs[1].filepath, ("package", *Totals._fields), rows)


@python_app
def write_page(
    title: str, facts: Sequence[FileFacts], results: Results, outputs: Sequence[File]
) -> None:
    """Write the page of pictures."""
    page.write_page(outputs[0].filepath, title, facts, results)


# [record]
@dataclass(frozen=True, kw_only=True)
class Study:
    """The futures of a recorded workflow; nothing has run yet."""

    measured: list[AppFuture]
    counted: list[AppFuture]
    results: AppFuture
    tables: AppFuture
    page: AppFuture


def record(title: str, packages: Mapping[str, Sequence[str]], output: Path) -> Study:
    """Record all calls, from the files of `packages` to the page in `output`."""
    measured: list[AppFuture] = []
    gathered: dict[str, AppFuture] = {}
    for package, paths in packages.items():
        calls = [measure_file(package, path) for path in paths]
        gathered[package] = gather_package(calls)
        measured += calls
    counted = [
        count_package(package, facts, str(output / "parts")) for package, facts in gathered.items()
    ]

    bag = db.from_delayed(list(gathered.values()))  # a future is a dask collection
    results = put_together(
        totals=bag.foldby(package_of, with_file, Totals(), added),  # so is an app's argument
        slowest=bag.topk(10, key=parse_time),
        longest=bag.topk(10, key=length_of_longest),
        broken=bag.filter(does_not_parse),
        counts=counted,
    )
    tables = [File(output / "files.csv"), File(output / "packages.csv")]
    return Study(
        measured=measured,
        counted=counted,
        results=results,
        tables=write_tables(bag, results, outputs=tables),
        page=write_page(title, bag, results, outputs=[File(output / "report.html")]),
    )


# [/record]
