"""Jobs through ``qsub``, ``qstat`` and ``qdel``: those that Slurm has for scripts of PBS and Torque."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue_sites import PBSProvider, Provider, SrunLauncher, SubmitRefused, TorqueProvider
from jobqueue_sites.providers import BlockJob, JobState, JobStatus
from tests.slurm.batch import TELL, ask, told, until
from tests.slurm.conftest import MACHINE, free_ports


@pytest.fixture(scope="module", autouse=True)
def commands() -> Iterator[None]:
    """Two nodes of their own, whose jobs find the variables of PBS; installs the commands if need be."""
    root = tempfile.mkdtemp(prefix="pbs")  # short, since sockets lie in it
    env = {**os.environ, "VC_ROOT": root, "VC_PORT": free_ports(), "VC_NODES": "2", "VC_PBS": "1"}
    env.pop("SLURM_CONF")
    started = subprocess.run(
        ["bash", str(MACHINE / "start.sh")], env=env, capture_output=True, text=True, check=False
    )
    try:
        assert started.returncode == 0, started.stderr
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", f"{root}/etc/slurm.conf")
            yield
    finally:
        subprocess.run(["bash", str(MACHINE / "stop.sh")], env=env, check=False)
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that jobs are submitted from, where the commands of Slurm leave their output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agents").mkdir()
    return tmp_path


@pytest.fixture
def job_ids() -> Iterator[list[str]]:
    job_ids: list[str] = []
    yield job_ids
    if job_ids:
        ask(TorqueProvider().cancel(job_ids))


def submit(provider: Provider, folder: Path, then: str = "") -> str:
    job = BlockJob(
        name="b-0",
        agent=("bash", "-c", TELL + then, str(folder)),
        stdout=str(folder / "out"),
        stderr=str(folder / "err"),
    )
    script = folder / "b-0.sh"
    script.write_text(provider.script(job))
    return ask(provider.submit(str(script)))


def status(job_id: str) -> JobStatus:
    return ask(TorqueProvider().query([job_id]))[job_id]


@pytest.mark.parametrize("kind", [PBSProvider, TorqueProvider])
def test_a_job_of_two_nodes_runs(
    kind: type[PBSProvider | TorqueProvider], folder: Path, job_ids: list[str]
) -> None:
    provider = kind(
        queue="main",
        nodes_per_block=2,
        cpus_per_node=2,
        walltime="00:02:00",
        launcher=SrunLauncher(),
        worker_init="export FROM_WORKER_INIT=here",
    )
    job_ids.append(submit(provider, folder))
    until(lambda: status(job_ids[0]).state.is_final)
    agents = told(folder)
    assert len({agent["HOST"] for agent in agents}) == 2
    for agent in agents:
        assert agent["FROM_WORKER_INIT"] == "here"
        assert agent["CWD"] == agent["PBS_O_WORKDIR"] == str(folder)
        assert agent["PBS_JOBNAME"] == "b-0"
    # Slurm takes `nodes=2:ppn=2` for four CPUs of two nodes.
    assert sum(int(agent["SLURM_CPUS_ON_NODE"]) for agent in agents) == 4
    assert len(status(job_ids[0]).nodes) == 2


def test_a_job_is_followed_and_cancelled(folder: Path, job_ids: list[str]) -> None:
    provider = TorqueProvider(walltime="00:02:00")
    job_ids.append(submit(provider, folder, "exec sleep 100"))
    until(lambda: told(folder))
    assert status(job_ids[0]).state is JobState.RUNNING
    assert set(ask(provider.query(["99999999", *job_ids]))) == set(job_ids)
    assert ask(provider.query(["99999999"])) == {}
    ask(provider.cancel(["99999999", *job_ids]))
    until(lambda: status(job_ids[0]).state.is_final)
    (find,) = provider.find(job_ids[0])
    found = ask(find)
    assert found is not None
    assert found.state.is_final
    ask(provider.cancel(job_ids))


def test_a_queue_that_does_not_exist_is_refused(folder: Path) -> None:
    with pytest.raises(SubmitRefused, match="Invalid partition name specified: 'nosuch'"):
        submit(TorqueProvider(queue="nosuch"), folder)
