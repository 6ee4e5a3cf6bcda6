"""What Slurm says of jobs and nodes, beyond what all providers are held to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue_sites import SlurmProvider
from jobqueue_sites.providers import Answer, JobState, JobStatus
from jobqueue_sites.providers.slurm.parse import expand_nodes

# The state codes of `man squeue` and `man sacct`, of Slurm 22.05 and later.
STATES = {
    JobState.PENDING: "PENDING CONFIGURING REQUEUED REQUEUE_FED",
    JobState.HELD: "REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT",
    JobState.RUNNING: "RUNNING RESIZING SIGNALING STOPPED SUSPENDED",
    JobState.ENDING: "COMPLETING STAGE_OUT",
    JobState.COMPLETED: "COMPLETED",
    JobState.CANCELLED: "CANCELLED REVOKED",
    JobState.FAILED: "FAILED LAUNCH_FAILED",
    JobState.TIMEOUT: "TIMEOUT DEADLINE",
    JobState.NODE_FAILED: "NODE_FAIL BOOT_FAIL",
    JobState.PREEMPTED: "PREEMPTED",
    JobState.OUT_OF_MEMORY: "OUT_OF_MEMORY",
}


def listed(*lines: str, clusters: str | None = None) -> dict[str, JobStatus]:
    command = SlurmProvider(clusters=clusters).query(["1"])
    answer = Answer(argv=command.argv, exit_code=0, stdout="\n".join(lines) + "\n", stderr="")
    return dict(command.read(answer))


@pytest.mark.parametrize(
    ("word", "state"),
    [(word, state) for state, words in STATES.items() for word in words.split()],
)
def test_every_state_of_slurm_is_known(word: str, state: JobState) -> None:
    status = listed(f"1|{word}|None|0|node1|vc|")["1"]
    assert status.state is state
    assert "Slurm says" not in status.reason


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("JobHeldUser", JobState.HELD),
        ("JobHeldAdmin", JobState.HELD),
        ("launch failed requeued held", JobState.HELD),
        ("Resources", JobState.PENDING),
        ("Priority", JobState.PENDING),
    ],
)
def test_a_reason_tells_held_jobs_from_waiting_ones(reason: str, state: JobState) -> None:
    assert listed(f"1|PENDING|{reason}|0||vc|")["1"] == JobStatus(state=state, reason=reason)


@pytest.mark.parametrize(
    ("exit_code", "expected"),
    [("0", 0), ("768", 3), ("9", -9), ("139", -11), ("3:0", 3), ("0:15", -15), ("", None)],
)
def test_an_exit_code_is_read_in_each_of_its_forms(exit_code: str, expected: int | None) -> None:
    assert listed(f"1|FAILED|None|{exit_code}|node1|vc|")["1"].exit_code == expected


def test_what_the_word_of_a_state_says_is_the_reason() -> None:
    assert listed("1|SUSPENDED|None|0|node1|vc|")["1"].reason == "SUSPENDED"
    assert listed("1|CONFIGURING|Prolog|0|node1|vc|")["1"].reason == "CONFIGURING: Prolog"


def test_jobs_of_several_clusters_are_told_apart() -> None:
    provider = SlurmProvider(clusters="east,west")
    query = provider.query(["1;east", "1;west"])
    assert query.argv[-2:] == ("--clusters=east,west", "--jobs=1,1")
    found = listed("1|RUNNING|None|0|e1|east|", "1|FAILED|None|256|w1|west|", clusters="east,west")
    assert {job_id: status.state for job_id, status in found.items()} == {
        "1;east": JobState.RUNNING,
        "1;west": JobState.FAILED,
    }
    assert provider.cancel(["1;east"]).argv == ("scancel", "--clusters=east", "1")
    assert provider.cancel(["1;east", "1;west", "2;west"]).argv == (
        "sh",
        "-c",
        (
            "code=0; scancel --clusters=east 1 || code=$?; scancel --clusters=west 1 2 || code=$?; "
            "exit $code"
        ),
    )


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("node1", ["node1"]),
        ("node[1-3,7]", ["node1", "node2", "node3", "node7"]),
        ("node[08-11]", ["node08", "node09", "node10", "node11"]),
        ("a1,b[2-3],c", ["a1", "b2", "b3", "c"]),
        ("rack[1-2]n[0-1]", ["rack1n0", "rack1n1", "rack2n0", "rack2n1"]),
        ("x[1-2]-ib", ["x1-ib", "x2-ib"]),
        ("odd[a-b]", ["odd[a-b]"]),
    ],
)
def test_node_lists_are_expanded(text: str, names: list[str]) -> None:
    assert list(expand_nodes(text)) == names


@given(st.lists(st.integers(0, 999), min_size=1, unique=True), st.integers(3, 5))
def test_any_set_of_numbered_nodes_comes_back(numbers: list[int], width: int) -> None:
    text = f"n[{','.join(f'{number:0{width}d}' for number in numbers)}]"
    assert list(expand_nodes(text)) == [f"n{number:0{width}d}" for number in numbers]
