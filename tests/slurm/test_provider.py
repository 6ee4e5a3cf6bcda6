"""What a real Slurm answers to SlurmProvider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue_sites import SrunLauncher, SubmitRefused
from jobqueue_sites.providers import JobState
from jobqueue_sites.providers.slurm.parse import expand_nodes
from tests.slurm.batch import Batch, ask, until
from tests.slurm.conftest import run


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    batch = Batch(tmp_path)
    yield batch
    if batch.job_ids:
        batch.cancel(*batch.job_ids)


def test_a_job_is_followed_from_its_beginning_to_its_end(batch: Batch) -> None:
    job_id = batch.submit("until [ -e $0/go ]; do sleep 0.1; done; exit 3")
    until(lambda: batch.status(job_id).state is JobState.RUNNING)
    running = batch.status(job_id)
    assert running.exit_code is None
    assert set(running.nodes) <= {"node1", "node2", "node3", "node4"}
    (batch.folder / "go").touch()
    ended = batch.end(job_id)
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 3)
    assert ended.nodes == running.nodes
    # It stays so, however it is asked for.
    assert batch.status(job_id) == ended
    by_scontrol, by_sacct = batch.provider.find(job_id)
    assert ask(by_scontrol) == ended
    found = ask(by_sacct)  # where there is accounting
    assert found is None or (found.state, found.exit_code) == (JobState.FAILED, 3)


def test_a_signal_that_ended_a_job_is_known(batch: Batch) -> None:
    assert batch.end(batch.submit("kill -9 $PPID")).exit_code == -9


def test_jobs_that_are_not_known_do_not_hide_those_that_are(batch: Batch) -> None:
    job_id = batch.submit("sleep 60")
    assert set(ask(batch.provider.query(["99999999", job_id]))) == {job_id}
    assert ask(batch.provider.query(["99999999"])) == {}
    assert [ask(command) for command in batch.provider.find("99999999")] == [None, None]


def test_jobs_are_cancelled_together_with_some_that_have_ended(batch: Batch) -> None:
    ended = batch.submit("true")
    batch.end(ended)
    running = batch.submit("sleep 60")
    batch.cancel("99999999", ended, running)
    assert batch.end(running).state is JobState.CANCELLED
    assert batch.end(ended).state is JobState.COMPLETED


def test_a_job_that_waits_says_why(batch: Batch) -> None:
    held = batch.submit(scheduler_options="--hold")
    until(lambda: batch.status(held).reason)
    assert (batch.status(held).state, batch.status(held).reason) == (JobState.HELD, "JobHeldUser")
    later = batch.submit(scheduler_options="--begin=now+1hour")
    until(lambda: batch.status(later).reason)
    assert batch.status(later).state is JobState.PENDING
    assert batch.status(later).reason == "BeginTime"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"partition": "gpuu"}, "Invalid partition name specified: 'gpuu'"),
        ({"constraint": "cold"}, "Invalid feature specification: 'cold'"),
        ({"gres": "ice:1"}, "Invalid generic resource (gres) specification: 'ice:1'"),
        ({"scheduler_options": "--no-such-option"}, "unrecognized option '--no-such-option'"),
    ],
)
def test_a_refusal_names_what_was_refused(
    batch: Batch, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(SubmitRefused) as refused:
        batch.submit(**settings)
    assert str(refused.value).startswith("sbatch refused: ")
    assert words in str(refused.value)
    assert refused.value.exit_code != 0


@pytest.mark.parametrize("name", ["a b", "100%j", "%%x", "it's", "hash#1", 'quo"te', "ä"])
def test_a_job_writes_to_the_file_that_it_is_told(batch: Batch, name: str) -> None:
    batch.end(batch.submit("echo here", stdout=name))
    assert batch.out == "here\n"


def test_node_lists_are_expanded_as_slurm_does() -> None:
    for text in ("node1", "n[1-3,07],login[9-11]", "rack[1-2]n[0-1]"):
        assert list(expand_nodes(text)) == run("scontrol", "show", "hostnames", text).split()


def test_every_setting_reaches_slurm(batch: Batch) -> None:
    job_id = batch.submit(
        nodes_per_block=2,
        cores_per_node=4,
        mem_per_node=1.5,
        gpus_per_node=2,
        walltime="00:10:30",
        # What is asked for is shown until the job begins.
        scheduler_options="#SBATCH --comment='a b'\n--nice=5\n--begin=now+1hour",
        launcher=SrunLauncher(),
    )
    shown = run("scontrol", "show", "job", "--oneliner", job_id)
    for value in (
        "Partition=main",
        "NumNodes=2-2",
        "CPUs/Task=4",
        "MinMemoryNode=1.50G",
        "TresPerNode=gres:gpu:2",
        "OverSubscribe=NO",
        "TimeLimit=00:11:00",  # Slurm counts in minutes, and rounds up
        "Comment=a b",
        "Nice=5",
        "Requeue=0",
    ):
        assert f" {value} " in shown, shown
