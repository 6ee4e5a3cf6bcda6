"""SlurmBlocks, PBSBlocks, LocalBlocks and so on: clusters that take all settings by name."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, ClassVar

from jobqueue_sites.cluster import BlockCluster
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.providers import (
    GridEngineProvider,
    HTCondorProvider,
    LocalProvider,
    LSFProvider,
    OARProvider,
    PBSProvider,
    Provider,
    SlurmProvider,
    TorqueProvider,
)
from jobqueue_sites.settings import ClusterSettings

_OF_DASK_JOBQUEUE = {
    "cores": "cores_per_node",
    "job_cpu": "cores_per_node",
    "memory": "mem_per_node",
    "job_mem": "mem_per_node",
    "processes": "max_workers_per_node",
    "n_workers": "init_blocks",
    "jobs": "init_blocks",
    "queue": "partition",
    "job_name": "name",
    "job_extra_directives": "scheduler_options",
    "job_script_prologue": "worker_init",
    "log_directory": "directory",
}
"""What its clusters call a setting, and what it is called here."""


def _split(provider_cls: type[Provider], given: dict[str, Any]) -> tuple[Any, ...]:
    """Sort settings by the class that knows them."""
    classes: tuple[type[Any], ...] = (provider_cls, NodeLayout, ClusterSettings)
    names = [{field.name for field in dataclasses.fields(cls)} for cls in classes]
    known: set[str] = set().union(*names)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            if _OF_DASK_JOBQUEUE.get(name) in known:
                close = [_OF_DASK_JOBQUEUE[name]]
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise TypeError(
                f"{provider_cls.__name__.removesuffix('Provider')}Blocks has no setting {name!r}{hint}; "
                f"there are {', '.join(sorted(known))}"
            )
    parts = [{k: v for k, v in given.items() if k in part} for part in names]
    return tuple(cls(**part) for cls, part in zip(classes, parts, strict=True))


class _NamedBlocks(BlockCluster):
    """Takes the settings of a provider, a layout and a cluster by their names."""

    provider_cls: ClassVar[type[Provider]]

    def __init__(self, *, asynchronous: bool = False, loop: Any = None, **settings: Any):
        provider, layout, rest = _split(self.provider_cls, settings)
        super().__init__(provider, layout, rest, asynchronous=asynchronous, loop=loop)


class SlurmBlocks(_NamedBlocks):
    """A Dask cluster of blocks under Slurm.

    Takes the settings of `SlurmProvider`, `NodeLayout` and `ClusterSettings` by name, and ``asynchronous``
    and ``loop``.
    """

    provider_cls = SlurmProvider


class PBSBlocks(_NamedBlocks):
    """A Dask cluster of blocks under OpenPBS or PBS Professional.

    Takes the settings of `PBSProvider`, `NodeLayout` and `ClusterSettings` by name, and ``asynchronous``
    and ``loop``.
    """

    provider_cls = PBSProvider


class TorqueBlocks(_NamedBlocks):
    """A Dask cluster of blocks under Torque.

    Takes the settings of `TorqueProvider`, `NodeLayout` and `ClusterSettings` by name, and ``asynchronous``
    and ``loop``.
    """

    provider_cls = TorqueProvider


class LSFBlocks(_NamedBlocks):
    """A Dask cluster of blocks under LSF.

    Takes the settings of `LSFProvider`, `NodeLayout` and `ClusterSettings` by name, and ``asynchronous``
    and ``loop``.
    """

    provider_cls = LSFProvider


class GridEngineBlocks(_NamedBlocks):
    """A Dask cluster of blocks under Grid Engine.

    Takes the settings of `GridEngineProvider`, `NodeLayout` and `ClusterSettings` by name, and
    ``asynchronous`` and ``loop``.
    """

    provider_cls = GridEngineProvider


class OARBlocks(_NamedBlocks):
    """A Dask cluster of blocks under OAR.

    Takes the settings of `OARProvider`, `NodeLayout` and `ClusterSettings` by name, and ``asynchronous``
    and ``loop``.
    """

    provider_cls = OARProvider


class HTCondorBlocks(_NamedBlocks):
    """A Dask cluster of blocks under HTCondor.

    Takes the settings of `HTCondorProvider`, `NodeLayout` and `ClusterSettings` by name, and
    ``asynchronous``
    and ``loop``.
    """

    provider_cls = HTCondorProvider


class LocalBlocks(_NamedBlocks):
    """A Dask cluster of blocks on this machine: process groups, without a batch system.

    Takes the settings of `LocalProvider`, `NodeLayout` and `ClusterSettings` by name, and ``asynchronous``
    and ``loop``.
    """

    provider_cls = LocalProvider
