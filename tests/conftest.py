"""What tests share: a loaded kernel, and counts of runs that hold across processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import daskflow
from daskflow.futures.recording import process
from daskflow.kernel.sending import Sender

# A busy machine makes an example slow; that says nothing of what is tested.
settings.register_profile(
    "busy", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that need a Slurm come first, since they take longest."""
    items.sort(key=lambda item: not _is_of_slurm(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several processes, let one run all tests of a file, and one all that need the Slurm."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "slurm" if _is_of_slurm(nodeid) else nodeid.split("::", maxsplit=1)[0]

    return ByFile(config, log)


def _is_of_slurm(nodeid: str) -> bool:
    return "slurm/test_" in nodeid.split("::", maxsplit=1)[0]


class Runs:
    """Counts runs in whatever process they happen: each appends one byte to a file.

    An app says ``runs.count("a")``, the test then reads ``runs["a"]``.
    """

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def count(self, name: str = "run") -> None:
        descriptor = os.open(f"{self.folder}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, b".")
        os.close(descriptor)

    def __getitem__(self, name: str) -> int:
        path = Path(self.folder, name)
        return path.stat().st_size if path.exists() else 0

    def all(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in Path(self.folder).iterdir()}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    folder = tmp_path / "runs"
    folder.mkdir()
    return Runs(folder)


@pytest.fixture
def tasks_sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the Dask tasks that kernels send from now on."""
    sent: list[str] = []
    get = Sender.get

    def noted(sender: Sender, layers: Any, keys: list[Any]) -> dict[Any, Any]:
        sent.extend(keys)
        return get(sender, layers, keys)

    monkeypatch.setattr(Sender, "get", noted)
    return sent


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[daskflow.DataFlowKernel]:
    """A kernel with two worker processes of one thread each, for a whole module of tests."""
    config = daskflow.Config(
        executors=[daskflow.LocalExecutor(workers=2, memory_limit=0)],
        run_dir=str(tmp_path_factory.mktemp("runinfo")),
        dashboard=False,
    )
    loaded = daskflow.load(config)
    yield loaded
    loaded.close()


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """No call that a test recorded without a kernel is run by a later test's kernel."""
    yield
    for _ in process.pool.drain():
        pass


@pytest.fixture
def without_kernel() -> Iterator[None]:
    """No kernel is loaded, and the test loads none."""
    assert process.kernel is None
    yield
    assert process.kernel is None
