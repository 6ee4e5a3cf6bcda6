"""Config: what is allowed, how a wrong value is named, and the same settings from TOML."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daskflow import (
    BlockExecutor,
    Config,
    ConfigurationError,
    ExistingExecutor,
    LocalExecutor,
    Retry,
    ThreadExecutor,
)
from jobqueue_sites import SlurmProvider


def test_a_config_is_frozen_and_takes_keywords_only() -> None:
    config = Config()
    with pytest.raises(AttributeError):
        config.submit = "eager"  # type: ignore[misc]
    with pytest.raises(TypeError):
        Config([LocalExecutor()])  # type: ignore[misc]


def test_equal_settings_make_equal_configs() -> None:
    assert Config(executors=[LocalExecutor(workers=2)]) == Config(
        executors=(LocalExecutor(workers=2),)
    )
    assert Config(retries=1) != Config(retries=2)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"submit": "now"}, ["submit='now'", "'lazy'", "'eager'"]),
        ({"submit": ["lazy"]}, ["submit=['lazy']"]),
        ({"exit_mode": "skip"}, ["exit_mode='skip'", "'wait'", "'cancel'"]),
        ({"log_level": "LOUD"}, ["log_level='LOUD'", "'INFO'"]),
        ({"submit_every": 0}, ["submit_every=0", ">= 1"]),
        ({"submit_every": 1.5}, ["submit_every=1.5"]),
        ({"submit_every": True}, ["submit_every=True"]),
        ({"max_in_flight": 0}, ["max_in_flight=0", ">= 1"]),
        ({"max_in_flight": "many"}, ["max_in_flight='many'"]),
        ({"encrypted": 1}, ["encrypted=1", "True or False"]),
        ({"dashboard": "yes"}, ["dashboard='yes'"]),
        ({"retries": -1}, ["retries=-1"]),
        ({"retries": "3"}, ["retries='3'"]),
        ({"retries": True}, ["retries=True"]),
        ({"retry_handler": 3}, ["retry_handler=3"]),
        ({"run_dir": 5}, ["run_dir=5"]),
        ({"run_dir": ""}, ["run_dir=''"]),
        ({"executors": []}, ["executors=[]"]),
        ({"executors": LocalExecutor(workers=1)}, ["executors=LocalExecutor(...): must be a list"]),
        ({"executors": [SlurmProvider()]}, ["SlurmProvider(...) is no executor"]),
        ({"executors": ["local"]}, ["'local'", "no executor"]),
        (
            {"executors": [LocalExecutor(workers=1), LocalExecutor(workers=2)]},
            ["label 'local'", "2 times"],
        ),
        (
            {
                "executors": [
                    ExistingExecutor("tcp://127.0.0.1:1"),
                    ExistingExecutor("tcp://127.0.0.1:2", label="other"),
                ]
            },
            ["only one ExistingExecutor"],
        ),
    ],
)
def test_a_bad_setting_is_named_with_its_value(settings: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config(**settings)
    for words in named:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: LocalExecutor(workers=0), "workers=0"),
        (lambda: LocalExecutor(workers=2.0), "workers=2.0"),  # type: ignore[arg-type]
        (lambda: LocalExecutor(threads_per_worker=0), "threads_per_worker=0"),
        (lambda: LocalExecutor(label=""), "label=''"),
        (lambda: LocalExecutor(label="all"), "label='all'"),
        (lambda: LocalExecutor(label=3), "label=3"),  # type: ignore[arg-type]
        (lambda: LocalExecutor(env={"A": 1}), "'A': 1"),  # type: ignore[dict-item]
        (lambda: LocalExecutor(env="A=1"), "env='A=1'"),  # type: ignore[arg-type]
        (lambda: LocalExecutor(on_start="import x"), "on_start='import x'"),  # type: ignore[arg-type]
        (lambda: LocalExecutor(memory_limit="much"), "memory_limit='much'"),
        (lambda: LocalExecutor(memory_limit=-1), "memory_limit=-1"),
        (lambda: LocalExecutor(resources={"GPU": -1}), "'GPU': -1"),
        (lambda: LocalExecutor(resources={"GPU": "one"}), "'GPU': 'one'"),  # type: ignore[dict-item]
        (lambda: LocalExecutor(resources=["GPU"]), "resources=['GPU']"),  # type: ignore[arg-type]
        (lambda: ThreadExecutor(max_threads=0), "max_threads=0"),
        (lambda: ThreadExecutor(label="all"), "label='all'"),
        (lambda: ThreadExecutor(resources={3: 1}), "3: 1"),  # type: ignore[dict-item]
        (lambda: ExistingExecutor(None), "ExistingExecutor(None)"),
        (lambda: ExistingExecutor(""), "ExistingExecutor('')"),
        (lambda: ExistingExecutor("tcp://127.0.0.1:1", label=""), "label=''"),
    ],
)
def test_a_bad_executor_setting_is_named_with_its_value(
    make: Callable[[], object], named: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert named in str(caught.value)


def toml(folder: Path, text: str) -> Path:
    path = folder / "site.toml"
    path.write_text(text)
    return path


def test_toml_says_everything_that_python_says_except_functions(tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        """
        submit = "eager"
        submit_every = 500
        max_in_flight = 70
        exit_mode = "cancel"
        run_dir = "logs"
        log_level = "DEBUG"
        encrypted = false
        dashboard = false

        [retries]
        attempts = 4
        backoff_s = 0.5
        jitter = 0.1
        max_backoff_s = 9.0

        [[executors]]
        kind = "local"
        label = "cpu"
        workers = 3
        threads_per_worker = 2
        memory_limit = "1 GiB"
        resources = { GPU = 1 }
        env = { OMP_NUM_THREADS = "1" }

        [[executors]]
        kind = "threads"
        max_threads = 5

        [[executors]]
        kind = "existing"
        address = "tcp://127.0.0.1:8786"
        label = "cluster"
        """,
    )
    assert Config.from_toml(path) == Config(
        executors=[
            LocalExecutor(
                label="cpu",
                workers=3,
                threads_per_worker=2,
                memory_limit="1 GiB",
                resources={"GPU": 1},
                env={"OMP_NUM_THREADS": "1"},
            ),
            ThreadExecutor(max_threads=5),
            ExistingExecutor("tcp://127.0.0.1:8786", label="cluster"),
        ],
        retries=Retry(attempts=4, backoff_s=0.5, jitter=0.1, max_backoff_s=9.0),
        submit="eager",
        submit_every=500,
        max_in_flight=70,
        exit_mode="cancel",
        run_dir="logs",
        log_level="DEBUG",
        encrypted=False,
        dashboard=False,
    )


def test_an_empty_toml_file_is_the_default_config(tmp_path: Path) -> None:
    assert Config.from_toml(toml(tmp_path, "")) == Config()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("worker = 3", ["site.toml", "unknown key 'worker'", "executors"]),
        ("submit = 'now'", ["submit='now'"]),
        ("retry_handler = 'f'", ["retry_handler='f'"]),
        ("[retries]\ntries = 3", ["[retries]", "unknown key 'tries'", "attempts"]),
        ("[retries]\nattempts = 0", ["attempts=0"]),
        ("executors = 3", ["executors"]),
        ("executors = [3]", ["kind"]),
        ("[[executors]]\nworkers = 3", ["kind = None", "'local'", "'threads'", "'existing'"]),
        ("[[executors]]\nkind = 'slurm'", ["kind = 'slurm'", "'existing'"]),
        ("[[executors]]\nkind = 'local'\ncores = 3", ["unknown key 'cores'", "workers"]),
        ("[[executors]]\nkind = 'local'\nworkers = 0", ["workers=0"]),
        ("[[executors]]\nkind = 'existing'", ["address"]),
        ("submit = ", ["site.toml", "cannot be read"]),
    ],
)
def test_a_wrong_toml_file_is_an_error_that_names_what_is_wrong(
    tmp_path: Path, text: str, named: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Config.from_toml(toml(tmp_path, text))
    for words in named:
        assert words in str(caught.value)


def test_a_config_file_that_is_missing_or_no_text_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        Config.from_toml(tmp_path / "nowhere.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Config.from_toml(tmp_path / "binary.toml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Config.from_toml(tmp_path)


@pytest.mark.parametrize(
    ("settings", "offers"),
    [
        ({}, {}),
        ({"cpu_affinity": "block"}, {"cores": math.inf}),
        ({"available_accelerators": 4}, {"GPU": 1}),
        ({"available_accelerators": "auto", "resources": {"licence": 2}}, {"GPU": 1, "licence": 2}),
        ({"available_accelerators": ["0,1", "2"]}, {"GPU": 2}),
    ],
)
def test_a_block_executor_knows_what_its_workers_will_have(
    settings: dict[str, Any], offers: dict[str, float]
) -> None:
    assert BlockExecutor(provider=SlurmProvider(), **settings).offers == offers
