"""The examples of the documentation run as they stand, and print what the page says.

The ``python`` blocks of a page, in their order, are one program in a fresh process. A ``text`` block
that follows one is what it prints.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*/*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
BOUNDARY = "=== end of example ==="


@dataclass(frozen=True)
class Example:
    line: int
    code: str
    printed: str | None


def examples_of(page: str) -> list[Example]:
    found: list[Example] = []
    end = -1
    for fence in FENCE.finditer(page):
        language, text = fence.groups()
        if language == "python":
            found.append(Example(page[: fence.start()].count("\n") + 2, text, None))
        elif language == "text" and found and not page[end : fence.start()].strip():
            found[-1] = Example(found[-1].line, found[-1].code, text)
        end = fence.end()
    return found


def program_of(examples: list[Example]) -> str:
    """Return one program whose lines have the numbers that they have on the page."""
    lines: list[str] = []
    for example in examples:
        lines += [""] * (example.line - 1 - len(lines))
        lines += [*example.code.splitlines(), f"print({BOUNDARY!r}, flush=True)"]
    return "\n".join(lines)


WITH_EXAMPLES = [page for page in PAGES if examples_of(page.read_text())]


def test_examples_are_found() -> None:
    assert ROOT / "README.md" in WITH_EXAMPLES
    assert len(WITH_EXAMPLES) >= 7


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_examples_of_a_page_run_and_print_what_it_says(page: Path, tmp_path: Path) -> None:
    examples = examples_of(page.read_text())
    program = tmp_path / page.with_suffix(".py").name
    program.write_text(program_of(examples))
    started = subprocess.Popen(
        [sys.executable, "-P", "-X", "faulthandler", str(program)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = started.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        started.send_signal(signal.SIGABRT)  # and it says where its threads are
        out, err = started.communicate()
    assert started.returncode == 0, out + err
    *printed, _ = out.split(f"{BOUNDARY}\n")
    expected = [example.printed for example in examples]
    for example, text in zip(examples, printed, strict=True):
        if example.printed is not None:
            assert text == example.printed, f"{page.name}, line {example.line}"
    assert len(printed) == len(expected)
