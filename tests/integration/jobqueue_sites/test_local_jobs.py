"""The batch system of one machine: its jobs run, end, and leave no process behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from jobqueue_sites import LocalProvider, SubmitRefused
from jobqueue_sites.providers import JobState
from tests.integration.jobqueue_sites.machine import Machine, run, until


def is_alive(pid: int) -> bool:
    """Whether it runs: a zombie, which nobody has collected, does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_in(path: Path) -> int:
    until(lambda: path.exists() and path.read_text().strip())
    return int(path.read_text())


# ------------------------------------------------------------------ running


def test_a_job_runs_and_what_it_says_is_in_its_files(machine: Machine) -> None:
    ended = machine.end(machine.submit("echo hello; echo trouble >&2; pwd"))
    assert (ended.state, ended.exit_code) == (JobState.COMPLETED, 0)
    assert machine.out == f"hello\n{Path.cwd()}\n"
    assert machine.err == "trouble\n"
    assert ended.nodes == (os.uname().nodename,)


def test_a_job_that_fails_has_its_exit_code_and_keeps_it(machine: Machine) -> None:
    job_id = machine.submit("exit 3")
    for _ in range(2):
        ended = machine.end(job_id)
        assert (ended.state, ended.exit_code) == (JobState.FAILED, 3)
    assert [run(command) for command in machine.provider.find(job_id)] == [ended]


def test_a_script_that_a_signal_ends_has_its_number(machine: Machine) -> None:
    ended = machine.end(machine.submit_text("#!/bin/bash\nkill -9 $$\n"))
    assert (ended.state, ended.exit_code) == (JobState.FAILED, -9)


def test_submitting_does_not_wait_for_the_job(machine: Machine) -> None:
    begun_s = time.monotonic()
    job_id = machine.submit("sleep 100")
    assert time.monotonic() - begun_s < 60
    assert machine.status(job_id).state is JobState.RUNNING


def test_several_nodes_are_several_agents_that_know_which(machine: Machine) -> None:
    ended = machine.end(machine.submit("echo $JOBQUEUE_SITES_RANK", nodes_per_block=3))
    assert ended.state is JobState.COMPLETED
    assert sorted(machine.out.split()) == ["0", "1", "2"]


def test_one_of_several_agents_that_fails_leaves_the_others_and_is_told(machine: Machine) -> None:
    agent = 'if [ "$JOBQUEUE_SITES_RANK" = 1 ]; then exit 3; fi; sleep 0.5; echo done'
    ended = machine.end(machine.submit(agent, nodes_per_block=3))
    assert (ended.state, ended.exit_code) == (JobState.FAILED, 3)
    assert machine.out == "done\ndone\n"


def test_two_jobs_of_one_script_are_two(machine: Machine) -> None:
    begun = machine.folder / "begun"
    first = machine.submit(f"touch {begun}; sleep 100")
    until(begun.exists)  # it has read the script
    second = machine.submit("exit 0")
    assert machine.end(second).state is JobState.COMPLETED
    assert machine.status(first).state is JobState.RUNNING


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/bash\n#LOCAL --output=/no/such/folder/out\n", "No such file or directory"),
        ("#!/bin/bash\n#LOCAL --nodes=2\n", "Invalid directive"),
        ("#!/bin/bash\n#LOCAL --time=soon\n", "Invalid directive"),
    ],
)
def test_a_job_that_cannot_run_is_refused(machine: Machine, text: str, words: str) -> None:
    with pytest.raises(SubmitRefused, match=words) as refused:
        machine.submit_text(text)
    assert refused.value.exit_code == 1
    assert not list(machine.folder.glob("*.json"))


def test_a_script_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SubmitRefused, match="No such file or directory"):
        run(LocalProvider().submit(str(tmp_path / "none.sh")))


def test_jobs_that_are_not_known_are_missing_and_can_be_cancelled(machine: Machine) -> None:
    known = machine.submit("sleep 100")
    unknown = str(machine.folder / "b-0.sh.1")
    assert set(run(machine.provider.query([unknown, known]))) == {known}
    assert [run(command) for command in machine.provider.find(unknown)] == [None]
    machine.cancel(unknown, known)
    assert machine.end(known).state is JobState.CANCELLED


# ------------------------------------------------------------------ ends


def test_a_cancelled_job_has_time_to_end(machine: Machine) -> None:
    agent = 'trap "echo closing; sleep 0.5; echo closed; exit 0" TERM; echo up; sleep 100 & wait'
    job_id = machine.submit(agent, nodes_per_block=2, kill_after=20)
    until(lambda: machine.out.count("up") == 2)
    machine.cancel(job_id)
    until(lambda: machine.status(job_id).state is not JobState.RUNNING)
    ended = machine.end(job_id)
    assert (ended.state, ended.reason) == (JobState.CANCELLED, "cancelled")
    assert machine.out.count("closed") == 2


def test_a_job_that_does_not_end_is_killed(machine: Machine) -> None:
    job_id = machine.submit('trap "" TERM; echo up; while :; do sleep 1; done', kill_after=0.3)
    until(lambda: "up" in machine.out)
    machine.cancel(job_id)
    assert machine.end(job_id).state is JobState.CANCELLED


def test_a_walltime_ends_the_job(machine: Machine) -> None:
    job_id = machine.submit('trap "echo late; exit 0" TERM; sleep 100 & wait', walltime="00:05")
    ended = machine.end(job_id)
    assert ended.state is JobState.TIMEOUT
    assert "walltime of 5 s" in ended.reason
    assert machine.out == "late\n"


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "ended"])
def test_nothing_that_a_job_started_outlives_it(machine: Machine, is_cancelled: bool) -> None:
    """Also what has left its session and its parent, as daemons do."""
    here = machine.folder
    agent = (
        f"setsid bash -c 'trap \"\" TERM HUP; echo $$ >{here}/daemon; exec sleep 1000' & "
        f"(sleep 1000 & echo $! >{here}/orphan); "
        + ("sleep 1000" if is_cancelled else f"until [ -s {here}/daemon ]; do sleep 0.05; done")
    )
    job_id = machine.submit(agent, kill_after=0.3)
    pids = [pid_in(here / "daemon"), pid_in(here / "orphan")]
    if is_cancelled:
        assert all(map(is_alive, pids))
        machine.cancel(job_id)
    machine.end(job_id)
    assert not any(map(is_alive, pids))


# ------------------------------------------------------------------ trouble


def record(job_id: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = json.loads(Path(f"{job_id}.json").read_text())
    return found


def test_a_job_lives_on_when_its_supervisor_is_killed(machine: Machine) -> None:
    job_id = machine.submit("sleep 1000")
    os.kill(record(job_id)["supervisor"]["pid"], signal.SIGKILL)
    assert machine.status(job_id).state is JobState.RUNNING
    machine.cancel(job_id)
    until(lambda: machine.status(job_id).state is not JobState.RUNNING)
    lost = machine.status(job_id)
    assert (lost.state, lost.reason) == (JobState.NODE_FAILED, "its supervisor was killed")


def test_a_process_that_has_the_pid_of_a_job_by_now_is_not_the_job(machine: Machine) -> None:
    job_id = machine.submit("exit 0")
    machine.end(job_id)
    ours = {"pid": os.getpid(), "started": "1"}
    told = {**record(job_id), "state": "running", "supervisor": ours, "job": ours}
    Path(f"{job_id}.json").write_text(json.dumps(told))
    assert machine.status(job_id).state is JobState.NODE_FAILED
    machine.cancel(job_id)  # would end this test


# ------------------------------------------------------------------ worker_init


def test_the_environment_of_worker_init_reaches_the_agents(machine: Machine) -> None:
    worker_init = 'export A=1\nexport B="it\'s $A"'
    machine.end(machine.submit('echo "$B"', worker_init=worker_init, nodes_per_block=2))
    assert machine.out == "it's 1\nit's 1\n"


@pytest.mark.parametrize(
    ("worker_init", "code"),
    [
        ("false", 1),
        ("true; (exit 7)", 7),
        ("no-such-command-here", 127),
        ("source /no/such/env/bin/activate", 1),
        ("exit 5", 5),
        ("set -e\nfalse\ntrue", 1),
        ("set -u\necho $NO_SUCH_VARIABLE\ntrue", 1),
        ("if then", 2),
    ],
)
def test_a_worker_init_that_fails_says_so_and_no_agent_runs(
    machine: Machine, worker_init: str, code: int
) -> None:
    ended = machine.end(machine.submit("echo agent", worker_init=worker_init))
    assert (ended.state, ended.exit_code) == (JobState.FAILED, code)
    line = f"jobqueue-sites: worker_init failed with exit code {code}"
    assert machine.err.splitlines().count(line) == 1
    assert machine.out == ""


def test_an_early_line_of_worker_init_may_fail(machine: Machine) -> None:
    ended = machine.end(machine.submit("echo agent", worker_init="false\ntrue"))
    assert (ended.state, machine.out, machine.err) == (JobState.COMPLETED, "agent\n", "")


def test_what_worker_init_leaves_for_the_end_is_done_then(machine: Machine) -> None:
    ended = machine.end(machine.submit("echo agent; exit 4", worker_init="trap 'echo bye' EXIT"))
    assert (ended.exit_code, machine.out) == (4, "agent\nbye\n")


def test_what_worker_init_leaves_running_does_not_hold_up_the_end(machine: Machine) -> None:
    ended = machine.end(machine.submit("true", worker_init="sleep 1000 &", nodes_per_block=2))
    assert ended.state is JobState.COMPLETED
