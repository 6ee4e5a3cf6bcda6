"""How long blocks take to come up, on the Slurm that SLURM_CONF names.

    python tests/benchmarks/blocks.py [BLOCKS]

Prints the seconds from submission to the first call's result with one block, and until BLOCKS one-node
blocks (default: as many as the default partition has nodes) are all up.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

from daskflow import BlockExecutor, Config, load, python_app
from jobqueue_sites import SlurmBlocks, SlurmProvider

HOST = "127.0.0.1"  # of a Slurm on one machine


@python_app
def increment(number: int) -> int:
    return number + 1


def first_call_s(folder: str) -> tuple[float, float]:
    """Return the seconds that a kernel takes to load, and then a first call to end."""
    provider = SlurmProvider(walltime="00:10:00")
    executor = BlockExecutor(provider=provider, max_workers_per_node=1, host=HOST)
    begun_s = time.perf_counter()
    with load(Config(executors=[executor], run_dir=folder, dashboard=False)):
        loaded_s = time.perf_counter()
        assert increment(1).result() == 2
        return loaded_s - begun_s, time.perf_counter() - loaded_s


def all_up_s(folder: str, blocks: int) -> float:
    """Return the seconds until `blocks` blocks of one node are up."""
    with SlurmBlocks(
        walltime="00:10:00",
        max_workers_per_node=1,
        init_blocks=0,
        host=HOST,
        directory=folder,
        dask_scheduler_options={"dashboard_address": f"{HOST}:0"},
    ) as cluster:
        begun_s = time.perf_counter()
        cluster.scale(blocks=blocks)
        cluster.wait_for_blocks(blocks, timeout=300)
        return time.perf_counter() - begun_s


def main() -> None:
    """Measure, and print."""
    nodes = subprocess.run(
        ["sinfo", "--noheader", "--format=%D"], capture_output=True, text=True, check=True
    ).stdout.split()
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else max(map(int, nodes))
    with tempfile.TemporaryDirectory() as folder:
        load_s, call_s = first_call_s(folder)
        print(f"load {load_s:.1f} s, then submission to first result {call_s:.1f} s")
        print(f"{blocks} one-node blocks up after {all_up_s(folder, blocks):.1f} s")


if __name__ == "__main__":
    main()
