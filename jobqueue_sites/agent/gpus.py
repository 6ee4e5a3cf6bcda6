"""Which accelerators a node has, and which of them the job may use. Pure: texts → values.

======  ========================================  ==================================================
vendor  found in                                  restricted by
======  ========================================  ==================================================
NVIDIA  ``nvidia-smi``; else the driver's files   ``CUDA_VISIBLE_DEVICES``
AMD     the kernel's compute topology (KFD)       ``ROCR_VISIBLE_DEVICES``, then
                                                  ``HIP_VISIBLE_DEVICES``, counting what that left
Intel   the kernel's graphics devices (DRM)       ``ZE_AFFINITY_MASK``
======  ========================================  ==================================================

Without any driver, what those variables name is taken for what there is.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobqueue_sites.agent.node_files import Files, cpu_list
from jobqueue_sites.pinning.topology import Gpu, Vendor

_KFD = "sys/class/kfd/kfd/topology/nodes"
_DRM = "sys/class/drm"
_PROC = "proc/driver/nvidia/gpus"
_PCI = "sys/bus/pci/devices"
PATTERNS = (
    f"{_PROC}/*/information",
    f"{_KFD}/*/gpu_id",
    f"{_KFD}/*/properties",
    f"{_DRM}/card*/device/uevent",
    f"{_DRM}/card*/device/vendor",
    f"{_DRM}/card*/gt/gt*/id",  # i915: one gt for each tile
    f"{_DRM}/card*/device/tile*/gt*/freq0/max_freq",  # xe
)
NVIDIA_SMI_ARGUMENTS = (("--query-gpu=index,uuid,pci.bus_id", "--format=csv,noheader"), ("-L",))

# What the processor itself has to show a picture with, always at this address.
_INTEGRATED = "0000:00:02.0"
_NONE = {"", "-1", "NoDevFiles", "none", "void"}


@dataclass(frozen=True, kw_only=True)
class NvidiaSmi:
    """What ``nvidia-smi`` answered to `NVIDIA_SMI_ARGUMENTS`."""

    query: str
    listing: str


@dataclass(frozen=True, kw_only=True)
class Device:
    """A card.

    Attributes
    ----------
    names
        What it is called in the vendor's variable.
    parts
        What of it can be given to workers: itself, its tiles, or its slices.
    """

    names: tuple[str, ...]
    parts: tuple[Gpu, ...]


def devices(files: Files, nvidia_smi: NvidiaSmi | None) -> tuple[Device, ...]:
    """Return the cards of a node, vendor by vendor, in the order in which the vendor counts them."""
    nvidia = _nvidia_from_files(files) if nvidia_smi is None else nvidia_from_smi(nvidia_smi)
    return (*nvidia, *amd_from_files(files), *intel_from_files(files))


def nvidia_from_smi(answers: NvidiaSmi) -> tuple[Device, ...]:
    """Return the NVIDIA cards, and their slices where they are divided (MIG)."""
    slices: dict[str, list[str]] = {}
    index = ""
    for line in answers.listing.splitlines():
        if match := re.match(r"GPU (\d+):", line):
            index = match[1]
        elif match := re.match(r"\s+MIG .*\(UUID:\s*(MIG-[^)\s]+)\)", line):
            slices.setdefault(index, []).append(match[1])
    found: list[Device] = []
    for line in answers.query.splitlines():
        match = re.fullmatch(r"(\d+), (GPU-[\w-]+), ([0-9A-Fa-f:.]+)", line.strip())
        if match is None:  # a complaint about a card that has failed
            continue
        number, uuid, pci = match[1], match[2], _address(match[3])
        if number in slices:
            parts = tuple(Gpu(name=name, vendor=Vendor.NVIDIA, pci=pci) for name in slices[number])
            found.append(Device(names=(number, uuid), parts=parts))
        else:
            found.append(_card(Vendor.NVIDIA, int(number), pci, uuid))
    return tuple(found)


def _nvidia_from_files(files: Files) -> tuple[Device, ...]:
    """Return the NVIDIA cards that the driver's files tell of, in the order of their addresses."""
    cards = []
    for path, text in files.items():
        if path.startswith(_PROC):
            fields = _fields(text, ":")
            if fields.get("GPU Excluded", "No") == "No":
                cards.append((_address(path.split("/")[-2]), fields.get("GPU UUID", "")))
    return tuple(
        _card(Vendor.NVIDIA, number, pci, uuid if "?" not in uuid else "")
        for number, (pci, uuid) in enumerate(sorted(cards))
    )


def amd_from_files(files: Files) -> tuple[Device, ...]:
    """Return the AMD accelerators, each graphics compute die by itself, in the runtime's order."""
    found: list[Device] = []
    nodes = {path.split("/")[-2] for path in files if path.startswith(_KFD)}
    for node in sorted((node for node in nodes if node.isdigit()), key=int):
        fields = _fields(files.get(f"{_KFD}/{node}/properties", ""), " ")
        if not int(fields.get("simd_count", "0")):  # a processor, or not for us
            continue
        location = int(fields.get("location_id", "0"))
        pci = (
            f"{int(fields.get('domain', '0')):04x}:{location >> 8:02x}:"
            f"{location >> 3 & 0x1F:02x}.{location & 7}"
        )
        unique = int(fields.get("unique_id", "0"))
        found.append(_card(Vendor.AMD, len(found), pci, f"GPU-{unique:016x}" if unique else ""))
    return tuple(found)


def intel_from_files(files: Files) -> tuple[Device, ...]:
    """Return the Intel accelerators by address; the tiles of a card are "0.0", "0.1", …"""
    tiles: dict[str, set[int]] = {}
    addresses: dict[str, str] = {}
    for path, text in files.items():
        match = re.fullmatch(rf"{_DRM}/(card\d+)/(.*)", path)
        if match is None:
            continue
        card, rest = match[1], match[2]
        if rest == "device/uevent":
            fields = _fields(text, "=")
            is_intel = files.get(f"{_DRM}/{card}/device/vendor", "").strip() == "0x8086"
            if is_intel and fields.get("PCI_SLOT_NAME", _INTEGRATED) != _INTEGRATED:
                addresses[card] = fields["PCI_SLOT_NAME"]
        elif tile := re.match(r"gt/gt(\d+)/|device/tile(\d+)/", rest):
            tiles.setdefault(card, set()).add(int(tile[1] or tile[2] or 0))
    found = []
    for number, card in enumerate(sorted(addresses, key=addresses.__getitem__)):
        pci, own = addresses[card], sorted(tiles.get(card, ()))
        names = [f"{number}.{tile}" for tile in own] if len(own) > 1 else [str(number)]
        parts = tuple(Gpu(name=name, vendor=Vendor.INTEL, pci=pci) for name in names)
        found.append(Device(names=(str(number),), parts=parts))
    return tuple(found)


def visible(found: Sequence[Device], environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Return what the job's environment leaves of a node's accelerators, in its order."""
    if not found:
        return _stand_ins(environ)
    by_vendor = {
        vendor: [device for device in found if device.parts[0].vendor is vendor]
        for vendor in Vendor
    }
    return (
        *_chosen(by_vendor[Vendor.NVIDIA], environ.get("CUDA_VISIBLE_DEVICES")),
        *_amd_visible(by_vendor[Vendor.AMD], environ),
        *_intel_visible(by_vendor[Vendor.INTEL], environ),
    )


def _chosen(cards: Sequence[Device], choice: str | None) -> tuple[Gpu, ...]:
    """Return what a variable leaves: as CUDA reads it, up to the first name that is none."""
    if choice is None:
        return tuple(part for card in cards for part in card.parts)
    chosen: list[Gpu] = []
    for name in choice.split(","):
        parts = _parts_named(cards, name.strip())
        if not parts:
            break
        chosen += [part for part in parts if part not in chosen]
    return tuple(chosen)


def _parts_named(cards: Sequence[Device], name: str) -> tuple[Gpu, ...]:
    for card in cards:
        if name in card.names:
            return card.parts
        own = tuple(part for part in card.parts if part.name == name)
        if own:
            return own
    if name.startswith(("GPU-", "MIG-")):  # an identifier may be cut short
        for card in cards:
            if any(known.startswith(name) for known in card.names):
                return card.parts
            own = tuple(part for part in card.parts if part.name.startswith(name))
            if own:
                return own[:1]
    return ()


def _amd_visible(cards: Sequence[Device], environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    outer = environ.get("ROCR_VISIBLE_DEVICES")
    inner = environ.get("HIP_VISIBLE_DEVICES")
    if outer is None and inner is None:
        inner = environ.get("CUDA_VISIBLE_DEVICES")  # HIP takes it for its own
    left = _chosen(cards, outer)
    if inner is None or inner == outer:  # twice the same is meant once
        return left
    return _at_positions(left, inner)


def _intel_visible(cards: Sequence[Device], environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    mask = environ.get("ZE_AFFINITY_MASK")
    if not mask:
        return _chosen(cards, None)
    hierarchy = environ.get("ZE_FLAT_DEVICE_HIERARCHY", "FLAT").upper()
    if hierarchy != "COMPOSITE" and "." not in mask:  # plain numbers then count tiles
        return _at_positions([part for card in cards for part in card.parts], mask)
    return _chosen(cards, mask)


def _at_positions(parts: Sequence[Gpu], choice: str) -> tuple[Gpu, ...]:
    """Return what a variable leaves that counts from 0 what something else has left."""
    chosen: list[Gpu] = []
    for name in choice.split(","):
        found = [
            part
            for position, part in enumerate(parts)
            if name.strip() in (str(position), *part.aliases)
        ]
        if not found:
            break
        chosen += [part for part in found if part not in chosen]
    return tuple(chosen)


def _stand_ins(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Return what the batch system says there is, on a node where no driver says anything."""
    for variable, vendor in (
        ("CUDA_VISIBLE_DEVICES", Vendor.NVIDIA),
        ("ROCR_VISIBLE_DEVICES", Vendor.AMD),
        ("HIP_VISIBLE_DEVICES", Vendor.AMD),
        ("ZE_AFFINITY_MASK", Vendor.INTEL),
        ("GPU_DEVICE_ORDINAL", Vendor.AMD),
    ):
        names: list[str] = []
        for name in environ.get(variable, "").split(","):
            if name.strip() in _NONE:
                break
            names.append(name.strip())
        if names:
            return tuple(Gpu(name=name, vendor=vendor) for name in dict.fromkeys(names))
    return ()


def place_paths(gpu: Gpu) -> tuple[str, ...]:
    """Return the files that say which CPUs an accelerator is near."""
    return tuple(f"{_PCI}/{gpu.pci}/{name}" for name in ("numa_node", "local_cpulist") if gpu.pci)


def placed(found: Sequence[Gpu], files: Files) -> tuple[Gpu, ...]:
    """Return accelerators with the NUMA domains and CPUs that they are near, where that is known."""
    return tuple(_placed(gpu, files) for gpu in found)


def _placed(gpu: Gpu, files: Files) -> Gpu:
    numa = files.get(f"{_PCI}/{gpu.pci}/numa_node", "").strip()
    if not numa.isdigit():  # -1 where the kernel does not know; the list is then every CPU
        return gpu
    near = cpu_list(files.get(f"{_PCI}/{gpu.pci}/local_cpulist", ""))
    return dataclasses.replace(gpu, numa=int(numa), cpus=near)


def _card(vendor: Vendor, number: int, pci: str, uuid: str) -> Device:
    aliases = (uuid,) if uuid else ()
    gpu = Gpu(name=str(number), vendor=vendor, pci=pci, aliases=aliases)
    return Device(names=(str(number), *aliases), parts=(gpu,))


def _address(text: str) -> str:
    """Return a PCI address as the kernel writes it; nvidia-smi's domain has more digits."""
    domain, _, rest = text.lower().partition(":")
    return f"{domain[-4:].zfill(4)}:{rest}"


def _fields(text: str, separator: str) -> dict[str, str]:
    """Return the ``name separator value`` lines of a text."""
    split = (line.partition(separator) for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in split}
