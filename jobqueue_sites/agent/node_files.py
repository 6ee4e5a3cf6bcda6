"""What the files of a Linux node say of its CPUs and memory. Pure: texts by path → values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.pinning.topology import Cpu, parse_cpus

Files = Mapping[str, str]

_CPU = "sys/devices/system/cpu"
_NODE = "sys/devices/system/node"
PATTERNS = (
    f"{_CPU}/online",
    f"{_CPU}/cpu*/topology/physical_package_id",
    f"{_CPU}/cpu*/topology/thread_siblings_list",
    f"{_NODE}/node*/cpulist",
    "proc/meminfo",
    "proc/self/cgroup",
)


def cpus(files: Files, allowed: Iterable[int]) -> tuple[Cpu, ...]:
    """Return the CPUs that are online, those that may be used in any case.

    A CPU of which nothing is known is a core of its own in socket 0 and NUMA domain 0.
    """
    domains = {
        cpu: int(number)
        for path, number in _numbered(files, rf"{_NODE}/node(\d+)/cpulist")
        for cpu in cpu_list(files[path])
    }
    found = []
    for cpu in sorted({*cpu_list(files.get(f"{_CPU}/online", "")), *allowed}):
        folder = f"{_CPU}/cpu{cpu}/topology"
        siblings = cpu_list(files.get(f"{folder}/thread_siblings_list", ""))
        socket = _number(files.get(f"{folder}/physical_package_id", ""))
        found.append(
            Cpu(
                id=cpu,
                # The kernel counts cores anew in each socket; the first thread's number is unique.
                core=min((cpu, *siblings)),
                socket=max(socket or 0, 0),  # -1 where the kernel does not know
                numa=domains.get(cpu, 0),
            )
        )
    return tuple(found)


def memory_limit_paths(files: Files) -> tuple[str, ...]:
    """Return the files that may limit the memory of this process's control group."""
    paths: list[str] = []
    for line in files.get("proc/self/cgroup", "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            mounts, name = ["sys/fs/cgroup", "sys/fs/cgroup/unified"], "memory.max"
        elif "memory" in controllers.split(","):
            mounts, name = ["sys/fs/cgroup/memory"], "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in group.split("/") if part]
        # A group is limited by all that it is in. In a container the outer ones are not to be seen.
        for depth in range(len(parts), -1, -1):
            paths += ["/".join([mount, *parts[:depth], name]) for mount in mounts]
    return tuple(paths)


def memory_bytes(files: Files, environ: Mapping[str, str]) -> int | None:
    """Return how much memory the job may use: the least of what its groups, Slurm and the node allow."""
    # "max" is no number, and no limit.
    limits = [_number(files.get(path, "")) for path in memory_limit_paths(files)]
    meminfo = re.search(r"^MemTotal:\s*(\d+) kB", files.get("proc/meminfo", ""), re.MULTILINE)
    limits.append(int(meminfo[1]) << 10 if meminfo else None)
    limits.append(_slurm_memory_bytes(environ))
    return min((limit for limit in limits if limit), default=None)


def _slurm_memory_bytes(environ: Mapping[str, str]) -> int | None:
    """Return what the job has asked Slurm for, which may kill it for more without a control group."""
    per_node = _number(environ.get("SLURM_MEM_PER_NODE", ""))  # in MB; 0: all there is
    if per_node:
        return per_node << 20
    per_cpu = _number(environ.get("SLURM_MEM_PER_CPU", ""))
    cpus_here = _number(environ.get("SLURM_CPUS_ON_NODE", ""))
    return (per_cpu * cpus_here) << 20 if per_cpu and cpus_here else None


def cpu_list(text: str) -> tuple[int, ...]:
    """Return the CPUs of a list that the kernel wrote; none if it is unreadable."""
    try:
        return parse_cpus(text.strip())
    except SettingsError:
        return ()


def _numbered(files: Files, pattern: str) -> Iterable[tuple[str, str]]:
    for path in files:
        if match := re.fullmatch(pattern, path):
            yield path, match[1]


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
