"""Probe the node: what it has, and what of it the batch system has left to the job.

::

    files under /sys and /proc ─┐
    nvidia-smi, if there is one ├─► read here ─► parsed by node_files and gpus ─► Topology
    the job's environment      ─┘                                             │
                                          the catalogue, if it knows the node ┘

Nothing else is run, and a file that is missing is a fact that is not known, never an error.
"""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from jobqueue_sites.agent import gpus, node_files
from jobqueue_sites.catalog import recognised
from jobqueue_sites.pinning.topology import Topology

logger = logging.getLogger(__name__)
NVIDIA_SMI_TIMEOUT_S = 60.0  # a driver that has to wake eight GPUs takes some ten seconds


def probe_node(
    environ: Mapping[str, str] = os.environ,
    *,
    root: Path = Path("/"),
    allowed: Iterable[int] | None = None,
    hostname: str | None = None,
) -> Topology:
    """Return what this node has, and what of it this process may use.

    On a machine that the catalogue describes, that completes what the node does not know of itself.

    Parameters
    ----------
    environ
        The job's environment: what the batch system has restricted, and ``PATH``.
    root, allowed, hostname
        Where the node's files are, the CPUs that may be used, and the node's name, if they are not
        this process's own.
    """
    usable = frozenset(_own_cpus() if allowed is None else allowed)
    files = _read(root, (*node_files.PATTERNS, *gpus.PATTERNS))
    files |= _read(root, node_files.memory_limit_paths(files))
    devices = gpus.devices(files, _nvidia_smi(environ))
    visible = gpus.visible(devices, environ)
    near = _read(root, (path for gpu in visible for path in gpus.place_paths(gpu)))
    cpus = node_files.cpus(files, usable)
    return recognised(
        Topology(
            cpus=cpus,
            allowed=usable,
            gpus=gpus.placed(visible, near),
            memory_bytes=node_files.memory_bytes(files, environ),
            hostname=platform.node() if hostname is None else hostname,
        )
    )


def _own_cpus() -> Iterable[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)  # not Linux: there are no masks


def _read(root: Path, patterns: Iterable[str]) -> dict[str, str]:
    """Return the texts of files by their paths below `root`; those that cannot be read are missing."""
    found: dict[str, str] = {}
    for pattern in patterns:
        for path in sorted(root.glob(pattern)) if "*" in pattern else [root / pattern]:
            try:
                found[path.relative_to(root).as_posix()] = path.read_text(errors="replace")
            except OSError:  # no such file, or not for us, as other jobs' GPUs are
                continue
    return found


def _nvidia_smi(environ: Mapping[str, str]) -> gpus.NvidiaSmi | None:
    """Return what nvidia-smi says; None if it is not there or says nothing of use."""
    program = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if program is None:
        return None
    answers = []
    for arguments in gpus.NVIDIA_SMI_ARGUMENTS:
        try:
            done = subprocess.run(
                [program, *arguments],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=NVIDIA_SMI_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            logger.warning("nvidia-smi cannot be asked: %s", error)
            return None
        if done.returncode != 0:
            logger.warning(
                "nvidia-smi %s ended with %d: %s",
                " ".join(arguments),
                done.returncode,
                (done.stdout + done.stderr).strip(),
            )
        answers.append(done.stdout)
    query, listing = answers
    return gpus.NvidiaSmi(query=query, listing=listing)
