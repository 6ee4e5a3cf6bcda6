"""On which machines: blocks of a batch system as Dask clusters, launchers, pinning, known sites.

Everything public is importable from here; nothing is imported before it is used, and importing it changes
nothing in the process.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobqueue_sites.blocks.block import (
        Block,
    )
    from jobqueue_sites.blocks.states import (
        BlockState,
    )
    from jobqueue_sites.catalog import (
        load_site,
        node_topology,
    )
    from jobqueue_sites.cluster import (
        BlockCluster,
    )
    from jobqueue_sites.errors import *  # noqa: F403 # the error tree is public as a whole
    from jobqueue_sites.launchers import (
        AprunLauncher,
        GnuParallelLauncher,
        JsrunLauncher,
        MpiExecLauncher,
        MpiRunLauncher,
        MpiSpelling,
        SimpleLauncher,
        SingleNodeLauncher,
        SrunLauncher,
        SrunMPILauncher,
        SshLauncher,
        WrappedLauncher,
    )
    from jobqueue_sites.named import (
        GridEngineBlocks,
        HTCondorBlocks,
        LocalBlocks,
        LSFBlocks,
        OARBlocks,
        PBSBlocks,
        SlurmBlocks,
        TorqueBlocks,
    )
    from jobqueue_sites.pinning.layout import (
        NodeLayout,
    )
    from jobqueue_sites.providers import (
        CondorProvider,
        GridEngineProvider,
        HTCondorProvider,
        LocalProvider,
        LSFProvider,
        OARProvider,
        PBSProProvider,
        PBSProvider,
        Provider,
        SlurmProvider,
        TorqueProvider,
    )
    from jobqueue_sites.settings import (
        ClusterSettings,
    )

_HOMES = {
    "jobqueue_sites.blocks.block": "Block",
    "jobqueue_sites.blocks.states": "BlockState",
    "jobqueue_sites.catalog": "load_site node_topology",
    "jobqueue_sites.cluster": "BlockCluster",
    "jobqueue_sites.errors": (
        "BlocksFailed CommandError CommandTimeout JobqueueSitesError PinningError "
        "SettingsError SubmitRefused UnreadableAnswer"
    ),
    "jobqueue_sites.launchers": (
        "AprunLauncher GnuParallelLauncher JsrunLauncher MpiExecLauncher MpiRunLauncher MpiSpelling "
        "SimpleLauncher SingleNodeLauncher SrunLauncher SrunMPILauncher SshLauncher "
        "WrappedLauncher"
    ),
    "jobqueue_sites.named": (
        "GridEngineBlocks HTCondorBlocks LSFBlocks LocalBlocks OARBlocks PBSBlocks "
        "SlurmBlocks TorqueBlocks"
    ),
    "jobqueue_sites.pinning.layout": "NodeLayout",
    "jobqueue_sites.providers": (
        "CondorProvider GridEngineProvider HTCondorProvider LSFProvider LocalProvider "
        "OARProvider PBSProProvider PBSProvider Provider SlurmProvider TorqueProvider"
    ),
    "jobqueue_sites.settings": "ClusterSettings",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AprunLauncher",
    "Block",
    "BlockCluster",
    "BlockState",
    "BlocksFailed",
    "ClusterSettings",
    "CommandError",
    "CommandTimeout",
    "CondorProvider",
    "GnuParallelLauncher",
    "GridEngineBlocks",
    "GridEngineProvider",
    "HTCondorBlocks",
    "HTCondorProvider",
    "JobqueueSitesError",
    "JsrunLauncher",
    "LSFBlocks",
    "LSFProvider",
    "LocalBlocks",
    "LocalProvider",
    "MpiExecLauncher",
    "MpiRunLauncher",
    "MpiSpelling",
    "NodeLayout",
    "OARBlocks",
    "OARProvider",
    "PBSBlocks",
    "PBSProProvider",
    "PBSProvider",
    "PinningError",
    "Provider",
    "SettingsError",
    "SimpleLauncher",
    "SingleNodeLauncher",
    "SlurmBlocks",
    "SlurmProvider",
    "SrunLauncher",
    "SrunMPILauncher",
    "SshLauncher",
    "SubmitRefused",
    "TorqueBlocks",
    "TorqueProvider",
    "UnreadableAnswer",
    "WrappedLauncher",
    "load_site",
    "node_topology",
]


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'jobqueue_sites' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
