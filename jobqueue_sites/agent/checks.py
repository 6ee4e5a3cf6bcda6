"""What must hold on a node before workers start: its versions are those of the client."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata, util

PACKAGES = ("dask", "distributed", "cloudpickle", "msgpack", "toolz", "daskflow")
"""Whose versions must be those of the client; jobqueue_sites comes with daskflow."""


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of `packages` in this process."""
    found = {"Python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            # It may run from its source, as developers have it.
            found[package] = "no version" if util.find_spec(package) else "missing"
    return found


def differences(wanted: Mapping[str, str], host: str) -> str:
    """Say in what this node differs from the client; "" if it does not.

    Of Python, the minor version must be the same; of packages, the whole version.
    """
    here = versions(name for name in wanted if name != "Python")
    different = [
        f"{name} {here[name]} (the client has {theirs})"
        for name, theirs in wanted.items()
        if _key(name, here[name]) != _key(name, theirs)
    ]
    if not different:
        return ""
    return (
        f"{host} has other versions than the client: {', '.join(different)}. Workers need the same "
        "Python minor version and the same packages: let worker_init activate the client's environment"
    )


def _key(name: str, version: str) -> str:
    return ".".join(version.split(".")[:2]) if name == "Python" else version
