"""`daskflow demo`, as a user runs it: on a folder made for the test, and on real packages."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from daskflow.demo.workflow import FILES_PER_COMMAND

GOOD = '''"""A module."""

import os.path
from collections import abc, deque

import sys as system


class Thing:
    # what it does
    def method(self):
        """Do it."""
        return os.path, system, abc, deque


async def run():
    return 1
'''


def run_demo(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "daskflow", "demo", "--workers", "2"),
            *("--input", str(source), "--output", str(output)),
        ],
        cwd=output.parent,
        env={**os.environ, "COLUMNS": "200", "DASK_TEMPORARY_DIRECTORY": str(output.parent)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run on a made folder; what the terminal showed is in ``shown``."""
    base = tmp_path_factory.mktemp("made")
    source = base / "my sources"
    files = {
        "alone.py": "import os\n",
        "a package/good.py": GOOD,
        "a package/empty.py": "",
        "a package/deep/no_newline.py": "x = 1\ny = 2",
        "broken/bad.py": "def f(:\n",
        "broken/null.py": "x = '\0'\n",
        "a package/__pycache__/old.py": "x\n",
        ".hidden/secret.py": "x\n",
        "notes.txt": "import nothing\n",
    }
    files.update({f"many/m{n:03d}.py": "import json\n" for n in range(FILES_PER_COMMAND + 1)})
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    output = base / "out"
    done = run_demo(source, output)
    assert done.returncode == 0, done.stderr
    (output / "shown").write_text(done.stdout + done.stderr)
    return output


def test_every_file_is_measured(made: Path) -> None:
    table = {Path(row["path"]).name: row for row in rows(made / "files.csv")}
    assert len(table) == FILES_PER_COMMAND + 1 + 6
    good = table["good.py"]
    measured = {
        name: int(good[name])
        for name in ("lines", "code", "docstrings", "comments", "blank", "functions", "classes")
    }
    assert measured == {
        "lines": 17,
        "code": 8,
        "docstrings": 2,
        "comments": 1,
        "blank": 6,
        "functions": 2,
        "classes": 1,
    }
    assert (good["package"], good["longest_function"]) == ("a package", "method")
    assert (table["empty.py"]["lines"], table["no_newline.py"]["lines"]) == ("0", "1")
    assert table["alone.py"]["package"] == "(top level)"


def test_a_file_that_does_not_parse_is_a_finding(made: Path) -> None:
    problems = {
        Path(row["path"]).name: row["problem"] for row in rows(made / "files.csv") if row["problem"]
    }
    assert set(problems) == {"bad.py", "null.py"}
    assert problems["bad.py"].startswith("SyntaxError: ")
    assert "bad.py" in (made / "report.html").read_text()


def test_packages_are_added_up_largest_first(made: Path) -> None:
    table = rows(made / "packages.csv")
    assert [row["package"] for row in table] == ["many", "a package", "broken", "(top level)"]
    assert [int(row["files"]) for row in table] == [FILES_PER_COMMAND + 1, 3, 2, 1]


def test_a_large_package_is_split_for_the_shell(made: Path) -> None:
    parts = sorted(path.name for path in (made / "parts").glob("many-*.lines"))
    assert parts == ["many-0.lines", "many-1.lines"]
    assert (made / "parts" / "many.imports").read_text() == f"{FILES_PER_COMMAND + 1} json\n"
    counts = (made / "parts" / "a package.imports").read_text()
    assert counts == "1 collections\n1 os\n1 sys\n"


def test_the_summary_says_what_was_found_and_where_it_is(made: Path) -> None:
    shown = (made / "shown").read_text()
    lines = sum(int(row["lines"]) for row in rows(made / "files.csv"))
    assert f"{FILES_PER_COMMAND + 7}, of which 2 do not parse" in shown
    assert f"{lines}, as wc -l says" in shown
    calls = FILES_PER_COMMAND + 7 + 4 * 4 + 3 + (2 * 5 + 4)
    assert f"{calls}, of which 14 shell commands" in shown
    assert "Slowest files" in shown
    assert str(made / "report.html") in shown
    assert "Traceback" not in shown


def test_the_page_needs_nothing_from_the_network(made: Path) -> None:
    page = (made / "report.html").read_text()
    assert re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=", page) == []
    assert roots_of(page) == ["packages", "files", "imports"]


def roots_of(page: str) -> list[str]:
    """Return the names of the figures in a page; Bokeh draws none if one has no place."""
    (documents,) = re.findall(
        r'<script type="application/json"[^>]*>(.*?)</script>', page, flags=re.DOTALL
    )
    (document,) = json.loads(documents).values()
    for root in document["roots"]:
        assert f'data-root-id="{root["id"]}"' in page
    return [root["attributes"]["name"] for root in document["roots"]]


def test_real_packages_of_the_standard_library(tmp_path: Path) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    source = tmp_path / "library"
    for package in ("asyncio", "email", "json"):
        shutil.copytree(library / package, source / package)
    done = run_demo(source, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    expected = {
        package: sum(path.read_bytes().count(b"\n") for path in (source / package).rglob("*.py"))
        for package in ("asyncio", "email", "json")
    }
    found = {row["package"]: int(row["lines"]) for row in rows(tmp_path / "out" / "packages.csv")}
    assert found == expected
    assert f"{sum(expected.values()):,}, as wc -l says" in done.stdout
    assert "asyncio" in (tmp_path / "out" / "report.html").read_text()


def test_a_second_run_takes_the_place_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    for text in ("x = 1\n", "x = 1\ny = 2\n"):
        (tmp_path / "sources" / "only.py").write_text(text)
        done = run_demo(tmp_path / "sources", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        (row,) = rows(tmp_path / "out" / "files.csv")
        assert int(row["lines"]) == text.count("\n")
    # Nothing is imported, so there is nothing to draw about imports.
    assert roots_of((tmp_path / "out" / "report.html").read_text()) == ["packages", "files"]
