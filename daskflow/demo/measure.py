"""What is known of one Python file, and the sums over many: plain functions, no daskflow."""

from __future__ import annotations

import ast
import gc
import time
import warnings
from pathlib import Path
from typing import NamedTuple

LOOSE = "(top level)"
_NOT_SOURCES = frozenset({"__pycache__", "site-packages", "dist-packages", "node_modules"})


class FileFacts(NamedTuple):
    """One file. Lines are counted as `wc -l` does; `problem` says why it does not parse."""

    package: str
    path: str
    lines: int
    code: int = 0
    docstrings: int = 0
    comments: int = 0
    blank: int = 0
    functions: int = 0
    classes: int = 0
    longest_function: str = ""
    longest_lines: int = 0
    parse_s: float = 0.0
    problem: str = ""


class Totals(NamedTuple):
    """Sums over files."""

    files: int = 0
    lines: int = 0
    code: int = 0
    docstrings: int = 0
    comments: int = 0
    blank: int = 0
    functions: int = 0
    classes: int = 0


def find_sources(root: Path) -> dict[str, list[str]]:
    """Return the Python files under `root` by package: the name of the folder next to `root`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is no such folder, or no Python file in it.
    """
    if not root.exists():
        raise FileNotFoundError(f"the input folder {str(root)!r} does not exist")
    if not root.is_dir():
        raise NotADirectoryError(f"the input {str(root)!r} is no folder")
    packages: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).parts
        if path.is_file() and not any(p in _NOT_SOURCES or p.startswith(".") for p in inside):
            packages.setdefault(inside[0] if len(inside) > 1 else LOOSE, []).append(str(path))
    if not packages:
        raise FileNotFoundError(f"the input folder {str(root)!r} has no Python files")
    return packages


def measure(package: str, path: str) -> FileFacts:
    """Read and parse one file. A file that does not parse is a result too, not an error."""
    data = Path(path).read_bytes()
    lines = data.count(b"\n")
    try:
        tree, parse_s = _parsed(data, path)
    except (SyntaxError, ValueError, RecursionError) as error:
        problem = f"{type(error).__name__}: {getattr(error, 'msg', None) or error}"
        return FileFacts(package, path, lines, problem=problem)
    docstring_lines: set[int] = set()
    functions: list[tuple[int, str]] = []
    classes = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.append(((node.end_lineno or node.lineno) - node.lineno + 1, node.name))
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif not isinstance(node, ast.Module):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            docstring_lines.update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    longest_lines, longest_function = max(functions, default=(0, ""))
    kinds = _count_kinds(data.split(b"\n")[:lines], docstring_lines)
    return FileFacts(
        package,
        path,
        lines,
        *kinds,
        functions=len(functions),
        classes=classes,
        longest_function=longest_function,
        longest_lines=longest_lines,
        parse_s=parse_s,
    )


def _parsed(data: bytes, path: str) -> tuple[ast.Module, float]:
    """Return the syntax tree, and the seconds of processor time that making it took."""
    gc.disable()  # a collection in between would be charged to whatever file it met
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            started = time.thread_time()
            tree = ast.parse(data, path)
            return tree, time.thread_time() - started
    finally:
        gc.enable()


def _count_kinds(lines: list[bytes], docstring_lines: set[int]) -> tuple[int, int, int, int]:
    """Return how many lines are code, docstring, comment and blank."""
    code = docstrings = comments = blank = 0
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if number in docstring_lines:
            docstrings += 1
        elif not text:
            blank += 1
        elif text.startswith(b"#"):
            comments += 1
        else:
            code += 1
    return code, docstrings, comments, blank


def package_of(facts: FileFacts) -> str:
    """Return the package of a file."""
    return facts.package


def parse_time(facts: FileFacts) -> float:
    """Return the seconds that parsing a file took."""
    return facts.parse_s


def length_of_longest(facts: FileFacts) -> int:
    """Return the lines of the longest function of a file."""
    return facts.longest_lines


def does_not_parse(facts: FileFacts) -> bool:
    """Tell whether a file has a problem."""
    return bool(facts.problem)


def with_file(totals: Totals, facts: FileFacts) -> Totals:
    """Return `totals` with one more file."""
    return Totals(
        totals.files + 1,
        totals.lines + facts.lines,
        totals.code + facts.code,
        totals.docstrings + facts.docstrings,
        totals.comments + facts.comments,
        totals.blank + facts.blank,
        totals.functions + facts.functions,
        totals.classes + facts.classes,
    )


def added(one: Totals, other: Totals) -> Totals:
    """Return the sums of two."""
    return Totals(*(a + b for a, b in zip(one, other, strict=True)))
