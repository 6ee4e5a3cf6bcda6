"""Providers and launchers from tables of a TOML file: ``kind`` names the class, the rest its settings.

``kind = "slurm"`` is `SlurmProvider`, ``kind = "mpiexec"`` is `MpiExecLauncher`, and so on.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobqueue_sites import launchers, providers
from jobqueue_sites.errors import SettingsError
from jobqueue_sites.launchers import Launcher
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.providers.base import Provider
from jobqueue_sites.settings import ClusterSettings


def provider_from(table: Any, where: str = "provider") -> Provider:
    """Return the provider that a table describes; its launcher may be a table too, or just a kind.

    Raises
    ------
    SettingsError
        The kind or a setting is unknown, or a setting cannot work.
    """
    cls, settings = _kind_and_settings(table, providers, "Provider", where)
    if "launcher" in settings:
        settings["launcher"] = launcher_from(settings["launcher"], f"{where}.launcher")
    made: Provider = _made(cls, settings, where)
    return made


def launcher_from(table: Any, where: str = "launcher") -> Launcher:
    """Return the launcher that a table, or the name of its kind alone, describes.

    Raises
    ------
    SettingsError
        The kind or a setting is unknown, or a setting cannot work.
    """
    if isinstance(table, str):
        table = {"kind": table}
    cls, settings = _kind_and_settings(table, launchers, "Launcher", where)
    made: Launcher = _made(cls, settings, where)
    return made


def clusters_from(path: Path) -> list[tuple[str, Provider, ClusterSettings]]:
    """Return the name, provider and settings of each cluster that a TOML file describes.

    Raises
    ------
    SettingsError
        The file cannot be read, or describes none, or what cannot work.
    """
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {error}") from error
    if "provider" in read:
        provider = provider_from(read["provider"], "[provider]")
        settings: ClusterSettings = _made(ClusterSettings, read.get("cluster", {}), "[cluster]")
        _made(NodeLayout, read.get("layout", {}), "[layout]")
        return [(settings.name, provider, settings)]
    found = []
    for table in read.get("executors", []):
        if isinstance(table, dict) and "provider" in table:
            name = str(table.get("label", "blocks"))
            provider = provider_from(table["provider"], "[executors.provider]")
            if "launcher" in table:
                launcher = launcher_from(table["launcher"], "[executors.launcher]")
                provider = dataclasses.replace(provider, launcher=launcher)
            chosen = {"python": table["python"]} if "python" in table else {}
            found.append(
                (name, provider, ClusterSettings(name=name, directory="runinfo", **chosen))
            )
    if not found:
        raise SettingsError(f"{path}: has no table [provider], and no executor with one")
    return found


def kinds(module: Any, suffix: str) -> dict[str, type[Any]]:
    """Return the classes of a package that end in `suffix`, by what they are called without it."""
    names = [name for name in module.__all__ if name.endswith(suffix) and name != suffix]
    return {name.removesuffix(suffix).lower(): getattr(module, name) for name in names}


def _kind_and_settings(
    table: Any, module: Any, suffix: str, where: str
) -> tuple[type[Any], dict[str, Any]]:
    known = kinds(module, suffix)
    kind = table.get("kind") if isinstance(table, Mapping) else None
    if kind not in known:
        allowed = ", ".join(map(repr, known))
        if not isinstance(table, Mapping):
            raise SettingsError(
                f"{where} = {table!r}: must be a table with a kind: one of {allowed}"
            )
        raise SettingsError(f"{where}: kind = {kind!r}: must be one of {allowed}")
    return known[kind], {name: value for name, value in table.items() if name != "kind"}


def _made(cls: type[Any], settings: Mapping[str, Any], where: str) -> Any:
    allowed = sorted(field.name for field in dataclasses.fields(cls))
    for name in settings:
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, 1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise SettingsError(
                f"{where}: unknown key {name!r}{hint}; allowed are {', '.join(allowed)}"
            )
    return cls(**settings)
