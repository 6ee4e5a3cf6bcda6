"""Environment variables by which a worker, and what it runs, knows its place."""

from __future__ import annotations

BLOCK = "JOBQUEUE_SITES_BLOCK"
NODE = "JOBQUEUE_SITES_NODE"
SLOT = "JOBQUEUE_SITES_SLOT"
CPUS = "JOBQUEUE_SITES_CPUS"
ACCELERATORS = "JOBQUEUE_SITES_ACCELERATORS"
