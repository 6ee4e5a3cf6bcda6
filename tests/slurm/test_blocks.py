"""Calls on blocks of a real Slurm: where they run, and that blocks follow the work."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import dask.array as da
import pytest

from daskflow import BlockExecutor, Config, LocalExecutor, load, python_app
from jobqueue_sites import MpiExecLauncher, SlurmProvider, SrunLauncher
from tests.slurm.apps import double, where
from tests.slurm.conftest import need


def config(tmp_path: Path, *executors: Any, **more: Any) -> Config:
    return Config(executors=executors, run_dir=str(tmp_path / "runinfo"), dashboard=False, **more)


def gpu_executor(**settings: Any) -> BlockExecutor:
    provider = {"nodes_per_block": 2, "gpus_per_node": 2, "cores_per_node": 2}
    provider |= settings.pop("provider", {})
    layout = {"available_accelerators": 2, "cpu_affinity": "block", "label": "gpu"} | settings
    return BlockExecutor(
        **layout,
        provider=SlurmProvider(
            partition="main", walltime="00:10:00", launcher=SrunLauncher(), **provider
        ),
    )


MPI_AS_ROOT = """\
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export PRTE_ALLOW_RUN_AS_ROOT=1 PRTE_ALLOW_RUN_AS_ROOT_CONFIRM=1
"""
LAUNCHERS = {
    "srun": SrunLauncher(),
    "openmpi": MpiExecLauncher(command="mpiexec.openmpi"),
    "mpich": MpiExecLauncher(command="mpiexec.mpich"),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_each_worker_has_its_own_gpu_and_core(tmp_path: Path, launcher: str) -> None:
    if launcher != "srun":
        need(f"mpiexec.{launcher}")
    provider = {"worker_init": MPI_AS_ROOT}
    executor = gpu_executor(launcher=LAUNCHERS[launcher], provider=provider)
    with load(config(tmp_path, executor)) as kernel:
        kernel.client.wait_for_workers(4, timeout=60)
        places = {future.result() for future in [where(n) for n in range(24)]}
    workers = defaultdict(set)
    for node, _block, slot, gpu, cores in places:
        workers[node].add((slot, gpu, cores))
    assert len(workers) == 2
    for found in workers.values():
        assert found == {("0", "0", (0,)), ("1", "1", (1,))}


def test_a_worker_may_have_several_gpus(tmp_path: Path) -> None:
    executor = gpu_executor(
        available_accelerators=["0,1", "2,3"], provider={"gpus_per_node": 4, "nodes_per_block": 1}
    )
    with load(config(tmp_path, executor)) as kernel:
        kernel.client.wait_for_workers(2, timeout=60)
        places = {future.result()[2:4] for future in [where(n) for n in range(12)]}
    assert places == {("0", "0,1"), ("1", "2,3")}


def test_blocks_follow_the_work_and_the_user(tmp_path: Path) -> None:
    executor = BlockExecutor(
        label="cpu",
        max_workers_per_node=1,
        provider=SlurmProvider(partition="main", walltime="00:10:00", max_blocks=4, init_blocks=1),
    )
    with load(config(tmp_path, executor, batch=5)) as kernel:
        futures = double.map(range(2000))
        assert [future.result() for future in futures] == [2 * n for n in range(2000)]
        cluster = kernel.clusters["cpu"]
        cluster.wait_for_blocks(4, timeout=60)
        cluster.scale(blocks=1)
        assert [f.result() for f in double.map(range(500))] == [2 * n for n in range(500)]
        cluster.wait_for_blocks(1, timeout=60)
        assert len(cluster.open_blocks) == 1
        cluster.scale(blocks=4)
        cluster.wait_for_blocks(4, timeout=60)
        nodes = {future.result()[0] for future in [where(n, 0.5) for n in range(16)]}
        assert nodes == {"node1", "node2", "node3", "node4"}


def test_cpu_and_gpu_executors_share_one_graph(tmp_path: Path) -> None:
    @python_app(executors=["cpu"])
    def made(number: int) -> Any:
        import numpy as np

        return np.full(1000, number)

    @python_app(executors=["gpu"])
    def device_and_sum(array: Any) -> tuple[str, int]:
        import os

        return os.environ["CUDA_VISIBLE_DEVICES"], int(array.sum())

    @python_app(executors=["cpu"])
    def has_gpu(_after: Any) -> bool:
        import os

        return "JOBQUEUE_SITES_BLOCK" in os.environ

    executors = gpu_executor(provider={"nodes_per_block": 1}), LocalExecutor(label="cpu", workers=1)
    with load(config(tmp_path, *executors)):
        parts = [made(n) for n in range(8)]
        arrays = [da.from_delayed(part, (1000,), dtype=int) for part in parts]
        between = da.concatenate(arrays) + 1
        found = [device_and_sum(between.blocks[n]) for n in range(8)]
        values = [future.result() for future in found]
        assert [total for _, total in values] == [1000 * (n + 1) for n in range(8)]
        assert {device for device, _ in values} <= {"0", "1"}
        assert not has_gpu(found[0]).result()


def test_the_script_is_shown_before_anything_is_submitted() -> None:
    script = gpu_executor().job_script()
    assert "#SBATCH --partition=main" in script
    assert "#SBATCH --nodes=2" in script
    assert "jobqueue_sites.agent" in script
