"""Texts that are compared with files; ``WRITE_GOLDEN=1`` writes the files, to be read before a commit."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).parent


def assert_golden(name: str, text: str) -> None:
    path = HERE / name
    if os.environ.get("WRITE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text(), f"differs from {path}"
