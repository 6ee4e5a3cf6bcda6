"""For tests with processes of their own: scripts as a user would run them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

import daskflow

Completed = subprocess.CompletedProcess


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Completed[str]]:
    """Run a Python script in a folder of its own; warnings are errors."""

    def run(text: str) -> Completed[str]:
        folder = tmp_path / "script"
        folder.mkdir(exist_ok=True)
        path = folder / "script.py"
        path.write_text(textwrap.dedent(text))
        root = str(Path(daskflow.__file__).parents[1])
        return subprocess.run(
            [sys.executable, "-W", "error", path.name],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": root},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run
