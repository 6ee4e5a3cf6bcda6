"""Executors: where calls run, by label and by resources; what their workers are given."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import daskflow
from daskflow import (
    Config,
    ExecutorError,
    InvalidResourceSpecification,
    LocalExecutor,
    SchedulerLost,
    ThreadExecutor,
    UnknownExecutor,
    bash_app,
    join_app,
    python_app,
)

Configs = Callable[..., Config]


@python_app
def where() -> tuple[int, str]:
    from distributed import get_worker

    return os.getpid(), str(get_worker().name)


@python_app
def environment(name: str) -> str | None:
    return os.environ.get(name)


@python_app
def square(x: int) -> int:
    return x * x


@bash_app
def shell_environment(name: str, stdout: str) -> str:
    return f"echo ${name}"


def test_threads_run_calls_in_this_process_and_local_workers_in_others(
    config: Configs, threads: Configs
) -> None:
    with daskflow.load(threads()):
        assert where().result() == (os.getpid(), "threads")
    with daskflow.load(config()) as kernel:
        pid, name = where().result()
        host = kernel._session.host.pid
    assert pid not in (os.getpid(), host)
    assert name == "local-0"


def test_the_scheduler_has_a_process_of_its_own_outside_the_terminals_group(
    threads: Configs,
) -> None:
    with daskflow.load(threads()) as kernel:
        host = kernel._session.host.pid
        assert host != os.getpid()
        assert os.getpgid(host) == host

        def pid_of_scheduler() -> int:
            return os.getpid()

        assert kernel.client.run_on_scheduler(pid_of_scheduler) == host


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return Config(
        executors=[
            LocalExecutor(label="cpu", workers=1, memory_limit=0),
            LocalExecutor(
                label="gpu", workers=1, threads_per_worker=4, memory_limit=0, resources={"GPU": 1}
            ),
            ThreadExecutor(label="here", max_threads=2),
        ],
        run_dir=str(tmp_path_factory.mktemp("runinfo")),
        dashboard=False,
    )


def test_calls_run_on_the_executor_that_their_app_names(mixed: Config) -> None:
    with daskflow.load(mixed):
        for label, name in (("cpu", "cpu-0"), ("gpu", "gpu-0"), ("here", "here")):
            futures = [where.options(executors=[label])() for _ in range(10)]
            assert {f.result()[1] for f in futures} == {name}
            assert {f.executor for f in futures} <= {label, None}
        several = [where.options(executors=["cpu", "here"])() for _ in range(40)]
        assert {f.result()[1] for f in several} == {"cpu-0", "here"}
        assert isinstance(where().result()[0], int)


def test_values_pass_between_executors(mixed: Config) -> None:
    with daskflow.load(mixed):
        on_cpu, here = square.options(executors=["cpu"]), square.options(executors=["here"])
        assert here(on_cpu(here(2))).result() == 256


@join_app(executors=["gpu"])
def where_inside() -> list[Any]:
    return [where.options(executors=["cpu"])(), where.options(executors=["here"])()]


@join_app
def nowhere_inside() -> Any:
    return where.options(executors=["nowhere"])()


def test_a_join_and_its_inner_calls_each_run_where_they_belong(mixed: Config) -> None:
    with daskflow.load(mixed):
        assert [name for _pid, name in where_inside().result()] == ["cpu-0", "here"]
        with pytest.raises(daskflow.JoinError) as caught:
            nowhere_inside().result()
        assert isinstance(caught.value.__cause__, UnknownExecutor)


def test_a_label_that_nobody_has_is_an_error_at_the_call(mixed: Config) -> None:
    with daskflow.load(mixed):
        with pytest.raises(UnknownExecutor, match=r"'where'.*'nowhere'.*'cpu', 'gpu', 'here'"):
            where.options(executors=["cpu", "nowhere"])()


def test_a_call_made_before_loading_fails_by_itself_if_nobody_has_its_label(
    threads: Configs,
) -> None:
    early, good = where.options(executors=["nowhere"])(), square(3)
    with daskflow.load(threads()):
        with pytest.raises(UnknownExecutor):
            early.result()
        assert good.result() == 9


def test_resources_that_nobody_has_are_an_error_at_the_call(mixed: Config) -> None:
    with daskflow.load(mixed):
        for wanted in ({"GPU": 2}, {"FPGA": 1}):
            with pytest.raises(InvalidResourceSpecification, match=r"'where'.*resources"):
                where.options(resources=wanted)()
        with pytest.raises(InvalidResourceSpecification):
            where.options(executors=["cpu"], resources={"GPU": 1})()
        assert where.options(resources={"GPU": 1})().result()[1] == "gpu-0"


@python_app(resources={"GPU": 1})
def alone_on_gpu(lock: str, turns: int) -> bool:
    alone = True
    for _ in range(turns):
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            alone = False
        else:
            os.sched_yield()
            Path(lock).unlink()
    return alone


def test_calls_that_take_a_resource_take_turns(mixed: Config, tmp_path: Path) -> None:
    with daskflow.load(mixed):
        futures = [alone_on_gpu(str(tmp_path / "lock"), 200) for _ in range(20)]
        assert all(daskflow.gather(futures)), "one GPU, four threads"


def test_local_workers_have_the_environment_they_are_given(config: Configs, tmp_path: Path) -> None:
    executor = LocalExecutor(workers=1, memory_limit=0, env={"DASKFLOW_TEST_ENV": "given"})
    with daskflow.load(config(executors=[executor])):
        assert environment("DASKFLOW_TEST_ENV").result() == "given"
        shell_environment("DASKFLOW_TEST_ENV", stdout=str(tmp_path / "out")).result()
    assert (tmp_path / "out").read_text() == "given\n"
    assert "DASKFLOW_TEST_ENV" not in os.environ


def test_local_workers_call_their_start_up_hook_before_any_call(config: Configs) -> None:
    def hook() -> None:
        os.environ["DASKFLOW_TEST_HOOK"] = f"ran in {os.getpid()}"

    executor = LocalExecutor(workers=2, memory_limit=0, on_start=hook)
    with daskflow.load(config(executors=[executor])):
        for future in [environment("DASKFLOW_TEST_HOOK") for _ in range(10)]:
            assert future.result().startswith("ran in ")
        isolated = environment.options(isolate=True)("DASKFLOW_TEST_HOOK").result()
        assert isolated.startswith("ran in ")
        assert isolated != future.result()


def test_a_start_up_hook_that_raises_is_an_error_that_shows_it_and_no_hang(
    config: Configs,
) -> None:
    def hook() -> None:
        raise ValueError("no licence for this machine")

    executor = LocalExecutor(workers=2, memory_limit=0, on_start=hook)
    with pytest.raises(ExecutorError, match="ValueError: no licence for this machine"):
        with daskflow.load(config(executors=[executor])):
            square(3).result(timeout=60)


INTRUDING = """
import sys
from distributed import Client
from distributed.security import Security

address, how = sys.argv[1:]
if how == "tcp":
    address = address.replace("tls://", "tcp://")
try:
    Client(address, security=Security.temporary() if how == "own" else None, timeout="1s")
except Exception as error:
    print(f"refused: {type(error).__name__}", flush=True)
else:
    print("connected", flush=True)
"""


@pytest.mark.parametrize("how", ["none", "own", "tcp"])
def test_the_scheduler_speaks_tls_only_and_to_its_own_client_only(
    threads: Configs, scripts: Any, how: str
) -> None:
    with daskflow.load(threads()) as kernel:
        address = kernel.client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        _code, out, _err = scripts.run(INTRUDING, address, how)
        assert out.startswith("refused")
        assert square(3).result() == 9


def test_encryption_is_off_only_if_that_is_said(threads: Configs) -> None:
    with daskflow.load(threads(encrypted=False)) as kernel:
        assert kernel.client.scheduler.address.startswith("tcp://127.0.0.1:")
        assert square(3).result() == 9


SPEAKING = """
import logging, sys, daskflow
from daskflow import Config, LocalExecutor, ThreadExecutor

@daskflow.python_app
def speak():
    print("printed by an app")
    print("printed to stderr by an app", file=sys.stderr)
    logging.getLogger("user.code").warning("logged by an app")

@daskflow.bash_app
def shout():
    return "echo printed by a command; echo told stderr by a command >&2"

if __name__ == "__main__":
    kind = ThreadExecutor(max_threads=1) if sys.argv[1] == "threads" else LocalExecutor(workers=1)
    with daskflow.load(Config(executors=[kind], dashboard=False)):
        speak().result()
        shout().result()
"""


@pytest.mark.parametrize("executor", ["local", "threads"])
def test_what_apps_print_and_log_reaches_the_console_of_the_script(
    scripts: Any, executor: str
) -> None:
    code, out, err = scripts.run(SPEAKING, executor)
    assert code == 0
    assert sorted(out.splitlines()) == ["printed by a command", "printed by an app"]
    for words in ("printed to stderr by an app", "told stderr by a command", "logged by an app"):
        assert err.count(words) == 1
    assert len(err.splitlines()) == 3, "and nothing else"


def test_the_end_of_the_scheduler_fails_all_calls_at_once(
    config: Configs, fifo: Callable[[str], str], ended: Callable[..., bool]
) -> None:
    gate = fifo("gate")
    kernel = daskflow.load(config())
    running = python_app(lambda path: Path(path).read_text())(gate)
    waiting = square(running)
    pid, _ = where().result()
    told = threading.Event()
    waiting.add_done_callback(lambda _: told.set())
    recorded = square(1)
    os.kill(kernel._session.host.pid, 9)
    assert told.wait(60)
    for future in (running, waiting, recorded):
        with pytest.raises(SchedulerLost, match="signal 9"):
            future.result(timeout=60)
    with pytest.raises(SchedulerLost):
        square(2)
    with pytest.raises(SchedulerLost):
        daskflow.wait_for_current_tasks()
    again = daskflow.load(config())
    assert again is not kernel, "loading again helps"
    assert square(3).result() == 9
    assert kernel.is_closed
    assert ended([pid]), "the workers of a scheduler that is gone end too"


def test_closing_after_the_scheduler_ended_is_quick_and_quiet(
    config: Configs, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = daskflow.load(config())
    assert square(3).result() == 9
    os.kill(kernel._session.host.pid, 9)
    with pytest.raises(SchedulerLost):
        while True:
            square(3).result(timeout=10)
    assert kernel.close() == 0
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR and "pid" not in r.message]
