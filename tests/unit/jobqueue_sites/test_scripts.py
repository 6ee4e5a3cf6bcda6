"""The scripts of jobs: whole ones against golden files, and line by line against settings and facts."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobqueue_sites import (
    GnuParallelLauncher,
    GridEngineProvider,
    HTCondorProvider,
    JsrunLauncher,
    LocalProvider,
    LSFProvider,
    MpiExecLauncher,
    OARProvider,
    PBSProvider,
    Provider,
    SettingsError,
    SlurmProvider,
    SrunLauncher,
    SshLauncher,
    TorqueProvider,
)
from jobqueue_sites.providers import BlockJob
from tests.golden.compare import assert_golden

JOB = BlockJob(
    name="gpu-0",
    agent=(
        "/env/bin/python",
        "-m",
        "jobqueue_sites.agent",
        "tls://10.0.0.1:8786",
        "--name",
        "gpu-0",
    ),
    stdout="/home/user/run/gpu-0.out",
    stderr="/home/user/run/gpu-0.err",
)

# Parsl's front page.
POLARIS_OF_PARSL = PBSProvider(
    account="project",
    queue="prod",
    walltime="01:00:00",
    nodes_per_block=128,
    cpus_per_node=64,
    max_blocks=1,
    worker_init="module load conda; conda activate env",
    select_options="ngpus=4",
    scheduler_options="#PBS -l filesystems=home:eagle",
    launcher=MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1"),
)

PROVIDERS: dict[str, Provider] = {
    "slurm-least": SlurmProvider(),
    "slurm-gpus": SlurmProvider(
        partition="main",
        nodes_per_block=2,
        gpus_per_node=2,
        cores_per_node=2,
        walltime="00:10:00",
        max_blocks=2,
        launcher=SrunLauncher(),
    ),
    "slurm-all": SlurmProvider(
        partition="gpu,long",
        account="project 7",
        qos="high",
        constraint="a100&nvme",
        clusters="east",
        nodes_per_block=3,
        cores_per_node=64,
        mem_per_node=1.5,
        gpus_per_node=4,
        gres="nvme:1",
        exclusive=False,
        walltime="1-00:00:30",
        scheduler_options="#SBATCH --mail-type=END\n--reservation=week\n# for the workshop",
        worker_init="module load conda\nconda activate env",
        launcher=SrunLauncher(overrides="--network=single_node_vni"),
    ),
    "perlmutter": SlurmProvider(
        account="m1234_g",
        qos="regular",
        constraint="gpu",
        nodes_per_block=4,
        cores_per_node=128,
        gpus_per_node=4,
        walltime="02:00:00",
        launcher=SrunLauncher(),
    ),
    "frontier": SlurmProvider(
        account="ABC123",
        partition="batch",
        nodes_per_block=8,
        cores_per_node=56,
        gpus_per_node=8,
        walltime="02:00:00",
        scheduler_options="#SBATCH -S 8",
        launcher=SrunLauncher(),
    ),
    "delta": SlurmProvider(
        account="abcd-delta-gpu",
        partition="gpuA100x4",
        constraint="scratch",
        nodes_per_block=2,
        gpus_per_node=4,
        walltime="00:30:00",
        scheduler_options="--mem=0",
        launcher=SrunLauncher(),
    ),
    "pbs-least": PBSProvider(),
    "polaris-of-parsl": POLARIS_OF_PARSL,
    "polaris": PBSProvider(
        account="project",
        queue="debug",
        walltime="01:00:00",
        nodes_per_block=2,
        cpus_per_node=64,
        select_options="system=polaris",
        scheduler_options="#PBS -l filesystems=home:eagle",
        launcher=MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=64"),
    ),
    "aurora": PBSProvider(
        account="project",
        queue="prod",
        walltime="06:00:00",
        nodes_per_block=256,
        scheduler_options="#PBS -l filesystems=home:flare",
        launcher=MpiExecLauncher(bind_cmd="--cpu-bind"),
    ),
    "pbs-ssh": PBSProvider(
        nodes_per_block=2,
        mem_per_node=4,
        place="scatter:excl",
        worker_init="source ~/env/bin/activate",
        scheduler_options="-m ae\n-M me@example.org",
        launcher=SshLauncher(),
    ),
    "torque": TorqueProvider(
        account="project",
        queue="batch",
        nodes_per_block=2,
        cpus_per_node=16,
        mem_per_node=8,
        walltime="12:00:00",
        launcher=GnuParallelLauncher(),
    ),
    "lsf-nodes": LSFProvider(
        project="ABC123",
        queue="batch",
        nodes_per_block=2,
        walltime="01:00:30",
        scheduler_options='-alloc_flags "gpumps smt4"',
        launcher=JsrunLauncher(),
    ),
    "lsf-slots": LSFProvider(
        request_by_nodes=False,
        nodes_per_block=2,
        cores_per_node=16,
        mem_per_node=32,
        launcher=SshLauncher(),
    ),
    "gridengine": GridEngineProvider(
        queue="all.q",
        project="project",
        parallel_environment="mpi-8",
        nodes_per_block=2,
        cores_per_node=8,
        scheduler_options="#$ -l h_vmem=4G",
        launcher=SshLauncher(),
    ),
    "oar": OARProvider(
        queue="production",
        project="project",
        nodes_per_block=2,
        cores_per_node=8,
        scheduler_options="-t allow_classic_ssh",
        launcher=SshLauncher(),
    ),
    "htcondor": HTCondorProvider(
        project="group.project",
        cores_per_node=4,
        mem_per_node=8,
        gpus_per_node=1,
        requirements='OpSysAndVer == "Debian12"',
        scheduler_options="+WantGPULab = true\n#CONDOR nice_user = false",
    ),
    "local": LocalProvider(worker_init="source env/bin/activate"),
    "local-nodes": LocalProvider(nodes_per_block=3, walltime="01:00:00", kill_after=5),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_script_is_as_it_was_approved(name: str) -> None:
    assert_golden(f"scripts/{name}.sh", PROVIDERS[name].script(JOB))


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_script_can_be_read_by_bash(name: str, tmp_path: Path) -> None:
    path = tmp_path / "script.sh"
    path.write_text(PROVIDERS[name].script(JOB))
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# ------------------------------------------------------------------ each line comes from a setting


def added(provider: Provider, **settings: Any) -> set[str]:
    """Which lines a setting adds."""
    kind = type(provider)
    return set(kind(**settings).script(JOB).splitlines()) - set(provider.script(JOB).splitlines())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"partition": "main"}, "#SBATCH --partition=main"),
        ({"account": "a b"}, "#SBATCH --account='a b'"),
        ({"qos": "high"}, "#SBATCH --qos=high"),
        ({"constraint": "gpu&hbm80g"}, "#SBATCH --constraint='gpu&hbm80g'"),
        ({"clusters": "east"}, "#SBATCH --clusters=east"),
        ({"cores_per_node": 8}, "#SBATCH --cpus-per-task=8"),
        ({"mem_per_node": 4}, "#SBATCH --mem=4G"),
        ({"mem_per_node": 0.5}, "#SBATCH --mem=512M"),
        ({"mem_per_node": 1.0001}, "#SBATCH --mem=1025M"),
        ({"gpus_per_node": 4}, "#SBATCH --gpus-per-node=4"),
        ({"gres": "gpu:a100:4"}, "#SBATCH --gres=gpu:a100:4"),
        ({"walltime": "01:00:01"}, "#SBATCH --time=01:00:01"),
        ({"walltime": "2-00:00:00"}, "#SBATCH --time=48:00:00"),
        ({"scheduler_options": "-S 8"}, "#SBATCH -S 8"),
        ({"scheduler_options": "#SBATCH -S 8\n\n"}, "#SBATCH -S 8"),
    ],
)
def test_a_setting_of_slurm_adds_its_line(settings: dict[str, Any], line: str) -> None:
    assert added(SlurmProvider(), **settings) == {line}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"account": "project"}, "#PBS -A project"),
        ({"queue": "prod"}, "#PBS -q prod"),
        ({"cpus_per_node": 64}, "#PBS -l select=1:ncpus=64"),
        ({"cores_per_node": 64}, "#PBS -l select=1:ncpus=64"),
        ({"mem_per_node": 4}, "#PBS -l select=1:mem=4gb"),
        ({"select_options": "ngpus=4"}, "#PBS -l select=1:ngpus=4"),
        ({"select_options": ":ngpus=4:a=b"}, "#PBS -l select=1:ngpus=4:a=b"),
        ({"place": "scatter:excl"}, "#PBS -l place=scatter:excl"),
        ({"walltime": "01:00:01"}, "#PBS -l walltime=01:00:01"),
        ({"scheduler_options": "-l filesystems=home"}, "#PBS -l filesystems=home"),
        ({"scheduler_options": "#PBS -m ae"}, "#PBS -m ae"),
    ],
)
def test_a_setting_of_pbs_adds_its_line(settings: dict[str, Any], line: str) -> None:
    assert added(PBSProvider(), **settings) == {line}


def test_what_the_user_says_of_pbs_takes_the_place_of_a_default() -> None:
    lines = PBSProvider(scheduler_options="-m ae\n-k n\n-r y").script(JOB).splitlines()
    assert [line for line in lines if line.startswith(("#PBS -m", "#PBS -k", "#PBS -r"))] == [
        "#PBS -m ae",
        "#PBS -k n",
        "#PBS -r y",
    ]


def test_one_setting_has_two_names_where_parsl_has_another() -> None:
    assert PBSProvider(cpus_per_node=64).cores_per_node == 64
    assert PBSProvider(cores_per_node=64).cpus_per_node == 64
    with pytest.raises(SettingsError, match="both say the same"):
        PBSProvider(cores_per_node=64, cpus_per_node=32)


# ------------------------------------------------------------------ facts on sites


def directives(name: str) -> list[str]:
    return [line for line in PROVIDERS[name].script(JOB).splitlines() if line.startswith("#")]


@pytest.mark.parametrize(
    ("site", "needed"),
    [
        # ALCF user guides: an account, filesystems, select, place and walltime are mandatory.
        ("polaris", ["-A project", "-l filesystems=home:eagle", "-l place=scatter", "-l walltime=01:00:00",
                     "-l select=2:ncpus=64:system=polaris", "-q debug"]),
        ("aurora", ["-A project", "-l filesystems=home:flare", "-l place=scatter", "-l walltime=06:00:00",
                    "-l select=256", "-k doe", "-q prod"]),
        # OLCF, NERSC and NCSA user guides.
        ("frontier", ["--account=ABC123", "--partition=batch", "--nodes=8", "--ntasks-per-node=1",
                      "--cpus-per-task=56", "--gpus-per-node=8", "-S 8", "--time=02:00:00"]),
        ("perlmutter", ["--account=m1234_g", "--qos=regular", "--constraint=gpu", "--nodes=4",
                        "--ntasks-per-node=1", "--cpus-per-task=128", "--gpus-per-node=4"]),
        ("delta", ["--account=abcd-delta-gpu", "--partition=gpuA100x4", "--constraint=scratch",
                   "--exclusive", "--mem=0", "--gpus-per-node=4"]),
    ],
)  # fmt: skip
def test_a_script_has_what_its_site_asks_for(site: str, needed: list[str]) -> None:
    prefix = "#PBS" if site in ("polaris", "aurora") else "#SBATCH"
    found = directives(site)
    assert {f"{prefix} {option}" for option in needed} <= set(found)
    # A directive twice would be two truths.
    assert len(found) == len(set(found))


def test_the_front_page_of_parsl_starts_one_unbound_agent_on_each_node() -> None:
    line = next(
        line for line in POLARIS_OF_PARSL.script(JOB).splitlines() if line.startswith("mpiexec")
    )
    assert line.count("--ppn") == 1
    assert line.count("--cpu-bind") == 1
    assert line.startswith("mpiexec --cpu-bind none --depth=64 --ppn 1 ")
    assert ' -n 128 --hostfile "$hostfile" /env/bin/python ' in line


# ------------------------------------------------------------------ names and files


def test_names_and_files_survive_what_each_system_makes_of_them() -> None:
    odd = BlockJob(name="0 wörk", agent=("a",), stdout="/a b/%j #1", stderr="/e")
    slurm = SlurmProvider().script(odd)
    assert "#SBATCH --output='/a b/%%j #1'" in slurm
    assert "#SBATCH --job-name='0 wörk'" in slurm
    assert "#PBS -N b0_w_rk" in PBSProvider().script(odd)
    assert "#PBS -o '/a b/%j #1'" in PBSProvider().script(odd)
    with pytest.raises(SettingsError, match="takes no backslash"):
        SlurmProvider().script(BlockJob(name="a", agent=("a",), stdout="/a\\b", stderr="/e"))
    with pytest.raises(SettingsError, match="no path with a colon"):
        PBSProvider().script(BlockJob(name="a", agent=("a",), stdout="/a:b", stderr="/e"))
