"""Topology: what a node has, and what of it a job may use. Values, and the file they are kept in.

A file is a JSON object; lists of CPUs are texts as the kernel and the batch systems write them::

    {
      "format": "jobqueue-sites topology 1",
      "hostname": "node1",
      "memory_bytes": 549755813888,
      "cpus": [{"id": 0, "core": 0, "socket": 0, "numa": 0}, ...],
      "allowed": "0-63",
      "reserved": "",
      "gpus": [{"name": "0", "vendor": "nvidia", "numa": 3, "cpus": "24-31,56-63"}, ...]
    }

Only ``format`` and ``cpus`` must be there; ``allowed`` is then every CPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from jobqueue_sites.errors import SettingsError

FORMAT = "jobqueue-sites topology 1"
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
_MOST_CPUS = 1 << 16  # a range beyond it is a slip of the pen, and would fill the memory


class Vendor(StrEnum):
    """Who made an accelerator; it decides which variable makes it visible."""

    NVIDIA = "nvidia"
    AMD = "amd"
    INTEL = "intel"


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """A CPU as the operating system counts them: one hardware thread.

    Attributes
    ----------
    id
        Its number.
    core
        The physical core that it belongs to; hardware threads of one core share it, and no two cores
        of a node have the same.
    socket, numa
        The processor and the NUMA domain that it is part of.
    """

    id: int
    core: int
    socket: int = 0
    numa: int = 0


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """An accelerator that can be given to a worker: a GPU, or a tile or slice of one.

    Attributes
    ----------
    name
        What the vendor's variable takes: ``"0"``, ``"0.1"`` (tile 1 of card 0), ``"MIG-…"``.
    numa
        The NUMA domain that it is attached to, if known.
    cpus
        The CPUs near it; none: those of its NUMA domain.
    pci
        Its address on the PCI bus, such as ``"0000:c7:00.0"``.
    aliases
        Other names that the vendor's variable takes for it, such as its UUID.
    """

    name: str
    vendor: Vendor
    numa: int | None = None
    cpus: tuple[int, ...] = ()
    pci: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Topology:
    """What a node has, and what of it a job may use.

    Attributes
    ----------
    cpus
        The CPUs that are online.
    allowed
        The CPUs that the job may use.
    gpus
        The accelerators that the job may use, in the order of their names' variable.
    memory_bytes
        How much memory the job may use, if known.
    reserved
        CPUs that are kept for the system, although they may be allowed.
    """

    cpus: tuple[Cpu, ...]
    allowed: frozenset[int]
    gpus: tuple[Gpu, ...] = ()
    memory_bytes: int | None = None
    reserved: frozenset[int] = frozenset()
    hostname: str = ""

    def __post_init__(self) -> None:
        if not self.cpus:
            raise SettingsError("topology: it has no CPUs")
        places: dict[int, tuple[int, int]] = {}
        ids: set[int] = set()
        for cpu in self.cpus:
            if cpu.id in ids:
                raise SettingsError(f"topology: CPU {cpu.id} is listed twice")
            ids.add(cpu.id)
            place = (cpu.socket, cpu.numa)
            if places.setdefault(cpu.core, place) != place:
                raise SettingsError(
                    f"topology: core {cpu.core} has CPUs in several sockets or NUMA domains; "
                    "cores must have numbers that are unique on the node"
                )
        if not self.allowed <= ids:
            raise SettingsError(
                f"topology: allowed CPUs {format_cpus(self.allowed - ids)} are not among its CPUs "
                f"{format_cpus(ids)}"
            )
        names = [(gpu.vendor, gpu.name) for gpu in self.gpus]
        for vendor, name in names:
            if names.count((vendor, name)) > 1:
                raise SettingsError(f"topology: {vendor} accelerator {name!r} is listed twice")

    @property
    def by_id(self) -> Mapping[int, Cpu]:
        """The CPUs by their numbers."""
        return {cpu.id: cpu for cpu in self.cpus}

    def near(self, gpu: Gpu) -> frozenset[int]:
        """Return the CPUs near an accelerator, hardware threads of the same cores included.

        It is empty if nobody knows which they are.
        """
        if gpu.cpus:
            named = set(gpu.cpus)
            cores = {cpu.core for cpu in self.cpus if cpu.id in named}
            return frozenset(cpu.id for cpu in self.cpus if cpu.core in cores)
        return frozenset(cpu.id for cpu in self.cpus if cpu.numa == gpu.numa)

    def to_json(self) -> str:
        """Return the text of a topology file, one line for each CPU and accelerator."""
        gpus = [
            {
                "name": gpu.name,
                "vendor": gpu.vendor.value,
                "numa": gpu.numa,
                "cpus": format_cpus(gpu.cpus),
                "pci": gpu.pci,
                "aliases": list(gpu.aliases),
            }
            for gpu in self.gpus
        ]
        cpus = [
            {"id": cpu.id, "core": cpu.core, "socket": cpu.socket, "numa": cpu.numa}
            for cpu in self.cpus
        ]
        fields = {
            "format": json.dumps(FORMAT),
            "hostname": json.dumps(self.hostname),
            "memory_bytes": json.dumps(self.memory_bytes),
            "cpus": _lines(cpus),
            "allowed": json.dumps(format_cpus(self.allowed)),
            "reserved": json.dumps(format_cpus(self.reserved)),
            "gpus": _lines(gpus),
        }
        body = ",\n".join(f'  "{name}": {text}' for name, text in fields.items())
        return f"{{\n{body}\n}}\n"

    @classmethod
    def from_json(cls, text: str) -> Topology:
        """Read the text of a topology file.

        Raises
        ------
        SettingsError
            It is no such text; the message says where.
        """
        try:
            data = json.loads(text)
        except ValueError as error:
            raise SettingsError(f"topology: this is no JSON: {error}") from error
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise SettingsError(f'topology: it must be a JSON object with "format": "{FORMAT}"')
        known = {"format", "hostname", "memory_bytes", "cpus", "allowed", "reserved", "gpus"}
        if unknown := sorted(set(data) - known):
            raise SettingsError(
                f"topology: unknown key {unknown[0]!r}; it may have {sorted(known)}"
            )
        cpus = tuple(_cpu_from(item) for item in _items(data, "cpus"))
        memory_bytes = data.get("memory_bytes")
        if not (memory_bytes is None or (_is_count(memory_bytes) and memory_bytes > 0)):
            raise SettingsError(f"topology: memory_bytes is {memory_bytes!r}; it must be a number")
        everything = format_cpus(cpu.id for cpu in cpus)
        return cls(
            cpus=cpus,
            allowed=frozenset(parse_cpus(data.get("allowed", everything), "topology: allowed")),
            gpus=tuple(_gpu_from(item) for item in _items(data, "gpus")),
            memory_bytes=memory_bytes,
            reserved=frozenset(parse_cpus(data.get("reserved", ""), "topology: reserved")),
            hostname=str(data.get("hostname", "")),
        )


def parse_cpus(text: str, name: str = "cpus") -> tuple[int, ...]:
    """Return the CPUs of a list such as ``"0-7,32-39"``, sorted, each once.

    Raises
    ------
    SettingsError
        It is no such list. `name` says of what it is the value.
    """
    found: set[int] = set()
    if not isinstance(text, str):
        raise SettingsError(f"{name}={text!r}: must be a text such as '0-7,32-39'")
    for part in text.split(",") if text.strip() else []:
        match = _RANGE.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < _MOST_CPUS:
            raise SettingsError(f"{name}={text!r}: {part!r} is no CPU and no range such as '0-7'")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def format_cpus(cpus: Iterable[int]) -> str:
    """Return the list of some CPUs, such as ``"0-7,32-39"``."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu <= runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{first}-{last}" if last > first else f"{first}" for first, last in runs)


def _lines(items: list[dict[str, Any]]) -> str:
    if not items:
        return "[]"
    return "[\n    " + ",\n    ".join(json.dumps(item) for item in items) + "\n  ]"


def _items(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = data.get(key, [])
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise SettingsError(f"topology: {key} must be a list of objects")
    return items


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _cpu_from(item: Mapping[str, Any]) -> Cpu:
    values = {"socket": 0, "numa": 0, **item}
    if set(values) != {"id", "core", "socket", "numa"} or not all(map(_is_count, values.values())):
        raise SettingsError(
            f"topology: {dict(item)} is no CPU; it must have the numbers id and core, and may have "
            "socket and numa"
        )
    return Cpu(**values)


def _gpu_from(item: Mapping[str, Any]) -> Gpu:
    unknown = set(item) - {"name", "vendor", "numa", "cpus", "pci", "aliases"}
    name, numa, aliases = item.get("name"), item.get("numa"), item.get("aliases", [])
    if (
        unknown
        or not (isinstance(name, str) and name)
        or item.get("vendor") not in list(Vendor)
        or not (numa is None or _is_count(numa))
        or not (isinstance(aliases, list) and all(isinstance(alias, str) for alias in aliases))
    ):
        raise SettingsError(
            f"topology: {dict(item)} is no accelerator; it must have name and vendor "
            f"({', '.join(Vendor)}), and may have numa, cpus, pci and aliases"
        )
    return Gpu(
        name=name,
        vendor=Vendor(item["vendor"]),
        numa=numa,
        cpus=parse_cpus(item.get("cpus", ""), f"topology: accelerator {name!r}: cpus"),
        pci=str(item.get("pci", "")),
        aliases=tuple(aliases),
    )
