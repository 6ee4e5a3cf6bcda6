"""Probe the node: what it has, and what of it the batch system has left to the job."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from jobqueue_sites.pinning.topology import Cpu, Gpu, Topology, Vendor, parse_cpus


def probe_node(environ: Mapping[str, str] = os.environ, *, root: Path = Path("/")) -> Topology:
    """Return what this node has, and what of it this process may use."""
    allowed = frozenset(os.sched_getaffinity(0))
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return Topology(
        cpus=tuple(_cpu(root, number) for number in sorted(allowed)),
        allowed=allowed,
        gpus=tuple(Gpu(name=name, vendor=Vendor.NVIDIA) for name in names),
        hostname=os.uname().nodename,
    )


def _cpu(root: Path, number: int) -> Cpu:
    folder = root / f"sys/devices/system/cpu/cpu{number}/topology"
    siblings = parse_cpus((folder / "thread_siblings_list").read_text())
    return Cpu(id=number, core=min(siblings))
