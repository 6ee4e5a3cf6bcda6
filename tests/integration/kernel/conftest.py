"""For tests of the kernel's life: configs of small kernels, scripts in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import daskflow
from daskflow import Config, LocalExecutor, ThreadExecutor
from daskflow.futures.recording import process


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Config]:
    """Make a Config with one local worker, unless told otherwise, that writes below tmp_path."""

    def make(**settings: Any) -> Config:
        given: dict[str, Any] = {
            "executors": [LocalExecutor(workers=1, memory_limit=0)],
            "run_dir": str(tmp_path / "runinfo"),
            "dashboard": False,
            **settings,
        }
        return Config(**given)

    return make


@pytest.fixture
def threads(config: Callable[..., Config]) -> Callable[..., Config]:
    """Make a Config with one ThreadExecutor."""

    def make(max_threads: int = 2, **settings: Any) -> Config:
        return config(executors=[ThreadExecutor(max_threads=max_threads)], **settings)

    return make


@pytest.fixture(autouse=True)
def _no_kernel_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "kernel" not in request.fixturenames and isinstance(process.kernel, daskflow.DataFlowKernel):
        process.kernel.close()


@pytest.fixture
def fifo(tmp_path: Path) -> Callable[[str], str]:
    """Make a named pipe: whoever opens one end waits until somebody opens the other."""

    def make(name: str) -> str:
        path = str(tmp_path / f"{name}.fifo")
        os.mkfifo(path)
        return path

    return make


class Scripts:
    """Runs Python scripts, each in a session of its own, so that nothing of it can escape."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def start(self, text: str, *args: str, **popen: Any) -> subprocess.Popen[str]:
        path = self.folder / f"script{len(self._started)}.py"
        path.write_text(text)
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.PIPE)
        popen.setdefault("start_new_session", True)
        root = str(Path(daskflow.__file__).parents[1])
        started = subprocess.Popen(
            [sys.executable, "-u", str(path), *args],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": root},
            text=True,
            **popen,
        )
        self._started.append(started)
        return started

    def run(self, text: str, *args: str) -> tuple[int, str, str]:
        """Run a script to its end; return its exit code, stdout and stderr."""
        started = self.start(text, *args)
        out, err = started.communicate(timeout=60)
        return started.returncode, out, err

    def end(self) -> None:
        for started in self._started:
            if started.poll() is None:
                started.kill()
            started.wait()
            for stream in (started.stdin, started.stdout, started.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[Scripts]:
    made = Scripts(tmp_path)
    yield made
    made.end()


@pytest.fixture
def ended() -> Callable[..., bool]:
    """Wait until processes have ended; False if one of them has not within a time limit."""

    def wait(pids: list[int], timeout_s: float = 60) -> bool:
        processes = []
        for pid in pids:
            try:
                found = psutil.Process(pid)
            except psutil.NoSuchProcess:
                continue
            if found.status() != psutil.STATUS_ZOMBIE:
                processes.append(found)
        _gone, alive = psutil.wait_procs(processes, timeout_s)
        return all(p.is_running() and p.status() == psutil.STATUS_ZOMBIE for p in alive)

    return wait
