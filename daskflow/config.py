"""Config: the settings of a kernel; frozen, checked when made, also read from TOML."""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from daskflow.errors import ConfigurationError
from daskflow.executors import ExistingExecutor, LocalExecutor, ThreadExecutor
from daskflow.executors.base import Executor
from daskflow.graph.call import check_batch
from daskflow.retries import Retry, as_retry
from jobqueue_sites.errors import SettingsError

_EXECUTOR_KINDS: dict[str, type[Any]] = {"threads": ThreadExecutor, "local": LocalExecutor}
_CHOICES = {"submit": ("lazy", "eager"), "exit_mode": ("wait", "cancel")}
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", None)


def _batch_from_environment() -> bool | int:
    text = os.environ.get("DASKFLOW_BATCH", "on").lower()
    if text in ("on", "off"):
        return text == "on"
    if text.isdigit():
        return int(text)
    raise ConfigurationError(f"DASKFLOW_BATCH={text!r}: must be 'on', 'off' or a number of calls")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of a kernel.

    Parameters
    ----------
    executors
        Where calls run; each with a label of its own.
    retries
        Further tries of failed calls whose app does not say (an int or a `Retry`).
    retry_handler
        ``retry_handler(exception, call) -> cost``: what a failure costs; a call is tried again while
        the sum of its costs is at most ``retries``. If it raises, its exception is the call's.
    submit
        ``"lazy"``: calls run on demand, all that were recorded together. ``"eager"``: within
        milliseconds.
    submit_every
        Recorded calls are submitted at the latest when there are this many.
    max_in_flight
        How many Dask tasks may be on the scheduler at once; further calls wait in this process.
    batch
        Whether several calls may share one Dask task: True (as their learned cost suggests), False,
        or how many. Apps may say otherwise. The default is True, or what the environment variable
        ``DASKFLOW_BATCH`` says (``off``, or a number).
    exit_mode
        What leaving ``with load(...)`` does with calls that have not ended: ``"wait"`` runs them all,
        ``"cancel"`` drops those that have not started.
    run_dir
        Folder for logs; each kernel makes a numbered folder in it.
    log_level
        Level of ``daskflow.log`` in that folder; None: no log.
    encrypted
        Encrypt and authenticate all communication with certificates made for this run.
    dashboard
        Show Dask's dashboard on loopback.
    """

    executors: Sequence[Executor] = field(default_factory=lambda: (LocalExecutor(),))
    retries: int | Retry = 0
    retry_handler: Callable[[BaseException, Any], float] | None = None
    submit: str = "lazy"
    submit_every: int = 10_000
    max_in_flight: int = 5_000
    batch: bool | int = field(default_factory=_batch_from_environment)
    exit_mode: str = "wait"
    run_dir: str = "runinfo"
    log_level: str | None = "INFO"
    encrypted: bool = True
    dashboard: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "executors", _checked_executors(self.executors))
        as_retry(self.retries)
        check_batch(self.batch)
        if self.retry_handler is not None and not callable(self.retry_handler):
            raise ConfigurationError(f"retry_handler={self.retry_handler!r}: must be a function")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ConfigurationError(
                    f"{name}={getattr(self, name)!r}: must be one of {', '.join(map(repr, allowed))}"
                )
        if self.log_level not in _LOG_LEVELS:
            raise ConfigurationError(f"log_level={self.log_level!r}: must be one of {_LOG_LEVELS}")
        for name in ("submit_every", "max_in_flight"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}={value!r}: must be an int >= 1")
        for name in ("encrypted", "dashboard"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name}={getattr(self, name)!r}: must be True or False")
        folder: object = self.run_dir
        if not isinstance(folder, str | Path) or not str(folder):
            raise ConfigurationError(f"run_dir={folder!r}: must be the path of a folder")
        object.__setattr__(self, "run_dir", str(self.run_dir))

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a Config from a TOML file.

        Its keys are the parameters; executors are tables ``[[executors]]`` with ``kind = "local"``,
        ``"threads"``, ``"existing"`` or ``"blocks"`` and that class's parameters; provider and
        launcher are tables with a ``kind`` of their own (``"slurm"``, ``"srun"``). ``retries`` may be
        a table.

        Raises
        ------
        ConfigurationError
            The file is missing, no TOML, or has unknown keys or values.
        """
        try:
            settings = tomllib.loads(Path(path).read_text())
        except FileNotFoundError as error:
            raise ConfigurationError(f"config file {str(path)!r} does not exist") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise ConfigurationError(
                f"config file {str(path)!r} cannot be read: {error}"
            ) from error
        if "executors" in settings:
            settings["executors"] = _executors_from(settings["executors"])
        if isinstance(settings.get("retries"), dict):
            settings["retries"] = _made(Retry, "[retries]", settings["retries"])
        made: Self = _made(cls, f"config file {str(path)!r}", settings)
        return made


def _checked_executors(executors: Any) -> tuple[Executor, ...]:
    if isinstance(executors, Executor) or not isinstance(executors, Sequence) or not executors:
        raise ConfigurationError(
            f"executors={_brief(executors)}: must be a list of at least one executor"
        )
    for executor in executors:
        if not isinstance(executor, Executor):
            raise ConfigurationError(f"executors: {_brief(executor)} is no executor")
    labels = [executor.label for executor in executors]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigurationError(
                f"executors: label {label!r} is used {labels.count(label)} times"
            )
    if sum(isinstance(executor, ExistingExecutor) for executor in executors) > 1:
        raise ConfigurationError("executors: only one ExistingExecutor can bring the scheduler")
    return tuple(executors)


def _brief(value: object) -> str:
    """Return what names a value; settings are told from others by their class alone."""
    return f"{type(value).__name__}(...)" if dataclasses.is_dataclass(value) else repr(value)


def _executors_from(tables: Any) -> list[Any]:
    if not isinstance(tables, list):
        raise ConfigurationError(f"executors = {tables!r}: must be tables [[executors]]")
    return [_executor_from(table) for table in tables]


def _executor_from(table: Any) -> Any:
    kind = table.get("kind") if isinstance(table, dict) else None
    if kind == "existing":
        if "address" not in table:
            raise ConfigurationError("[[executors]] kind = 'existing': needs an address")
        settings = {k: v for k, v in table.items() if k not in ("kind", "address")}
        return _made(
            ExistingExecutor,
            "[[executors]]",
            {"client_or_cluster": table["address"], **settings},
        )
    if kind == "blocks":
        return _block_executor_from({k: v for k, v in table.items() if k != "kind"})
    if kind not in _EXECUTOR_KINDS:
        allowed = ", ".join(map(repr, [*_EXECUTOR_KINDS, "blocks", "existing"]))
        raise ConfigurationError(
            f"[[executors]] kind = {kind!r}: must be one of {allowed}; batch systems are the kinds of "
            "[executors.provider], in one of kind 'blocks'"
        )
    return _made(
        _EXECUTOR_KINDS[kind], "[[executors]]", {k: v for k, v in table.items() if k != "kind"}
    )


def _block_executor_from(settings: dict[str, Any]) -> Any:
    from daskflow.executors import BlockExecutor  # imports jobqueue_sites
    from jobqueue_sites.reading import launcher_from, provider_from  # all batch systems

    where = "[[executors]] kind = 'blocks'"
    if "provider" not in settings:
        raise ConfigurationError(f"{where}: needs a table [executors.provider]")
    try:
        settings["provider"] = provider_from(settings["provider"], "[executors.provider]")
        if "launcher" in settings:
            settings["launcher"] = launcher_from(settings["launcher"], "[executors.launcher]")
    except SettingsError as error:
        raise ConfigurationError(str(error)) from error
    return _made(BlockExecutor, where, settings)


def _made(cls: type[Any], where: str, settings: dict[str, Any]) -> Any:
    allowed = {f.name for f in dataclasses.fields(cls)}
    for name in settings:
        if name not in allowed:
            close = difflib.get_close_matches(name, allowed, 1)
            hint = f" (did you mean {close[0]!r}?)" if close else ""
            raise ConfigurationError(
                f"{where}: unknown key {name!r}{hint}; allowed are {', '.join(sorted(allowed))}"
            )
    return cls(**settings)
