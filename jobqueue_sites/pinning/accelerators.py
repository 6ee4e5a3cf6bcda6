"""Which accelerators each worker gets, and the variables that show it those alone. Pure.

Counts and ``"auto"`` are relative: they mean what the job was given, whatever its names are. Names
are absolute: those that the node's own tools show, and they must be among what the job was given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobqueue_sites.errors import PinningError
from jobqueue_sites.pinning.layout import AUTO, NodeLayout
from jobqueue_sites.pinning.topology import Gpu, Topology, Vendor

VISIBILITY = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ZE_AFFINITY_MASK",
)


@dataclass(frozen=True, kw_only=True)
class Share:
    """The accelerators of one worker.

    Attributes
    ----------
    names
        What the vendor's variable is given.
    gpus
        What they are.
    """

    names: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...] = ()


def shares(topology: Topology, layout: NodeLayout) -> tuple[Share, ...]:
    """Return the accelerators of each worker that is wanted; none if none are asked for.

    Workers that share accelerators follow one another: 0, 0, 1, 1.

    Raises
    ------
    PinningError
        The job has not been given what is asked for.
    """
    asked = layout.available_accelerators
    if asked == AUTO:
        entries = [_whole(gpu) for gpu in topology.gpus]
    elif isinstance(asked, int):
        if asked > len(topology.gpus):
            raise PinningError(f"available_accelerators={asked}: {_what_there_is(topology)}")
        entries = [_whole(gpu) for gpu in topology.gpus[:asked]]
    else:
        entries = [_named(topology, names) for names in layout.accelerator_names or ()]
    return tuple(entry for entry in entries for _ in range(layout.workers_per_accelerator))


def find_accelerator(topology: Topology, name: str) -> Share:
    """Return what one name stands for: an accelerator, or a card with all its tiles.

    The name is kept as it was given if the vendor's variable takes it.
    """
    matches = [gpu for gpu in topology.gpus if name == gpu.name or name in gpu.aliases]
    if len(matches) == 1:
        return Share(names=(name,), gpus=tuple(matches))
    if len(matches) > 1:
        vendors = ", ".join(gpu.vendor for gpu in matches)
        raise PinningError(
            f"available_accelerators: {name!r} is ambiguous: {vendors} have one each"
        )
    at_address = [gpu for gpu in topology.gpus if _same_address(name, gpu.pci)]
    tiles = [gpu for gpu in topology.gpus if gpu.name.partition(".")[0] == name]
    prefixed = [
        gpu
        for gpu in topology.gpus
        if name.startswith(("GPU-", "MIG-"))
        and any(alias.startswith(name) for alias in (gpu.name, *gpu.aliases))
    ]
    several = at_address or tiles
    if several:
        return Share(names=tuple(gpu.name for gpu in several), gpus=tuple(several))
    if len(prefixed) == 1:
        return Share(names=(name,), gpus=tuple(prefixed))
    raise PinningError(
        f"available_accelerators: {name!r} cannot be used: {_what_there_is(topology)}"
    )


def kept(wanted: Sequence[Share], count: int) -> tuple[int, ...]:
    """Return which `count` of the shares stay: every accelerator is used before one is shared."""
    seen: dict[tuple[str, ...], int] = {}
    ranked = []
    for position, share in enumerate(wanted):
        turn = seen[share.names] = seen.get(share.names, -1) + 1
        ranked.append((turn, position))
    return tuple(sorted(position for _, position in sorted(ranked)[:count]))


def visibility(share: Share) -> Mapping[str, str]:
    """Return the variables that show a worker its accelerators alone; none if it has none."""
    if not share.gpus:
        return {}
    names = ",".join(share.names)
    match share.gpus[0].vendor:
        case Vendor.NVIDIA:
            variables = {"CUDA_VISIBLE_DEVICES": names}
            if any(name.isdigit() for name in share.names):
                # CUDA's own order is by speed; nvidia-smi and the batch systems count by address.
                variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
            return variables
        case Vendor.AMD:
            # What HIP and OpenCL read counts what ROCR_VISIBLE_DEVICES leaves, from 0. All are set,
            # because Slurm sets some of them to what the node counts.
            left = ",".join(str(position) for position in range(len(share.names)))
            inner = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
            return {"ROCR_VISIBLE_DEVICES": names, **dict.fromkeys(inner, left)}
        case Vendor.INTEL:
            # "0.1" is tile 1 of card 0 where cards are the devices (COMPOSITE); where tiles are (FLAT),
            # there are plain numbers only.
            has_tiles = any("." in name for name in share.names)
            return {
                "ZE_AFFINITY_MASK": names,
                "ZE_FLAT_DEVICE_HIERARCHY": "COMPOSITE" if has_tiles else "FLAT",
                "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1",
            }


def vendor_of(env: Mapping[str, str]) -> Vendor | None:
    """Return whose accelerators a worker sees that has been given these variables."""
    for variable, vendor in (
        ("ZE_AFFINITY_MASK", Vendor.INTEL),
        ("ROCR_VISIBLE_DEVICES", Vendor.AMD),
        ("CUDA_VISIBLE_DEVICES", Vendor.NVIDIA),
    ):
        if variable in env:
            return vendor
    return None


def _whole(gpu: Gpu) -> Share:
    return Share(names=(gpu.name,), gpus=(gpu,))


def _named(topology: Topology, names: tuple[str, ...]) -> Share:
    """Return the share that some names stand for."""
    found = [find_accelerator(topology, name) for name in names]
    written = tuple(name for share in found for name in share.names)
    gpus = tuple(gpu for share in found for gpu in share.gpus)
    entry = ",".join(names)
    if len({gpu.vendor for gpu in gpus}) > 1:
        raise PinningError(
            f"available_accelerators: {entry!r} are accelerators of several vendors; one worker can "
            "be shown those of one vendor only"
        )
    if len(set(gpus)) < len(gpus):
        raise PinningError(f"available_accelerators: {entry!r} names one accelerator twice")
    return Share(names=written, gpus=gpus)


def _same_address(name: str, pci: str) -> bool:
    """Whether a name is a PCI address, with or without the domain, whose digits may vary."""
    domain, colon, rest = pci.lower().partition(":")
    return bool(pci) and (
        name.lower() == rest or name.lower().lstrip("0") == f"{domain}{colon}{rest}".lstrip("0")
    )


def _what_there_is(topology: Topology) -> str:
    where = f" on {topology.hostname}" if topology.hostname else ""
    if not topology.gpus:
        return f"the job has no accelerators{where}"
    names = ", ".join(gpu.name for gpu in topology.gpus)
    plural = "s" if len(topology.gpus) > 1 else ""
    return f"the job has {len(topology.gpus)} accelerator{plural}{where}: {names}"
