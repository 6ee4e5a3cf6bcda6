"""``python -m jobqueue_sites``: the command line."""

from jobqueue_sites.cli import main

main()
