"""The process of the scheduler and of local workers: how it starts, what it costs, how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

import daskflow
from daskflow import Config, LocalExecutor, SchedulerLost, python_app
from daskflow.executors.host import HostProcess, SchedulerSettings

Configs = Callable[..., Config]


@pytest.fixture
def host() -> Iterator[HostProcess]:
    made = HostProcess()
    yield made
    made.stop()


def test_a_scheduler_process_that_does_not_answer_is_an_error_and_is_ended(
    host: HostProcess, ended: Callable[..., bool]
) -> None:
    os.kill(host.pid, signal.SIGSTOP)
    with pytest.raises(SchedulerLost, match=rf"pid {host.pid}\) has not answered within 0.5 s"):
        host.start_scheduler(
            SchedulerSettings(security=None, dashboard=False, dask_config={}), timeout_s=0.5
        )
    host.silence()
    host.stop()
    assert ended([host.pid], 0), "at once, since it would not end by itself"


def test_a_scheduler_that_cannot_start_is_an_error_that_says_why(host: HostProcess) -> None:
    settings = SchedulerSettings(
        host="no-such-host.invalid", security=None, dashboard=False, dask_config={}
    )
    with pytest.raises(SchedulerLost, match=r"could not start: .*"):
        host.start_scheduler(settings)


@python_app
def loaded_modules() -> set[str]:
    return set(sys.modules)


@python_app
def environment(name: str) -> str | None:
    return os.environ.get(name)


def test_workers_are_forked_and_import_no_large_library_that_nobody_asked_for(
    config: Configs,
) -> None:
    with daskflow.load(config(executors=[LocalExecutor(workers=2, memory_limit=0)])) as kernel:
        assert not loaded_modules().result() & {"pandas", "pyarrow", "bokeh", "scipy"}
        kernel.client.wait_for_workers(2)
        workers = [psutil.Process(pid) for pid in kernel.client.run(os.getpid).values()]
        assert "forkserver" in " ".join(workers[0].parent().cmdline())  # type: ignore[union-attr]
        assert workers[0].ppid() == workers[1].ppid()


def test_numeric_libraries_of_workers_use_one_thread_unless_told_otherwise(
    config: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    with daskflow.load(config()):
        assert environment("OMP_NUM_THREADS").result() == "1"
        assert environment("MKL_NUM_THREADS").result() == "3"


def test_a_worker_that_is_killed_before_its_nanny_knows_of_it_is_replaced(config: Configs) -> None:
    with daskflow.load(config()):
        first = python_app(os.getpid)().result()
        os.kill(first, signal.SIGKILL)
        second = python_app(os.getpid)().result()
        os.kill(second, signal.SIGKILL)
        assert python_app(os.getpid)().result() not in (first, second)


def test_the_dashboard_is_there_soon_after_the_start(config: Configs) -> None:
    with daskflow.load(config(dashboard=True)) as kernel:
        link: Any = kernel.client.dashboard_link
        assert link.startswith("http://127.0.0.1:")
        for _ in range(600):
            with contextlib.suppress(urllib.error.HTTPError):
                page = urllib.request.urlopen(link, timeout=20).read()
                break
            threading.Event().wait(0.1)  # nothing tells of it
        assert b"Bokeh" in page
