"""What tests share: a loaded kernel, and counts of runs that hold across processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import daskflow
from daskflow.futures.recording import process


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes, let one run all of a file, and one all that need a Slurm: they take longest."""
    slurm = Path(__file__).parent / "slurm"
    for item in items:
        group = slurm if slurm in item.path.parents else item.path
        item.add_marker(pytest.mark.xdist_group(str(group)))
    items.sort(key=lambda item: slurm not in item.path.parents)


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
