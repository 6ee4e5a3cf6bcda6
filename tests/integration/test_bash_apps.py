"""Bash apps: a command under bash in a process group of its own; each way to fail has its error."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import dask
import pytest

import daskflow
from daskflow import AUTO_LOGNAME, File, bash_app, python_app


@pytest.fixture(scope="module", params=["here", "kernel"], autouse=True)
def _where(request: pytest.FixtureRequest) -> Any:
    """Each test runs without a kernel, by Dask's synchronous scheduler, and with one."""
    if request.param == "kernel":
        yield request.getfixturevalue("kernel")
        return
    with dask.config.set(scheduler="sync"):
        yield None


def run(future: Any) -> Any:
    """Return the value of a future by whatever runs it here."""
    return future.compute()


@bash_app
def shell(command: Any, **kwargs: Any) -> Any:
    return command


@bash_app
def logged(command: Any, stdout: Any = None, stderr: Any = None) -> Any:
    return command


def test_the_value_of_a_command_is_zero() -> None:
    assert run(shell("true")) == 0


def test_a_string_is_a_bash_script(tmp_path: Path) -> None:
    command = "set -o pipefail; for i in {1..3}; do echo $i; done | tr '\\n' ' '"
    assert run(logged(command, stdout=str(tmp_path / "o"))) == 0
    assert (tmp_path / "o").read_text() == "1 2 3 "


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_list_is_arguments_that_no_shell_interprets(kind: Any, tmp_path: Path) -> None:
    words = kind(["printf", "%s|", "a b", "$HOME", "*", "it's", File("x y"), Path("p")])
    assert run(logged(words, stdout=str(tmp_path / "o"))) == 0
    assert (tmp_path / "o").read_text() == "a b|$HOME|*|it's|x y|p|"


def test_the_command_is_built_from_the_values_of_futures(tmp_path: Path) -> None:
    @python_app
    def word() -> str:
        return "hello"

    @bash_app
    def say(what: str, inputs: Any = (), outputs: Any = ()) -> str:
        return f"echo {what} {inputs[0]} > {outputs[0]}"

    out = File(tmp_path / "o")
    future = say(word(), inputs=[word()], outputs=[out])
    assert run(future) == 0
    assert Path(out).read_text() == "hello hello\n"
    assert future.outputs[0].result() == out


def test_a_non_zero_exit_shows_its_code_command_and_the_end_of_stderr() -> None:
    with pytest.raises(daskflow.BashExitFailure) as caught:
        run(shell("for i in {1..100}; do echo line $i >&2; done; exit 3"))
    error = caught.value
    assert (error.app_name, error.exitcode) == ("shell", 3)
    assert error.stderr_tail.splitlines()[-1] == "line 100"
    assert "line 50\n" not in error.stderr_tail
    assert "exit code 3" in str(error)
    assert "line 100" in str(error)
    assert "exit 3" in error.command


def test_the_end_of_stderr_is_shown_also_if_it_goes_to_a_file(tmp_path: Path) -> None:
    log = tmp_path / "e"
    log.write_text("from before\n")
    with pytest.raises(daskflow.BashExitFailure) as caught:
        run(logged("echo wrong >&2; exit 1", stderr=str(log)))
    assert caught.value.stderr_tail == "wrong"
    assert log.read_text() == "from before\nwrong\n"


def test_a_command_ended_by_a_signal_says_which() -> None:
    with pytest.raises(daskflow.BashExitFailure, match="signal 9") as caught:
        run(shell("kill -9 $$"))
    assert caught.value.exitcode == -signal.SIGKILL


def test_a_command_that_is_not_there_exits_with_127() -> None:
    with pytest.raises(daskflow.BashExitFailure, match="not found") as caught:
        run(shell("no-such-command-anywhere"))
    assert caught.value.exitcode == 127


def test_missing_outputs_are_named(tmp_path: Path) -> None:
    there, missing = File(tmp_path / "there"), File(tmp_path / "missing")
    future = shell(f"touch {there}", outputs=[there, missing])
    with pytest.raises(daskflow.MissingOutputs) as caught:
        run(future)
    assert caught.value.missing == [missing.filepath]
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.parametrize("bad", [None, 3, b"true", [], ["echo", 3], {"a": 1}], ids=repr)
def test_what_is_no_command_is_refused(bad: Any) -> None:
    with pytest.raises(daskflow.BashAppNoReturn, match="must be a command string or a list"):
        run(shell(bad))


@pytest.mark.parametrize("bad", ["{0.missing}", "{5}", "{name}"])
def test_a_failure_to_format_the_command_says_so(bad: str) -> None:
    @bash_app
    def formatted(template: str) -> str:
        return template.format("x")

    with pytest.raises(daskflow.AppBadFormatting, match="'formatted'"):
        run(formatted(bad))


def test_any_other_failure_of_the_function_is_its_own() -> None:
    @bash_app
    def broken() -> str:
        raise OSError("own")

    with pytest.raises(OSError, match="own"):
        run(broken())


# ---- streams ------------------------------------------------------------------------------------


def test_a_path_is_appended_to_and_its_folder_made(tmp_path: Path) -> None:
    log = tmp_path / "a" / "b" / "log"
    for stdout in (str(log), log):
        run(logged("echo x", stdout=stdout))
    assert log.read_text() == "x\nx\n"


@pytest.mark.parametrize(("mode", "text"), [("w", "x\n"), ("a", "old\nx\n"), ("wb", "x\n")])
def test_a_path_with_a_mode_is_opened_so(mode: str, text: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    run(logged("echo x", stdout=(str(log), mode)))
    assert log.read_text() == text


def test_a_file_is_written_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n")
    future = logged("echo x; echo y >&2", stdout=File(log), stderr=(tmp_path / "err", "w"))
    run(future)
    assert log.read_text() == "x\n"
    assert (tmp_path / "err").read_text() == "y\n"
    assert future.stdout == File(log)


def test_auto_logname_gives_each_call_files_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    futures = [
        logged(f"echo {i}; echo {i}{i} >&2", stdout=AUTO_LOGNAME, stderr=AUTO_LOGNAME, label="try")
        for i in range(2)
    ]
    for i, future in enumerate(futures):
        run(future)
        assert Path(future.stdout).read_text() == f"{i}\n"
        assert Path(future.stderr).read_text() == f"{i}{i}\n"
        assert Path(future.stdout).name == f"{future.key}_try.stdout"


def test_a_stream_that_cannot_be_opened_fails_the_call_before_it_runs(
    tmp_path: Path, runs: Any
) -> None:
    (tmp_path / "file").touch()
    bad = str(tmp_path / "file" / "log")
    with pytest.raises(daskflow.BadStdStreamFile, match="stdout") as caught:
        run(logged(f"touch {runs.folder}/ran", stdout=bad))
    assert isinstance(caught.value, OSError)
    with pytest.raises(daskflow.BadStdStreamFile, match="stderr"):
        run(logged(f"touch {runs.folder}/ran", stderr=(tmp_path / "file", "x")))
    assert runs.all() == {}


def test_what_a_python_app_prints_goes_to_its_streams(tmp_path: Path) -> None:
    @python_app
    def speak(stdout: Any = None, stderr: Any = None) -> str:
        import sys

        print("out")
        print("err", file=sys.stderr)
        return "value"

    assert run(speak(stdout=str(tmp_path / "o"), stderr=str(tmp_path / "e"))) == "value"
    assert (tmp_path / "o").read_text() == "out\n"
    assert (tmp_path / "e").read_text() == "err\n"


# ---- processes ----------------------------------------------------------------------------------


def test_a_command_leads_its_own_process_group(tmp_path: Path) -> None:
    run(logged("echo $$; ps -o pgid= -p $$ || cut -d' ' -f5 /proc/$$/stat", stdout=tmp_path / "o"))
    pid, group = (tmp_path / "o").read_text().split()
    assert pid == group
    assert int(group) != os.getpgid(0)


def test_a_command_over_its_walltime_is_ended_with_its_children(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # The children hold the write end: the reader sees the end of the file once all are gone.
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    try:
        with pytest.raises(daskflow.AppTimeout, match=r"0\.2 s"):
            run(shell(f"exec 3>{fifo}; sleep 1000 & sleep 1000 & wait", walltime=0.2))
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_a_command_reads_no_input(tmp_path: Path) -> None:
    assert run(logged("cat", stdout=tmp_path / "o")) == 0
    assert (tmp_path / "o").read_text() == ""


def test_a_background_child_that_holds_stderr_delays_nobody(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with pytest.raises(daskflow.BashExitFailure, match="gone"):
        # The child waits for a writer of the fifo.
        run(shell(f"(read < {fifo}) & echo gone >&2; exit 1"))
    os.close(os.open(fifo, os.O_RDWR))


def test_a_command_that_failed_is_tried_again(tmp_path: Path) -> None:
    count = tmp_path / "count"
    again = shell.options(retries=2)
    assert run(again(f"echo x >> {count}; [ $(wc -l < {count}) -ge 3 ]")) == 0
    assert count.read_text() == "x\n" * 3
