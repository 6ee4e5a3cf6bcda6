"""NodeLayout: how the workers of a node are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NodeLayout:
    """How a node is divided among workers. The names are Parsl's where the meaning is.

    Parameters
    ----------
    available_accelerators
        How many accelerators a node has, or their names (``"0,1"`` gives two to one worker), or
        ``"auto"``: what the node is found to have. One worker for each.
    workers_per_accelerator
        How many workers share each of them.
    cpu_affinity
        ``"none"``, ``"block"``, ``"block-reverse"``, ``"alternating"``, ``"list:0-7:8-15"`` (one set of
        cores for each worker) or ``"auto"`` (by NUMA domain, each worker near its accelerator).
    cores_per_worker, mem_per_worker
        What one worker needs: cores, and memory in GB (None: an equal share). They limit how many
        workers a node has.
    max_workers_per_node
        A further limit to how many workers a node has.
    threads_per_worker
        How many calls a worker runs at once.
    reserved_cpus
        CPUs that no worker gets, such as ``"0,52"``; None: those that the site keeps for the system.
    """

    available_accelerators: int | str | Sequence[str] = ()
    workers_per_accelerator: int = 1
    cpu_affinity: str = "none"
    cores_per_worker: float = 1.0
    mem_per_worker: float | None = None
    max_workers_per_node: int | None = None
    threads_per_worker: int = 1
    reserved_cpus: str | None = None
