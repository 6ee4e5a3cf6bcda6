"""Launchers on a real Slurm of virtual nodes: one agent on each node, with all that the job has there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue_sites import (
    GnuParallelLauncher,
    MpiExecLauncher,
    MpiRunLauncher,
    SrunLauncher,
    SrunMPILauncher,
    SshLauncher,
    WrappedLauncher,
)
from jobqueue_sites.agent.rank import find_rank
from jobqueue_sites.launchers import Launcher
from jobqueue_sites.providers import JobState
from tests.slurm.batch import Batch, until
from tests.slurm.conftest import need, run

NODES = {"node1", "node2", "node3", "node4"}
ALLOW_ROOT = """\
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
"""

SRUN: dict[str, Launcher] = {"srun": SrunLauncher(), "srun-mpi": SrunMPILauncher()}
MPI: dict[str, Launcher] = {
    "mpiexec.openmpi": MpiExecLauncher(command="mpiexec.openmpi"),
    "mpirun.openmpi": MpiRunLauncher(command="mpirun.openmpi", spelling="openmpi"),
    "mpiexec.mpich": MpiExecLauncher(command="mpiexec.mpich"),
    "mpiexec.hydra": MpiExecLauncher(
        command="mpiexec.mpich", bind_cmd="-bind-to", spelling="hydra"
    ),
}


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    batch = Batch(tmp_path)
    yield batch
    if batch.job_ids:
        batch.cancel(*batch.job_ids)
        for job_id in batch.job_ids:
            batch.end(job_id)


def assert_one_on_each_of_two(batch: Batch) -> None:
    agents = batch.agents()
    assert len(agents) == 2, f"{batch.out}{batch.err}"
    assert len({agent["HOST"] for agent in agents} & NODES) == 2
    assert {find_rank(agent)[0] for agent in agents} == {0, 1}
    ours = sorted(os.sched_getaffinity(0))
    for agent in agents:
        assert agent["FROM_WORKER_INIT"] == "it's here"
        assert agent["CWD"] == os.getcwd()  # noqa: PTH109 # as a text
        assert len(cpus(agent["CPUS"])) == len(ours), "no agent is bound to a part of the node"


def cpus(text: str) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


WORKER_INIT = f'{ALLOW_ROOT}export FROM_WORKER_INIT="it\'s here"'


# ------------------------------------------------------------------ srun


@pytest.mark.parametrize("name", SRUN)
def test_srun_gives_each_agent_all_of_its_node(
    batch: Batch, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where the job is submitted from within another.
    for option in ("CPUS_PER_TASK", "GPUS_PER_TASK", "NTASKS_PER_GPU", "NTASKS_PER_NODE", "NNODES"):
        monkeypatch.setenv(f"SLURM_{option}", "1")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "10")
    monkeypatch.setenv("SLURM_CPU_BIND", "quiet,mask_cpu:0x1")
    job_id = batch.submit(
        nodes_per_block=2,
        cores_per_node=2,
        gpus_per_node=4,
        mem_per_node=1,
        launcher=SRUN[name],
        # What a user's environment may have: for other steps, it takes CPUs away from these.
        worker_init=f"{WORKER_INIT}\nexport SRUN_CPUS_PER_TASK=1 SLURM_HINT=nomultithread",
    )
    ended = batch.end(job_id)
    assert (ended.state, ended.exit_code) == (JobState.COMPLETED, 0), batch.err
    assert_one_on_each_of_two(batch)
    for agent in batch.agents():
        assert agent["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
        assert agent["SLURM_CPUS_ON_NODE"] == "8", "a node is the block's as a whole"
        assert agent["SLURM_STEP_NUM_NODES"] == ("2" if name == "srun" else "1")


def test_srun_hands_on_the_environment_where_sbatch_did_not(batch: Batch) -> None:
    batch.end(
        batch.submit(
            nodes_per_block=2,
            launcher=SrunLauncher(),
            worker_init=WORKER_INIT,
            scheduler_options=f"--export=PATH={os.environ['PATH']},SLURM_CONF={os.environ['SLURM_CONF']}",
        )
    )
    assert_one_on_each_of_two(batch)


def test_a_shared_node_is_not_taken_as_a_whole(batch: Batch) -> None:
    batch.end(
        batch.submit(cores_per_node=2, gpus_per_node=1, exclusive=False, launcher=SrunLauncher())
    )
    (agent,) = batch.agents()
    assert agent["SLURM_CPUS_ON_NODE"] == "2"
    assert len(agent["CUDA_VISIBLE_DEVICES"]) == 1


@pytest.mark.parametrize("name", SRUN)
@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$"])
def test_an_agent_that_dies_leaves_the_others(batch: Batch, name: str, end: str) -> None:
    rank = "rank=${JOBQUEUE_SITES_RANK:-$SLURM_PROCID}; "
    then = rank + f'if [ "$rank" = 1 ]; then {end}; fi; sleep 3; echo survived'
    ended = batch.end(batch.submit(then, nodes_per_block=2, launcher=SRUN[name]))
    assert batch.out.count("survived") == 1
    assert ended.state is JobState.FAILED
    assert ended.exit_code == (3 if end == "exit 3" else 137)


@pytest.mark.parametrize("name", SRUN)
def test_agents_have_time_to_end_when_their_job_is_cancelled(batch: Batch, name: str) -> None:
    then = "trap 'echo closing; sleep 1; echo closed; exit 0' TERM; echo up; sleep 100 & wait"
    job_id = batch.submit(then, nodes_per_block=2, launcher=SRUN[name])
    until(lambda: len(batch.agents()) == 2 and batch.out.count("up") == 2)
    batch.cancel(job_id)
    assert batch.end(job_id).state is JobState.CANCELLED
    assert batch.out.count("closed") == 2


def test_the_agent_of_a_single_node_has_time_to_end(batch: Batch) -> None:
    then = "trap 'echo closing; sleep 1; echo closed; exit 0' TERM; echo up; sleep 100 & wait"
    job_id = batch.submit(then)
    until(lambda: batch.agents() and "up" in batch.out)
    batch.cancel(job_id)
    assert batch.end(job_id).state is JobState.CANCELLED
    assert "closed" in batch.out


def test_what_an_agent_starts_can_be_a_step_of_its_own(batch: Batch) -> None:
    """As calls that start MPI programs do: the step of the agents holds all, and shares it."""
    then = (
        '[ "$SLURM_PROCID" = 0 ] || exit 0\n'
        "timeout 20 srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --gpus-per-node=1 hostname"
    )
    job_id = batch.submit(then, nodes_per_block=2, gpus_per_node=2, launcher=SrunLauncher())
    assert batch.end(job_id).exit_code == 0, batch.err
    assert len(set(batch.out.split()) & NODES) == 2


# ------------------------------------------------------------------ MPI


@pytest.mark.parametrize("name", MPI)
def test_mpi_starts_one_unbound_agent_on_each_node(batch: Batch, name: str) -> None:
    need(MPI[name].command)  # type: ignore[attr-defined] # all of these have one
    job_id = batch.submit(
        nodes_per_block=2, gpus_per_node=4, launcher=MPI[name], worker_init=WORKER_INIT
    )
    ended = batch.end(job_id)
    assert (ended.state, ended.exit_code) == (JobState.COMPLETED, 0), batch.err
    assert_one_on_each_of_two(batch)
    assert {agent["CUDA_VISIBLE_DEVICES"] for agent in batch.agents()} == {"0,1,2,3"}


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$"])
def test_an_agent_that_dies_under_mpich_leaves_the_others(batch: Batch, end: str) -> None:
    need("mpiexec.mpich")
    then = f'if [ "$PMI_RANK" = 1 ]; then {end}; fi; sleep 3; echo survived'
    launcher = MpiExecLauncher(command="mpiexec.mpich")
    ended = batch.end(batch.submit(then, nodes_per_block=2, launcher=launcher))
    assert batch.out.count("survived") == 1
    assert ended.state is JobState.FAILED


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$"])
def test_an_agent_that_dies_under_openmpi_ends_the_block(batch: Batch, end: str) -> None:
    need("mpiexec.openmpi")
    then = f'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then {end}; fi; exec sleep 100'
    launcher = MpiExecLauncher(command="mpiexec.openmpi")
    job_id = batch.submit(then, nodes_per_block=2, launcher=launcher, worker_init=ALLOW_ROOT)
    ended = batch.end(job_id)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 3 if end == "exit 3" else 137)


# ------------------------------------------------------------------ ssh


@pytest.fixture
def ssh(batch: Batch) -> tuple[str, str]:
    """Shell lines that start a sshd on each node of a job, and options of ssh for it."""
    need("/usr/sbin/sshd")
    folder = batch.folder
    for name in ("host_key", "user_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    port = 2222
    config = folder / "sshd_config"
    config.write_text(
        f"HostKey {folder}/host_key\nAuthorizedKeysFile {folder}/user_key.pub\nStrictModes no\n"
        "UsePAM no\nPidFile none\nPermitRootLogin yes\n"
    )
    options = (
        f"-p {port} -i {folder}/user_key -o StrictHostKeyChecking=no "
        f"-o UserKnownHostsFile={folder}/known_hosts -o LogLevel=ERROR"
    )
    start = f"""\
if [ -n "$SLURM_JOB_ID" ]; then
    srun --overlap bash -c '
        mkdir -p /run/sshd
        exec /usr/sbin/sshd -D -e -f {config} -o ListenAddress=$(hostname):{port}' &
    for node in $(scontrol show hostnames); do
        until ssh {options} -o BatchMode=yes "$node" true 2>/dev/null; do sleep 0.1; done
    done
fi
"""
    return start, options


def over_ssh(name: str, options: str) -> Launcher:
    if name == "ssh":
        return SshLauncher(overrides=options)
    need("parallel")
    return GnuParallelLauncher(ssh_overrides=options)


@pytest.mark.parametrize("name", ["ssh", "gnu-parallel"])
def test_ssh_starts_one_agent_on_each_node(batch: Batch, ssh: tuple[str, str], name: str) -> None:
    start, options = ssh
    job_id = batch.submit(
        nodes_per_block=2, launcher=over_ssh(name, options), worker_init=start + WORKER_INIT
    )
    ended = batch.end(job_id)
    assert (ended.state, ended.exit_code) == (JobState.COMPLETED, 0), batch.err
    assert_one_on_each_of_two(batch)


@pytest.mark.parametrize("name", ["ssh", "gnu-parallel"])
def test_an_agent_over_ssh_that_dies_leaves_the_others(
    batch: Batch, ssh: tuple[str, str], name: str
) -> None:
    start, options = ssh
    then = 'if [ "$JOBQUEUE_SITES_RANK" = 1 ]; then exit 3; fi; sleep 2; echo survived'
    launcher = over_ssh(name, options)
    ended = batch.end(batch.submit(then, nodes_per_block=2, launcher=launcher, worker_init=start))
    assert batch.out.count("survived") == 1
    # GNU parallel tells how many failed, ssh the code of one that did.
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 3 if name == "ssh" else 1)


@pytest.mark.parametrize("name", ["ssh", "gnu-parallel"])
def test_agents_over_ssh_are_told_that_their_job_has_ended(
    batch: Batch, ssh: tuple[str, str], name: str
) -> None:
    start, options = ssh
    mark = f"{batch.folder}/closed.$JOBQUEUE_SITES_RANK"
    then = f"trap 'touch {mark}; kill %1; exit 0' TERM; echo up; sleep 100 & wait"
    launcher = over_ssh(name, options)
    job_id = batch.submit(then, nodes_per_block=2, launcher=launcher, worker_init=start)
    until(lambda: len(batch.agents()) == 2 and batch.out.count("up") == 2)
    # The sshds are the job's here, and end with it. Elsewhere they do not.
    ssh_pids = run("pgrep", "-f", f"^ssh .*{batch.folder}/user_key").split()
    run("kill", *ssh_pids)
    until(lambda: len(list(batch.folder.glob("closed.*"))) == 2)
    batch.end(job_id)


# ------------------------------------------------------------------ others


def test_a_launcher_of_the_users_own(batch: Batch) -> None:
    prepend = "srun --nodes=2 --ntasks-per-node=1 env OF_THE_USER=1"
    job_id = batch.submit(
        nodes_per_block=2, launcher=WrappedLauncher(prepend=prepend), worker_init=WORKER_INIT
    )
    assert batch.end(job_id).state is JobState.COMPLETED
    assert_one_on_each_of_two(batch)
    assert all(agent["OF_THE_USER"] == "1" for agent in batch.agents())
