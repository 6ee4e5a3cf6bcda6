"""What every provider does alike, whatever its batch system says."""

from __future__ import annotations

import contextlib
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue_sites import (
    CommandError,
    Provider,
    SettingsError,
    SimpleLauncher,
    SubmitRefused,
    UnreadableAnswer,
    WrappedLauncher,
)
from jobqueue_sites import providers as package
from jobqueue_sites.providers import Answer, BlockJob, Command, JobState
from tests.contract.cases import CASES, Case, Says

JOB = BlockJob(
    name="gpu-0", agent=("/env/bin/python", "-m", "agent", "it's"), stdout="/o", stderr="/e"
)

each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def read(command: Command[Any], says: Says) -> Any:
    return command.read(
        Answer(
            argv=command.argv,
            exit_code=says.exit_code,
            stdout=says.stdout,
            stderr=says.stderr,
        )
    )


def assert_evidence(error: CommandError, command: Command[Any], says: Says) -> None:
    assert error.argv == command.argv
    assert (error.exit_code, error.stdout, error.stderr) == (
        says.exit_code, says.stdout, says.stderr
    )  # fmt: skip


def test_every_provider_has_its_case() -> None:
    kinds = {
        value
        for value in vars(package).values()
        if isinstance(value, type) and issubclass(value, Provider) and value is not Provider
    }
    assert kinds == {type(case.provider) for case in CASES.values()}


# ------------------------------------------------------------------ settings


@each
def test_it_is_a_value(case: Case) -> None:
    provider = case.provider
    assert pickle.loads(pickle.dumps(provider)) == provider
    assert dataclasses.replace(provider) == provider
    with pytest.raises(dataclasses.FrozenInstanceError):
        provider.max_blocks = 2  # type: ignore[misc] # is what is tested
    assert provider.tested_against


@each
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"nodes_per_block": 0}, "nodes_per_block=0: must be a whole number, at least 1"),
        ({"nodes_per_block": True}, "nodes_per_block=True: must be a whole number"),
        ({"nodes_per_block": 1.0}, "nodes_per_block=1.0: must be a whole number"),
        ({"cores_per_node": 0}, "cores_per_node=0: must be a whole number, at least 1"),
        ({"mem_per_node": 0}, "mem_per_node=0: must be a number above 0"),
        ({"mem_per_node": float("nan")}, "mem_per_node=nan: must be a number above 0"),
        ({"init_blocks": -1}, "init_blocks=-1: must be a whole number, at least 0"),
        ({"max_blocks": 0}, "max_blocks=0: must be a whole number, at least 1"),
        ({"init_blocks": 3}, "init_blocks=3: must not be above max_blocks=1"),
        ({"min_blocks": 2}, "min_blocks=2: must not be above max_blocks=1"),
        ({"parallelism": 1.5}, "parallelism=1.5: must be a number from 0 to 1"),
        ({"parallelism": -0.1}, "parallelism=-0.1: must be a number from 0 to 1"),
        ({"walltime": "an hour"}, "walltime='an hour': must be 'HH:MM:SS'"),
        ({"walltime": "00:00:00"}, "walltime='00:00:00': must be longer than 0 s"),
        ({"walltime": 60}, "walltime=60: must be 'HH:MM:SS'"),
        ({"worker_init": ["module load conda"]}, "worker_init=['module load conda']: must be a text"),
        ({"worker_init": "export A=1 \\"}, "must not end with a backslash"),
        ({"launcher": SimpleLauncher}, "must be a launcher, such as SrunLauncher()"),
        ({"launcher": "srun"}, "launcher='srun': must be a launcher"),
        ({"cmd_timeout": 0}, "cmd_timeout=0: must be a number above 0"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_refused(
    case: Case, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        type(case.provider)(**settings)
    assert words in str(caught.value)


def named_settings() -> list[Any]:
    return [
        pytest.param(type(case.provider), field.name, id=f"{name}-{field.name}")
        for name, case in CASES.items()
        for field in dataclasses.fields(case.provider)
        if str(field.type) == "str | None"
    ]


@pytest.mark.parametrize(("kind", "name"), named_settings())
@pytest.mark.parametrize("value", ["a\nmalicious --wrap", "", " ", "a\0b", 3])
def test_no_setting_adds_a_line_of_its_own(kind: type[Provider], name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"{name}="):
        kind(**{name: value})


# ------------------------------------------------------------------ scripts


@each
def test_a_script_runs_worker_init_then_the_agent(case: Case) -> None:
    settings = {"worker_init": "module load conda\nconda activate env"}
    text = dataclasses.replace(case.provider, **settings).script(JOB)
    assert text.startswith("#!/bin/bash\n")
    assert text.endswith("\n")
    lines = text.splitlines()
    agent = next(n for n, line in enumerate(lines) if "-m agent 'it'\"'\"'s'" in line)
    assert lines.index("module load conda") < lines.index("conda activate env") < agent
    assert "worker_init" not in case.provider.script(JOB)


@each
def test_a_script_has_the_same_text_each_time(case: Case) -> None:
    assert case.provider.script(JOB) == case.provider.script(JOB)


@each
def test_the_launcher_of_the_settings_starts_the_agent(case: Case) -> None:
    launcher = WrappedLauncher(prepend="apptainer exec image.sif")
    script = dataclasses.replace(case.provider, launcher=launcher).script(JOB)
    assert "\napptainer exec image.sif /env/bin/python -m agent" in script


# ------------------------------------------------------------------ submit


@each
def test_submit_answers_with_the_id(case: Case) -> None:
    command = case.provider.submit("/run/b-0.sh")
    assert "/run/b-0.sh" in command.argv
    for job_id, says in case.submits.items():
        assert read(command, says) == job_id


@each
def test_a_refusal_is_told_from_silence(case: Case) -> None:
    command = case.provider.submit("/run/b-0.sh")
    for words, says in case.refuses.items():
        with pytest.raises(SubmitRefused) as refused:
            read(command, says)
        assert words in str(refused.value)
        assert_evidence(refused.value, command, says)
    with pytest.raises(CommandError) as silent:
        read(command, case.does_not_answer)
    # What a batch system does not answer now it may take later.
    assert not isinstance(silent.value, SubmitRefused)
    assert_evidence(silent.value, command, case.does_not_answer)
    with pytest.raises(UnreadableAnswer):
        read(command, Says())


# ------------------------------------------------------------------ query and find


@each
def test_one_query_tells_the_states_of_all(case: Case) -> None:
    assert read(case.provider.query(list(case.listed)), case.lists) == case.listed


@each
def test_jobs_that_are_not_listed_are_missing(case: Case) -> None:
    job_ids = [*case.listed, "99"]
    assert "99" not in read(case.provider.query(job_ids), case.lists)
    assert read(case.provider.query(["99"]), case.lists_none) == {}


@each
def test_a_query_that_fails_says_nothing_of_jobs(case: Case) -> None:
    command = case.provider.query(["1"])
    with pytest.raises(CommandError) as failed:
        read(command, case.does_not_answer)
    assert_evidence(failed.value, command, case.does_not_answer)
    with pytest.raises(UnreadableAnswer) as unreadable:
        read(command, case.unreadable)
    assert_evidence(unreadable.value, command, case.unreadable)


@each
def test_an_exit_code_is_that_of_a_job_that_has_ended(case: Case) -> None:
    for status in case.listed.values():
        assert status.state.is_final or status.exit_code is None


@each
def test_what_became_of_a_job_is_found(case: Case) -> None:
    assert case.finds
    for job_id, number, says, status in case.finds:
        assert read(case.provider.find(job_id)[number], says) == status
    for command in case.provider.find("99"):
        with pytest.raises(CommandError):
            read(command, case.does_not_answer)


@each
def test_a_job_that_failed_stays_failed(case: Case) -> None:
    """Parsl makes a failed job of Slurm a completed one at the next look."""
    failed = [status for _, _, _, status in case.finds if status is not None and status.exit_code]
    failed += [status for status in case.listed.values() if status.exit_code]
    assert failed
    assert all(status.state is not JobState.COMPLETED for status in failed)


# ------------------------------------------------------------------ cancel


@each
def test_jobs_that_have_ended_are_no_failure_of_cancel(case: Case) -> None:
    for says in case.cancels:
        assert read(case.provider.cancel(["1", "2"]), says) is None


@each
def test_a_cancel_that_fails_says_so(case: Case) -> None:
    command = case.provider.cancel(["1", "2"])
    with pytest.raises(CommandError) as failed:
        read(command, case.does_not_answer)
    assert_evidence(failed.value, command, case.does_not_answer)


# ------------------------------------------------------------------ answers that nobody has foreseen

_PIECES = st.sampled_from(
    [piece for case in CASES.values() for piece in case.lists.stdout.splitlines()]
    + ["", "{", "}", "|", "<job_list>", "exit_status", "Job Id: 1", "job_state = Q", '{"1": {}}']
)
_TEXTS = st.text() | st.lists(_PIECES, max_size=4).map("\n".join)


@each
@given(stdout=_TEXTS, stderr=_TEXTS, exit_code=st.sampled_from([0, 1, 153, 255, -9]))
def test_no_answer_is_worse_than_an_error(
    case: Case, stdout: str, stderr: str, exit_code: int
) -> None:
    says = Says(stdout=stdout, stderr=stderr, exit_code=exit_code)
    provider = case.provider
    for command in (
        provider.submit("/b.sh"),
        provider.query(["1"]),
        *provider.find("1"),
        provider.cancel(["1"]),
    ):
        with contextlib.suppress(CommandError):
            read(command, says)


def test_the_documentation_says_what_each_was_tested_against() -> None:
    page = Path(__file__).parents[2] / "docs/how-to/providers.md"
    for case in CASES.values():
        kind = type(case.provider)
        row = next(line for line in page.read_text().splitlines() if f"| `{kind.__name__}`" in line)
        assert row.split("|")[-2].strip() == kind.tested_against
