"""Ctrl-C, threads, forks and callbacks: who may wait where, and what an interrupt leaves intact."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import daskflow
from daskflow import Config, KernelForkedError, WouldDeadlockError, python_app

Configs = Callable[..., Config]


@python_app
def square(x: int) -> int:
    return x * x


@python_app
def held(gate: str) -> str:
    return Path(gate).read_text()


@python_app
def demanding() -> int:
    return int(square(3).result())


INTERRUPTED = """
import os, sys, daskflow
from daskflow import Config, LocalExecutor

@daskflow.python_app
def waits(started, gate):
    with open(started, "w") as told:
        told.write(str(os.getpid()))
    with open(gate) as waiting:
        return waiting.read(), os.getpid()

@daskflow.python_app
def where():
    return os.getpid()

if __name__ == "__main__":
    how, started, gate = sys.argv[1:]
    with daskflow.load(Config(executors=[LocalExecutor(workers=1)], dashboard=False)) as kernel:
        worker = where().result()
        host = kernel._session.host.pid
        future = waits(started, gate)
        print("waiting", flush=True)
        try:
            if how == "result":
                future.result()
            elif how == "gather":
                daskflow.gather([future])
            else:
                daskflow.wait_for_current_tasks()
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        os.kill(host, 0)
        with open(gate, "w") as out:
            out.write("later")
        assert future.result() == ("later", worker), "the call went on, on the worker it was on"
        assert where().result() == worker, "the worker survives"
    print("done", flush=True)
"""


@pytest.mark.parametrize("how", ["result", "gather", "wait_for_current_tasks"])
def test_ctrl_c_interrupts_the_waiting_and_nothing_else(
    scripts: Any, fifo: Callable[[str], str], how: str
) -> None:
    started, gate = fifo("started"), fifo("gate")
    script = scripts.start(INTERRUPTED, how, started, gate)
    assert script.stdout.readline() == "waiting\n"
    Path(started).read_text()
    os.killpg(script.pid, signal.SIGINT)  # as a terminal does: the whole process group
    out, err = script.communicate(timeout=60)
    assert (script.returncode, out, err) == (0, "interrupted\ndone\n", "")


def test_ctrl_c_at_a_terminal_interrupts_the_waiting_and_nothing_else(
    scripts: Any, fifo: Callable[[str], str]
) -> None:
    started, gate = fifo("started"), fifo("gate")
    own, theirs = pty.openpty()
    name = os.ttyname(theirs)

    def become_its_terminal() -> None:
        os.setsid()
        os.close(os.open(name, os.O_RDWR))  # the first terminal opened becomes the controlling one

    script = scripts.start(
        INTERRUPTED,
        *("result", started, gate),
        stdin=theirs,
        start_new_session=False,
        preexec_fn=become_its_terminal,
    )
    os.close(theirs)
    Path(started).read_text()
    os.write(own, b"\x03")
    out, err = script.communicate(timeout=60)
    os.close(own)
    assert (script.returncode, out, err) == (0, "waiting\ninterrupted\ndone\n", "")


def test_ctrl_c_that_leaves_the_block_cancels_and_ends_the_script(
    scripts: Any, fifo: Callable[[str], str]
) -> None:
    started, gate = fifo("started"), fifo("gate")
    script = scripts.start(
        INTERRUPTED.replace("except KeyboardInterrupt", "except ValueError"),
        *("result", started, gate),
    )
    assert script.stdout.readline() == "waiting\n"
    Path(started).read_text()
    os.killpg(script.pid, signal.SIGINT)
    _out, err = script.communicate(timeout=60)
    assert script.returncode in (1, -signal.SIGINT)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "1 call was recorded and never run: an exception left the with block" in err


SUBMITTING = """
import os, signal, sys, threading, daskflow
from daskflow import Config, LocalExecutor

@daskflow.python_app
def square(x):
    return x * x

if __name__ == "__main__":
    config = Config(
        executors=[LocalExecutor(workers=1)], dashboard=False, submit_every=10**6, max_in_flight=10**6
    )
    with daskflow.load(config) as kernel:
        square(1).result()
        futures = []
        delay_s = float(sys.argv[1])
        try:
            threading.Timer(delay_s, os.kill, (os.getpid(), signal.SIGINT)).start()
            while True:
                more = [square(x) for x in range(len(futures), len(futures) + 5000)]
                futures += more
                daskflow.gather(more)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        assert daskflow.gather(futures) == [x * x for x in range(len(futures))]
"""


@pytest.mark.parametrize("delay_s", ["0.02", "0.1", "0.3"])
def test_ctrl_c_while_calls_are_being_submitted_loses_none_of_them(
    scripts: Any, delay_s: str
) -> None:
    assert scripts.run(SUBMITTING, delay_s) == (0, "interrupted\n", "")


def test_waiting_inside_a_done_callback_raises_instead_of_deadlocking(threads: Configs) -> None:
    seen: list[object] = []
    told = threading.Event()

    def callback(future: Any) -> None:
        try:
            square(future.result() + 1).result()
        except WouldDeadlockError as error:
            seen.append(error)
        seen.append(future.result())
        told.set()

    with daskflow.load(threads()):
        square(3).add_done_callback(callback)
        assert told.wait(20)
    assert "done-callback" in str(seen[0])
    assert seen[1] == 9


def test_a_done_callback_may_record_and_chain_further_calls(threads: Configs) -> None:
    told = threading.Event()
    values: list[int] = []

    def second(future: Any) -> None:
        values.append(future.result())
        told.set()

    def first(future: Any) -> None:
        square(future.result()).add_done_callback(second)

    with daskflow.load(threads()):
        square(3).add_done_callback(first)
        assert told.wait(20)
    assert values == [81]


@pytest.mark.parametrize("executor", ["processes", "threads"])
def test_demanding_a_future_inside_an_app_raises_and_names_join_app(
    config: Configs, threads: Configs, executor: str
) -> None:
    settings = threads() if executor == "threads" else config()
    with daskflow.load(settings):
        with pytest.raises(daskflow.NoDataFlowKernelError, match="join_app"):
            demanding().result()
        assert square(2).result() == 4


def test_apps_may_be_called_from_many_threads_at_once(config: Configs) -> None:
    def work(thread: int) -> list[int]:
        futures = [square(thread * 1000 + i) for i in range(200)]
        return [f.result() for f in futures]

    with daskflow.load(config()), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(8)))
    assert found == [[(t * 1000 + i) ** 2 for i in range(200)] for t in range(8)]


def test_many_threads_may_wait_for_one_future(threads: Configs, fifo: Callable[[str], str]) -> None:
    gate = fifo("gate")
    with daskflow.load(threads()), ThreadPoolExecutor(8) as pool:
        future = held(gate)
        waiting = [pool.submit(future.result) for _ in range(8)]
        Path(gate).write_text("open")
        assert {w.result() for w in waiting} == {"open"}


def test_threads_that_load_at_once_get_the_same_kernel(threads: Configs) -> None:
    with ThreadPoolExecutor(4) as pool:
        settings = threads()
        kernels = set(pool.map(lambda _: daskflow.load(settings), range(4)))
    assert len(kernels) == 1


FORKS = """
import os, sys, daskflow
from daskflow import Config, KernelForkedError, LocalExecutor, ThreadExecutor

@daskflow.python_app
def square(x):
    return x * x

def child(how, future, kernel):
    for demand in (future.result, future.done, kernel.wait_for_current_tasks):
        try:
            demand()
        except KernelForkedError as error:
            assert "daskflow.load()" in str(error)
        else:
            raise AssertionError("the parent's kernel was used")
    if how == "load":
        with daskflow.load(config("child")):
            assert square(3).result() == 9
    if how == "close":
        kernel.close()
        daskflow.clear()
    print("child is fine", flush=True)
    if how == "exec":
        os._exit(0)

def config(name):
    return Config(executors=[LocalExecutor(workers=1)], run_dir=name, dashboard=False)

if __name__ == "__main__":
    how = sys.argv[1]
    with daskflow.load(config("parent")) as kernel:
        assert square(2).result() == 4
        future = square(5)
        pid = os.fork()
        if pid == 0:
            child(how, future, kernel)
            sys.exit(0)
        _pid, status = os.waitpid(pid, 0)
        assert status == 0, status
        assert future.result() == 25
        assert square(6).result() == 36
    print("parent is fine", flush=True)
"""


@pytest.mark.parametrize("how", ["exit", "exec", "close", "load"])
def test_a_forked_child_leaves_the_parents_kernel_alone(scripts: Any, how: str) -> None:
    code, out, err = scripts.run(FORKS, how)
    assert (code, out.splitlines(), err) == (0, ["child is fine", "parent is fine"], "")


def test_futures_of_the_parent_that_have_ended_are_there_in_a_forked_child(
    threads: Configs,
) -> None:
    with daskflow.load(threads()):
        done = square(3)
        assert done.result() == 9
        unfinished = square(4)
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                answer = f"{done.result()} "
                unfinished.result()
            except KernelForkedError:
                answer += "forked"
            finally:
                os.write(writable, answer.encode())
                os._exit(0)
        os.close(writable)
        with os.fdopen(readable) as answers:
            assert answers.read() == "9 forked"
        assert os.waitpid(pid, 0)[1] == 0
        assert unfinished.result() == 16


SUBMITTING_A_JOB = """
import atexit, sys, time
from pathlib import Path
import daskflow
from daskflow import BlockExecutor, Config
from jobqueue_sites import SlurmProvider

executor = BlockExecutor(provider=SlurmProvider(), host="127.0.0.1")
daskflow.load(Config(executors=[executor], dashboard=False))
then, submitting, ready = sys.argv[1:]
Path(submitting).read_text()  # the job is on its way
if then == "runs":
    Path(ready).write_text("runs")
    while True:  # a signal that came just before signal.pause() would not end that
        time.sleep(0.05)
atexit.register(Path(ready).write_text, "ends")  # just before the kernel is closed
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Let sbatch and scancel be these bash scripts."""

    def make(sbatch: str, scancel: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, text in (("sbatch", sbatch), ("scancel", scancel)):
            (folder / name).write_text(f"#!/bin/bash\n{text}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return make


@pytest.mark.parametrize("then", ["runs", "ends"])
def test_ctrl_c_while_a_job_is_submitted_cancels_the_job(
    scripts: Any,
    fifo: Callable[[str], str],
    slurm: Callable[[str, str], None],
    tmp_path: Path,
    then: str,
) -> None:
    submitting, ready, cancelled = fifo("submitting"), fifo("ready"), tmp_path / "cancelled"
    slurm(f"echo now > {submitting}; sleep 1; echo 4711", f"echo $* > {cancelled}")
    process = scripts.start(SUBMITTING_A_JOB, then, submitting, ready)
    assert Path(ready).read_text() == then
    os.killpg(process.pid, signal.SIGINT)
    _out, err = process.communicate(timeout=60)
    assert err.rstrip(": \n").endswith("KeyboardInterrupt")
    assert cancelled.exists(), err
    assert "4711" in cancelled.read_text()


def test_a_second_ctrl_c_leaves_jobs_to_the_guard_when_the_batch_system_hangs(
    scripts: Any, fifo: Callable[[str], str], slurm: Callable[[str, str], None], tmp_path: Path
) -> None:
    submitting, ready, cancelling = fifo("submitting"), fifo("ready"), fifo("cancelling")
    hangs, by_guard = fifo("hangs"), fifo("by_guard")
    slurm(
        f"echo now > {submitting}; echo 4711",
        f"if mkdir {tmp_path / 'first'}; then echo now > {cancelling}; cat {hangs}\n"
        f"else echo $* > {by_guard}; fi",
    )
    process = scripts.start(SUBMITTING_A_JOB, "ends", submitting, ready)
    assert Path(ready).read_text() == "ends"
    assert Path(cancelling).read_text() == "now\n"
    for _ in range(50):  # before the command's own time limit
        os.killpg(process.pid, signal.SIGINT)  # two that come at once may count as one
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
            break
    assert "KeyboardInterrupt" in process.communicate()[1]
    assert Path(by_guard).read_text() == "4711\n"
    Path(hangs).write_text("no more")
