"""``python -m daskflow.perf.first [CONFIG]``: a fresh process, whose first result is printed."""

from __future__ import annotations

import sys
import tempfile

import daskflow
from daskflow.perf.workloads import same


def main(arguments: list[str]) -> None:
    """Load a kernel, make one call and print its result."""
    with tempfile.TemporaryDirectory() as folder:
        config = arguments[0] if arguments else daskflow.Config(run_dir=folder)
        with daskflow.load(config):
            sys.stdout.write(f"{daskflow.python_app(same)(1).result()}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
