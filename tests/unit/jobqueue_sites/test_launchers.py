"""The text that starts agents: whole against golden files, and what settings do to it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobqueue_sites import (
    AprunLauncher,
    GnuParallelLauncher,
    JsrunLauncher,
    MpiExecLauncher,
    MpiRunLauncher,
    SettingsError,
    SimpleLauncher,
    SingleNodeLauncher,
    SlurmProvider,
    SrunLauncher,
    SrunMPILauncher,
    SshLauncher,
    WrappedLauncher,
)
from jobqueue_sites.launchers import Launch, Launcher
from tests.golden.compare import assert_golden

AGENT = ("/env/bin/python", "-m", "agent", "it's")
LAUNCH = Launch(
    agent=AGENT,
    nodes=2,
    worker_init="module load conda\nconda activate 'my env'",
    cores_per_node=64,
    node_names='cat "$PBS_NODEFILE"',
)

LAUNCHERS: dict[str, Launcher] = {
    "single-node": SingleNodeLauncher(),
    "simple": SimpleLauncher(),
    "wrapped": WrappedLauncher(prepend="apptainer exec image.sif"),
    "srun": SrunLauncher(overrides="--label"),
    "srun-mpi": SrunMPILauncher(),
    "mpiexec-pals": MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1"),
    "mpiexec-openmpi": MpiExecLauncher(spelling="openmpi"),
    "mpiexec-hydra": MpiExecLauncher(spelling="hydra", command="mpiexec.mpich"),
    "mpiexec-asked": MpiExecLauncher(),
    "mpirun": MpiRunLauncher(overrides="--mca plm_rsh_agent ssh"),
    "aprun": AprunLauncher(),
    "jsrun": JsrunLauncher(),
    "ssh": SshLauncher(overrides="-o StrictHostKeyChecking=no"),
    "gnu-parallel": GnuParallelLauncher(overrides="--joblog agents.log"),
}


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_line_is_as_it_was_approved(name: str) -> None:
    assert_golden(f"launchers/{name}.sh", LAUNCHERS[name].line(LAUNCH) + "\n")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_a_line_can_be_read_by_bash(name: str) -> None:
    text = LAUNCHERS[name].line(LAUNCH)
    done = subprocess.run(["bash", "-n", "-c", text], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_agent_is_one_command_whatever_is_in_its_words(name: str) -> None:
    assert shlex.join(AGENT) in LAUNCHERS[name].line(LAUNCH)


def test_on_one_node_the_agent_is_started_as_it_is() -> None:
    one = Launch(agent=AGENT, nodes=1)
    assert SingleNodeLauncher().line(one) == shlex.join(AGENT)
    assert SimpleLauncher().line(one) == shlex.join(AGENT)


# ------------------------------------------------------------------ srun


def test_of_an_option_that_is_there_twice_the_users_comes_last() -> None:
    words = shlex.split(SrunLauncher(overrides="--cpu-bind=cores").line(LAUNCH))
    assert words.index("--cpu-bind=cores") > words.index("--cpu-bind=none")
    assert words.index("--cpu-bind=cores") < words.index("/env/bin/python")


# ------------------------------------------------------------------ mpiexec


def mpi_line(overrides: str, **settings: Any) -> str:
    text = MpiExecLauncher(overrides=overrides, **settings).line(LAUNCH)
    return next(line for line in text.splitlines() if line.startswith("mpiexec"))


@pytest.mark.parametrize(
    ("spelling", "overrides", "dropped"),
    [
        ("openmpi", "-npernode 1", "--map-by"),
        ("openmpi", "--npernode=1", "--map-by"),
        ("openmpi", "-N 1", "--map-by"),
        ("openmpi", "--map-by ppr:1:node:PE=4", "--map-by ppr:1:node "),
        ("openmpi", "--bind-to core", "--bind-to none"),
        ("openmpi", "--hostfile hosts", "$hostfile"),
        ("hydra", "-ppn 1", "-ppn 1 -disable"),
        ("hydra", "-f hosts", "$hostfile"),
        ("pals", "--ppn=1", "--ppn 1"),
        ("pals", "--cpu-bind depth", "--cpu-bind none"),
    ],
)
def test_what_the_user_says_takes_the_place_of_the_launchers_own(
    spelling: str, overrides: str, dropped: str
) -> None:
    line = mpi_line(overrides, spelling=spelling)
    assert overrides in line
    assert dropped not in line.replace(overrides, "")


@pytest.mark.parametrize("overrides", ["--ppn 4", "-npernode=2", "-N 8", "-perhost 2"])
def test_more_than_one_agent_on_a_node_is_refused(overrides: str) -> None:
    with pytest.raises(SettingsError, match="must be 1 process on a node"):
        MpiExecLauncher(overrides=overrides)


@pytest.mark.parametrize("overrides", ["-n 4", "-np 4", "--np=4"])
def test_a_count_of_processes_is_refused(overrides: str) -> None:
    with pytest.raises(SettingsError, match="is nodes_per_block"):
        MpiExecLauncher(overrides=overrides)


def test_an_mpiexec_without_binding_is_given_none() -> None:
    assert "bind" not in mpi_line("", bind_cmd="", spelling="hydra")


def test_where_the_batch_system_names_no_nodes_mpiexec_finds_them() -> None:
    assert "hostfile" not in MpiExecLauncher().line(Launch(agent=AGENT, nodes=2))


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("mpiexec (OpenRTE) 4.1.4", "--bind-to none --map-by ppr:1:node -n 2"),
        ("mpiexec (Open MPI) 5.0.11", "--bind-to none --map-by ppr:1:node -n 2"),
        ("HYDRA build details:", "--bind-to none -ppn 1 -disable-auto-cleanup -n 2"),
    ],
)
def test_an_mpiexec_is_asked_for_its_kind(version: str, options: str, tmp_path: Path) -> None:
    program = tmp_path / "mpiexec"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" || echo "$@"\n')
    program.chmod(0o755)
    launcher = MpiExecLauncher(command=str(program))
    line = launcher.line(Launch(agent=("agent",), nodes=2))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout == f"{options} agent\n"


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SrunLauncher(overrides="a\nb"), "overrides='a\\nb': must be one line"),
        (lambda: SrunLauncher(overrides="--ntasks-per-node=4"), "must be 1 process on a node"),
        (lambda: SrunMPILauncher(overrides="-N 2"), "(2) is nodes_per_block"),
        (lambda: SrunMPILauncher(overrides=3), "overrides=3: must be one line"),  # type: ignore[arg-type]
        (lambda: SshLauncher(overrides="-o 'x"), "No closing quotation"),
        (lambda: WrappedLauncher(prepend=" "), "must be a command"),
        (lambda: MpiExecLauncher(bind_cmd="bind none"), "must be an option"),
        (lambda: MpiExecLauncher(spelling="intel"), "'openmpi', 'hydra', 'pals' or None"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_refused(make: Any, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make()
    assert words in str(caught.value)


@pytest.mark.parametrize("launcher", [SingleNodeLauncher(), SimpleLauncher()])
def test_a_launcher_of_one_node_is_refused_for_several(launcher: Launcher) -> None:
    with pytest.raises(SettingsError, match="starts an agent on the first node only"):
        SlurmProvider(nodes_per_block=2, launcher=launcher)
    with pytest.raises(SettingsError, match=r"provider's launcher"):
        SlurmProvider(nodes_per_block=2)
    assert SlurmProvider(nodes_per_block=1, launcher=launcher).launcher is launcher


def test_a_launcher_that_needs_names_says_so_where_there_are_none() -> None:
    with pytest.raises(SettingsError, match="goes to each node by its name"):
        SshLauncher().line(Launch(agent=AGENT, nodes=2))
