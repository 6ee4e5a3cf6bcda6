"""What must hold on a node before workers start: the scheduler is in reach, versions are the same."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata, util
from urllib.parse import urlsplit

_RETRY_S = 0.5
_ATTEMPT_S = 5.0
PACKAGES = ("dask", "distributed", "cloudpickle", "msgpack", "toolz")
"""Whose versions must be those of the client."""


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


async def first_in_reach(
    addresses: Sequence[str], host: str, timeout_s: float
) -> tuple[str | None, str]:
    """Try all addresses of the scheduler, for `timeout_s`.

    Returns the first that answers, or None and why.
    """
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + timeout_s
    while True:
        answers = await asyncio.gather(*(_trouble(address, timeout_s) for address in addresses))
        for address, trouble in zip(addresses, answers, strict=True):
            if not trouble:
                return address, ""
        if loop.time() >= give_up_s:
            break
        await asyncio.sleep(_RETRY_S)
    tried = ", ".join(f"{a} ({why})" for a, why in zip(addresses, answers, strict=True))
    return None, (
        f"{host} cannot reach the scheduler at {tried}, tried for {timeout_s:g} s. Choose an address "
        "that compute nodes can reach with interface=... or host=..., and see that no firewall is "
        "between"
    )


async def _trouble(address: str, timeout_s: float) -> str:
    """Return what keeps this node from `address`; "" if nothing does."""
    where = urlsplit(address)
    try:
        _, writer = await asyncio.wait_for(
            asyncio.open_connection(where.hostname, where.port), min(_ATTEMPT_S, timeout_s)
        )
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return ""
