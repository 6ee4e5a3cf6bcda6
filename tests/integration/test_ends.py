"""Every call ends: whatever becomes of arguments, callbacks, values and kernels around it."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from pathlib import Path
from typing import Any

import pytest

import daskflow
from daskflow import DependencyError, File, join_app, python_app


@python_app
def plus_one(x: Any) -> Any:
    return x + 1


@python_app
def same(x: Any) -> Any:
    return x


class OpensElsewhere:
    """Can be pickled, and opened in the process that made it only."""

    def __init__(self) -> None:
        self.home = os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["home"] != os.getpid():
            raise RuntimeError("cannot be opened here")
        self.__dict__.update(state)


@python_app
def opens_elsewhere() -> Any:
    return OpensElsewhere()


@pytest.mark.usefixtures("kernel")
def test_a_call_that_waits_for_a_plain_future_counts_as_unfinished() -> None:
    source: concurrent.futures.Future[int] = concurrent.futures.Future()
    waiting = plus_one(source)
    daskflow.submit()
    with pytest.raises(TimeoutError):
        daskflow.wait_for_current_tasks(timeout=0.2)
    source.set_result(1)
    daskflow.wait_for_current_tasks(timeout=30)
    assert waiting.result(timeout=30) == 2


def test_a_cancelled_dask_future_as_argument_ends_the_call(
    kernel: daskflow.DataFlowKernel,
) -> None:
    never = kernel.client.submit(int, 1, resources={"nobody": 1}, key="never-runs")
    future = plus_one(never)
    daskflow.submit()
    kernel.client.cancel([never])
    with pytest.raises(DependencyError, match="never-runs"):
        future.result(timeout=30)


@pytest.mark.usefixtures("kernel")
def test_a_join_whose_value_cannot_be_opened_here_fails() -> None:
    @join_app
    def joins() -> Any:
        return [opens_elsewhere()]

    with pytest.raises(RuntimeError, match="cannot be opened here"):
        joins().result(timeout=30)
    assert plus_one(1).result(timeout=30) == 2


@pytest.mark.usefixtures("kernel")
def test_a_callback_that_leaves_the_interpreter_does_not_end_the_kernel() -> None:
    called = threading.Event()

    def leave(_future: object) -> None:
        called.set()
        raise SystemExit(3)

    plus_one(1).add_done_callback(leave)
    assert called.wait(30)
    assert plus_one(2).result(timeout=30) == 3


@pytest.mark.usefixtures("kernel")
def test_a_callback_may_ask_for_the_files_of_its_call(tmp_path: Path) -> None:
    @python_app
    def writes(outputs: list[File]) -> None:
        Path(outputs[0]).write_text("written")

    future = writes(outputs=[File(tmp_path / "out.txt")])
    found: concurrent.futures.Future[File] = concurrent.futures.Future()
    future.add_done_callback(lambda f: found.set_result(f.outputs[0].result()))
    assert Path(found.result(timeout=30)).read_text() == "written"


def test_asking_whether_a_file_is_being_written_is_no_demand(tmp_path: Path) -> None:
    @python_app
    def writes(outputs: list[File]) -> None:
        Path(outputs[0]).write_text("written")

    future = writes(outputs=[File(tmp_path / "out.txt")])
    assert not future.outputs[0].running()
    assert not future.outputs[0].cancelled()
    assert future.task_status() == "recorded"


@pytest.mark.usefixtures("kernel")
def test_a_running_lambda_can_be_cancelled(tmp_path: Path) -> None:
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)

    def spin() -> None:
        os.close(os.open(fifo, os.O_WRONLY))
        while True:
            pass

    spin.__name__ = "<lambda>"
    future = python_app(spin)()
    daskflow.submit()
    os.close(os.open(fifo, os.O_RDONLY))
    assert future.cancel()
    values = [same(i) for i in range(20)]
    assert daskflow.gather(values) == list(range(20))


@pytest.mark.usefixtures("kernel")
def test_inputs_that_a_function_does_not_take_are_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "made"

    @python_app
    def makes() -> None:
        path.touch()

    @python_app
    def looks() -> bool:
        return path.exists()

    assert looks(inputs=[makes()]).result(timeout=30) is True


@pytest.mark.usefixtures("kernel")
def test_a_walltime_is_told_whatever_the_interrupted_code_raises() -> None:
    @python_app(walltime_s=0.3)
    def cleans_up_badly() -> None:
        try:
            while True:
                pass
        finally:
            raise RuntimeError("while cleaning up")

    with pytest.raises(daskflow.AppTimeout):
        cleans_up_badly().result(timeout=30)
