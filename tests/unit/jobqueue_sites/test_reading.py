"""Providers, launchers and clusters from TOML, and the script that would be submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskflow import BlockExecutor, Config, ConfigurationError
from jobqueue_sites import MpiExecLauncher, PBSProvider, SettingsError, SlurmProvider, SrunLauncher
from jobqueue_sites.cli import _run
from jobqueue_sites.reading import clusters_from, launcher_from, provider_from

POLARIS = """
retries = 1

[[executors]]
kind = "blocks"
label = "polaris"
available_accelerators = 4
cpu_affinity = "alternating"

[executors.provider]
kind = "pbs"
account = "project"
queue = "prod"
walltime = "01:00:00"
nodes_per_block = 128
cpus_per_node = 64
worker_init = "module load conda; conda activate env"
select_options = "ngpus=4"
scheduler_options = "#PBS -l filesystems=home:eagle"

[executors.provider.launcher]
kind = "mpiexec"
bind_cmd = "--cpu-bind"
overrides = "--depth=64 --ppn 1"
"""


def test_a_table_is_the_same_as_the_object() -> None:
    table = {"kind": "slurm", "partition": "main", "nodes_per_block": 2, "launcher": "srun"}
    made = SlurmProvider(partition="main", nodes_per_block=2, launcher=SrunLauncher())
    assert provider_from(table) == made
    assert launcher_from({"kind": "mpiexec", "overrides": "-x"}) == MpiExecLauncher(overrides="-x")


def test_the_configuration_of_parsls_front_page_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "polaris.toml"
    file.write_text(POLARIS)
    provider = PBSProvider(
        account="project",
        queue="prod",
        walltime="01:00:00",
        nodes_per_block=128,
        cpus_per_node=64,
        worker_init="module load conda; conda activate env",
        select_options="ngpus=4",
        scheduler_options="#PBS -l filesystems=home:eagle",
        launcher=MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1"),
    )
    executor = BlockExecutor(
        label="polaris", available_accelerators=4, cpu_affinity="alternating", provider=provider
    )
    assert Config.from_toml(file) == Config(retries=1, executors=[executor])


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"kind": "slrum"}, ["'slrum'", "'slurm'", "'pbs'", "'local'"]),
        ({}, ["None", "'slurm'"]),
        ({"kind": "slurm", "partitoin": "x"}, ["'partitoin'", "did you mean 'partition'"]),
        ({"kind": "slurm", "launcher": "srum"}, ["provider.launcher", "'srum'", "'srun'"]),
        ({"kind": "slurm", "walltime": "soon"}, ["walltime='soon'"]),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, str], named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        provider_from(table)
    for part in named:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("executor", "named"),
    [
        ("label = 'x'", ["needs a table [executors.provider]"]),
        ("provider = {kind = 'local'}\nworkers = 3", ["unknown key 'workers'"]),
        ("provider = {kind = 'lokal'}", ["[executors.provider]", "'lokal'"]),
        ("provider = {kind = 'local'}\ncpu_affinity = 'blocks'", ["executor", "'blocks'"]),
        ("provider = {kind = 'local'}\nstart_method = 'fork'", ["'fork'", "'spawn'"]),
    ],
)
def test_a_config_names_what_is_wrong_with_a_block_executor(
    tmp_path: Path, executor: str, named: list[str]
) -> None:
    file = tmp_path / "daskflow.toml"
    file.write_text(f"[[executors]]\nkind = 'blocks'\n{executor}\n")
    with pytest.raises(ConfigurationError) as caught:
        Config.from_toml(file)
    for part in named:
        assert part in str(caught.value)


def test_the_script_is_printed_to_the_letter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "polaris.toml"
    file.write_text(POLARIS)
    assert _run(["script", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "#PBS -l select=128:ncpus=64:ngpus=4\n" in printed
    assert printed.startswith("#!/bin/bash\n")


def test_a_file_for_a_plain_cluster_has_a_provider(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text("[provider]\nkind = 'slurm'\n[cluster]\nname = 'mine'\n")
    ((name, provider, settings),) = clusters_from(file)
    assert name == settings.name == "mine"
    assert provider == SlurmProvider()


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "has no table [provider]"), ("[provider", ""), ("[provider]\nkind = 'x'", "'x'")],
)
def test_a_file_that_describes_nothing_is_an_error_of_one_line(
    tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(text)
    assert _run(["script", str(file)]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
