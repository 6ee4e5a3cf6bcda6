"""The catalogue: machines that are described here, and those that a user describes.

Each is a TOML file whose name is the site's. Files in ``$XDG_CONFIG_HOME/jobqueue-sites`` (by default
``~/.config/jobqueue-sites``) add sites, and what they say of a site that is here replaces what is said
here, key by key.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jobqueue_sites.catalog.site import NodeType, Site
from jobqueue_sites.errors import SettingsError
from jobqueue_sites.pinning.topology import Gpu, Topology

__all__ = [
    "NodeType",
    "Site",
    "complete_topology",
    "load_site",
    "node_topology",
    "recognised",
    "site_names",
]

logger = logging.getLogger(__name__)


def site_names() -> tuple[str, ...]:
    """Return the names of all sites that are described."""
    here = [entry.name for entry in resources.files(__name__).iterdir()]
    own = [path.name for path in overlay_folder().glob("*.toml")]
    return tuple(
        sorted({name.removesuffix(".toml") for name in (*here, *own) if name.endswith(".toml")})
    )


def overlay_folder() -> Path:
    """Return the folder of the user's own sites, which need not be there."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "jobqueue-sites"


def load_site(name: str) -> Site:
    """Return the description of a site.

    Raises
    ------
    SettingsError
        There is none, or it cannot be read.
    """
    names = site_names()
    if name not in names:
        raise SettingsError(f"site {name!r} is not described; there are: {', '.join(names)}")
    data: dict[str, Any] = {}
    ours = resources.files(__name__) / f"{name}.toml"
    if ours.is_file():
        data = _parsed(ours.read_text(encoding="utf-8"), f"{name}.toml")
    own = overlay_folder() / f"{name}.toml"
    where = f"{name}.toml"
    if own.is_file():
        where = str(own)
        data = _merged(data, _parsed(_text(own), where))
    return _site_from(data, name, where)


def node_topology(site: str | Site, node_type: str | None = None) -> Topology:
    """Return the topology of a site's nodes, as a job of a whole node sees it.

    `node_type` need not be given where there is one only.
    """
    described = load_site(site) if isinstance(site, str) else site
    _, node = described.node(node_type)
    return node.topology(hostname=described.name)


def complete_topology(
    topology: Topology, site: str | Site, node_type: str | None = None
) -> Topology:
    """Return a node's own topology with what only its site's description tells.

    Reserved CPUs are added. The CPUs near an accelerator are taken from the description where the node
    does not know them, or knows them less exactly. That needs all accelerators of the node: a job that
    has some of them may count them anew.
    """
    described = node_topology(site, node_type)
    gpus = topology.gpus
    if len(gpus) == len(described.gpus):
        table = {(gpu.vendor, gpu.name): gpu for gpu in described.gpus}
        gpus = tuple(
            _more_exact(topology, gpu, table.get((gpu.vendor, gpu.name))) for gpu in topology.gpus
        )
    return dataclasses.replace(topology, gpus=gpus, reserved=topology.reserved | described.reserved)


def _more_exact(topology: Topology, gpu: Gpu, told: Gpu | None) -> Gpu:
    """Return an accelerator with the CPUs that a site tells, unless they contradict the node."""
    if told is None:
        return gpu
    near, near_as_told = topology.near(gpu), topology.near(told)
    if near and not near_as_told < near:
        return gpu
    return dataclasses.replace(gpu, numa=told.numa, cpus=told.cpus)


def recognised(topology: Topology) -> Topology:
    """Return a node's own topology, completed if it is a node of a site that is described.

    It is one if its name says so, and it has the sockets and CPUs of one of the site's node types.
    """
    for name in site_names():
        try:
            site = load_site(name)
        except SettingsError as error:  # a user's file about some other machine
            logger.warning("%s", error)
            continue
        if not site.has(topology.hostname):
            continue
        completed = {
            complete_topology(topology, site, kind)
            for kind, node in site.nodes.items()
            if _shape(node.topology()) == _shape(topology)
        }
        if len(completed) == 1:
            return completed.pop()
    return topology


def _shape(topology: Topology) -> tuple[int, int]:
    return len(topology.cpus), len({cpu.socket for cpu in topology.cpus})


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: this is no TOML: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        result[key] = _merged(old, value) if both and isinstance(old, dict) else value
    return result


def _site_from(data: Mapping[str, Any], name: str, where: str) -> Site:
    nodes = data.get("nodes", {})
    if not isinstance(nodes, dict) or not all(isinstance(node, dict) for node in nodes.values()):
        raise SettingsError(f"{where}: nodes must be tables, such as [nodes.gpu]")
    values = {**data, "name": name, "sources": tuple(data.get("sources", ()))}
    _check_keys(values, Site, where)
    if "name" in data:
        raise SettingsError(f"{where}: the name of a site is that of its file")
    kinds = {kind: _node_from(node, f"{where}: nodes.{kind}") for kind, node in nodes.items()}
    try:
        return Site(**{**values, "nodes": kinds})
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


def _node_from(data: Mapping[str, Any], where: str) -> NodeType:
    _check_keys(data, NodeType, where)
    missing = {"sockets", "cores"} - set(data)
    if missing:
        raise SettingsError(f"{where}: {', '.join(sorted(missing))} must be given")
    try:
        return NodeType(**{**data, "inferred": tuple(data.get("inferred", ()))})
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


def _check_keys(data: Mapping[str, Any], kind: type[Site | NodeType], where: str) -> None:
    known = [known.name for known in dataclasses.fields(kind) if known.name != "name"]
    if unknown := sorted(set(data) - {*known, "name"}):
        raise SettingsError(f"{where}: unknown key {unknown[0]!r}; it may have {', '.join(known)}")
