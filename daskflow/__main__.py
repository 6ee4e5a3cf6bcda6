"""``python -m daskflow``: the command line."""

from daskflow.cli import main

main()
