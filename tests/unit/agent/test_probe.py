"""Probing a node: from files and tools as they are, to what a job may use."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from jobqueue_sites.agent.probe import probe_node
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.pinning.plan import plan_node
from jobqueue_sites.pinning.topology import Topology, Vendor, format_cpus

NODES = Path(__file__).parents[2] / "golden" / "nodes"
NEAR = NodeLayout(available_accelerators="auto", cpu_affinity="auto")
NOWHERE = {"PATH": ""}


def write_files(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def recorded(root: Path, name: str) -> dict[str, str]:
    """Make the files of a recorded node, and a nvidia-smi if it has one; return its environment."""
    files = {}
    for line in (NODES / name / "files.txt").read_text().splitlines():
        path, _, text = line.partition(": ")
        files[path] = text.replace("\\n", "\n").replace("\\t", "\t")
    write_files(root, files)
    if (NODES / name / "nvidia-smi-list.txt").exists():
        return nvidia_smi(
            root,
            f'[ "$1" = -L ] && exec /bin/cat {NODES}/{name}/nvidia-smi-list.txt\n'
            f"exec /bin/cat {NODES}/{name}/nvidia-smi-query.txt",
        )
    return dict(NOWHERE)


def nvidia_smi(root: Path, body: str) -> dict[str, str]:
    program = root / "bin" / "nvidia-smi"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return {"PATH": str(program.parent)}


def names(topology: Topology) -> list[str]:
    return [gpu.name for gpu in topology.gpus]


def near(topology: Topology) -> list[str]:
    return [format_cpus(gpu.cpus) for gpu in topology.gpus]


def planned(topology: Topology) -> list[str]:
    return [format_cpus(worker.cpus) for worker in plan_node(topology, NEAR).workers]


def every_cpu(count: int) -> Iterable[int]:
    return range(count)


# Whole machines.


def test_polaris_is_found_with_its_order_of_gpus(tmp_path: Path) -> None:
    environ = recorded(tmp_path, "polaris")
    topology = probe_node(environ, root=tmp_path, allowed=every_cpu(64))
    assert len(topology.cpus) == 64
    assert len({cpu.core for cpu in topology.cpus}) == 32
    assert [cpu.numa for cpu in topology.cpus if cpu.id in (0, 31, 32, 63)] == [0, 3, 0, 3]
    assert names(topology) == ["0", "1", "2", "3"]
    assert [gpu.pci for gpu in topology.gpus][3] == "0000:c7:00.0"
    assert [gpu.numa for gpu in topology.gpus] == [3, 2, 1, 0]
    assert planned(topology) == ["24-31,56-63", "16-23,48-55", "8-15,40-47", "0-7,32-39"]
    assert topology.memory_bytes == 515396075520
    assert topology.hostname


def test_without_nvidia_smi_the_drivers_files_tell_the_same(tmp_path: Path) -> None:
    with_tool = probe_node(recorded(tmp_path, "polaris"), root=tmp_path, allowed=every_cpu(64))
    without = probe_node(NOWHERE, root=tmp_path, allowed=every_cpu(64))
    assert without == with_tool


def test_frontier_is_found_with_its_dies_and_the_cores_that_slurm_left(tmp_path: Path) -> None:
    environ = recorded(tmp_path, "frontier")
    environ |= dict.fromkeys(("ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"), "0,1,2,3,4,5,6,7")
    left = [cpu for cpu in range(64) if cpu % 8]
    topology = probe_node(environ, root=tmp_path, allowed=left)
    assert [gpu.vendor for gpu in topology.gpus] == [Vendor.AMD] * 8
    assert topology.gpus[0].pci == "0000:c1:00.0"
    assert topology.gpus[0].aliases == ("GPU-2f4c1a9d00009e37",)
    assert planned(topology)[:3] == ["49-55", "57-63", "17-23"]
    assert topology.memory_bytes == 536870912000


def test_aurora_is_found_with_its_tiles(tmp_path: Path) -> None:
    topology = probe_node(recorded(tmp_path, "aurora"), root=tmp_path, allowed=every_cpu(208))
    assert names(topology) == [f"{card}.{tile}" for card in range(6) for tile in (0, 1)]
    assert [gpu.numa for gpu in topology.gpus] == [0] * 6 + [1] * 6
    assert {cpu.numa for cpu in topology.cpus} == {0, 1}
    workers = plan_node(topology, NEAR).workers
    assert all(max(worker.cpus) - min(worker.cpus) < 120 for worker in workers)
    assert workers[6].env["ZE_AFFINITY_MASK"] == "3.0"
    assert workers[6].env["ZE_FLAT_DEVICE_HIERARCHY"] == "COMPOSITE"


def test_a_node_of_a_machine_in_the_catalogue_keeps_what_is_reserved_there(tmp_path: Path) -> None:
    environ = recorded(tmp_path, "aurora")
    topology = probe_node(environ, root=tmp_path, allowed=every_cpu(208), hostname="x4117c2s5b0n0")
    assert planned(topology)[:2] == ["1-8,105-112", "9-16,113-120"]
    assert planned(topology)[11] == "93-100,197-204"


def test_slices_are_accelerators_of_their_own(tmp_path: Path) -> None:
    topology = probe_node(recorded(tmp_path, "mig"), root=tmp_path, allowed=every_cpu(16))
    assert [name[:8] for name in names(topology)] == ["MIG-6d1e", "MIG-b2c3", "1"]
    assert near(topology) == ["0-7", "0-7", "8-15"]
    assert planned(topology) == ["0-3", "4-7", "8-15"]


def test_this_machine_is_found_as_the_kernel_shows_it() -> None:
    topology = probe_node(NOWHERE)
    assert topology.allowed == frozenset(os.sched_getaffinity(0))
    assert {cpu.id for cpu in topology.cpus} >= topology.allowed
    assert topology.memory_bytes is not None
    assert topology.memory_bytes <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert Topology.from_json(topology.to_json()) == topology


# What the batch system left.


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("2,3", ["2", "3"]),
        ("3,0", ["3", "0"]),
        (" 1 , 2 ", ["1", "2"]),
        ("GPU-c4d81e93-2a5f-4b60-9e17-5a8b0c1d2e3f,GPU-70", ["2", "3"]),
        ("0,7,1", ["0"]),  # as CUDA: what follows a wrong name is not seen
        ("1,-1,2", ["1"]),
        ("1,1", ["1"]),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_cuda_visible_devices_restricts_nvidia(tmp_path: Path, value: str, left: list[str]) -> None:
    environ = {**recorded(tmp_path, "polaris"), "CUDA_VISIBLE_DEVICES": value}
    assert names(probe_node(environ, root=tmp_path, allowed=every_cpu(64))) == left


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("MIG-b2c3d4e5-f607-5819-a2b3-c4d5e6f70819", ["MIG-b2c3"]),
        ("MIG-b2c3", ["MIG-b2c3"]),
        ("0", ["MIG-6d1e", "MIG-b2c3"]),
        ("1", ["1"]),
    ],
)
def test_a_job_may_have_been_given_slices(tmp_path: Path, value: str, left: list[str]) -> None:
    environ = {**recorded(tmp_path, "mig"), "CUDA_VISIBLE_DEVICES": value}
    found = names(probe_node(environ, root=tmp_path, allowed=every_cpu(16)))
    assert [name[:8] for name in found] == left


@pytest.mark.parametrize(
    ("variables", "left"),
    [
        ({"ROCR_VISIBLE_DEVICES": "2,3"}, ["2", "3"]),
        ({"ROCR_VISIBLE_DEVICES": "GPU-2f4c1a9d00009e37"}, ["0"]),
        ({"ROCR_VISIBLE_DEVICES": "2,3,5", "HIP_VISIBLE_DEVICES": "1,2"}, ["3", "5"]),
        ({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "2,3"}, ["2", "3"]),
        ({"HIP_VISIBLE_DEVICES": "4"}, ["4"]),
        ({"CUDA_VISIBLE_DEVICES": "4"}, ["4"]),
        ({"ROCR_VISIBLE_DEVICES": "6,7", "CUDA_VISIBLE_DEVICES": "6,7"}, ["6", "7"]),
        ({"ROCR_VISIBLE_DEVICES": "", "CUDA_VISIBLE_DEVICES": "1"}, []),
    ],
)
def test_hip_variables_count_what_rocr_left(
    tmp_path: Path, variables: dict[str, str], left: list[str]
) -> None:
    environ = {**recorded(tmp_path, "frontier"), **variables}
    assert names(probe_node(environ, root=tmp_path, allowed=every_cpu(64))) == left


@pytest.mark.parametrize(
    ("mask", "hierarchy", "left"),
    [
        ("0.0,5.1", "COMPOSITE", ["0.0", "5.1"]),
        ("1", "COMPOSITE", ["1.0", "1.1"]),
        ("1", "FLAT", ["0.1"]),
        ("1,11", None, ["0.1", "5.1"]),
        ("", "FLAT", [f"{card}.{tile}" for card in range(6) for tile in (0, 1)]),
    ],
)
def test_the_affinity_mask_of_intel_is_read_in_its_hierarchy(
    tmp_path: Path, mask: str, hierarchy: str | None, left: list[str]
) -> None:
    environ = {**recorded(tmp_path, "aurora"), "ZE_AFFINITY_MASK": mask}
    if hierarchy is not None:
        environ["ZE_FLAT_DEVICE_HIERARCHY"] = hierarchy
    assert names(probe_node(environ, root=tmp_path, allowed=every_cpu(208))) == left


SLURM = dict.fromkeys(
    ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL"),
    "2,3",
)


@pytest.mark.parametrize(
    ("variables", "vendor", "left"),
    [
        (SLURM, Vendor.NVIDIA, ["2", "3"]),
        ({"ROCR_VISIBLE_DEVICES": "1"}, Vendor.AMD, ["1"]),
        ({"HIP_VISIBLE_DEVICES": "1"}, Vendor.AMD, ["1"]),
        ({"ZE_AFFINITY_MASK": "0.1"}, Vendor.INTEL, ["0.1"]),
        ({"CUDA_VISIBLE_DEVICES": "MIG-x"}, Vendor.NVIDIA, ["MIG-x"]),
        ({"CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "NoDevFiles"}, None, []),
        ({}, None, []),
    ],
)
def test_without_a_driver_the_batch_system_is_believed(
    tmp_path: Path, variables: dict[str, str], vendor: Vendor | None, left: list[str]
) -> None:
    topology = probe_node({**NOWHERE, **variables}, root=tmp_path, allowed=[0])
    assert names(topology) == left
    assert {gpu.vendor for gpu in topology.gpus} == ({vendor} if vendor else set())


# Nodes that are not as they should be.


def test_a_card_that_has_failed_is_not_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = nvidia_smi(
        tmp_path,
        '[ "$1" = -L ] && echo "GPU 1: NVIDIA L4 (UUID: GPU-b)" && exit 0\n'
        'echo "Unable to determine the device handle for GPU0: 0000:07:00.0: Unknown Error"\n'
        'echo "1, GPU-b, 00000000:46:00.0"',
    )
    assert names(probe_node(environ, root=tmp_path, allowed=[0])) == ["1"]


def test_a_driver_that_does_not_answer_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environ = nvidia_smi(tmp_path, "echo could not communicate with the driver; exit 9")
    with caplog.at_level(logging.WARNING):
        topology = probe_node(environ, root=tmp_path, allowed=[0])
    assert topology.gpus == ()
    assert "could not communicate with the driver" in caplog.text
    assert "ended with 9" in caplog.text


def test_the_picture_a_processor_shows_by_itself_is_no_accelerator(tmp_path: Path) -> None:
    drm = "sys/class/drm"
    write_files(
        tmp_path,
        {
            f"{drm}/card0/device/uevent": "DRIVER=i915\nPCI_SLOT_NAME=0000:00:02.0",
            f"{drm}/card0/device/vendor": "0x8086",
            f"{drm}/card0/gt/gt0/id": "0",
            f"{drm}/card0/gt/gt1/id": "1",
            f"{drm}/card1/device/uevent": "DRIVER=xe\nPCI_SLOT_NAME=0000:03:00.0",
            f"{drm}/card1/device/vendor": "0x8086",
            f"{drm}/card1/device/tile0/gt0/freq0/max_freq": "2450",
            f"{drm}/card1/device/tile0/gt1/freq0/max_freq": "1200",
            f"{drm}/card1-DP-1/status": "connected",
        },
    )
    topology = probe_node(NOWHERE, root=tmp_path, allowed=[0])
    assert [(gpu.name, gpu.pci) for gpu in topology.gpus] == [("0", "0000:03:00.0")]


def test_the_address_of_an_amd_card_has_all_its_parts(tmp_path: Path) -> None:
    nodes = "sys/class/kfd/kfd/topology/nodes"
    location = 0x41 << 8 | 0x0A << 3 | 2
    write_files(
        tmp_path, {f"{nodes}/1/properties": f"simd_count 64\nlocation_id {location}\ndomain 1"}
    )
    (gpu,) = probe_node(NOWHERE, root=tmp_path, allowed=[0]).gpus
    assert (gpu.pci, gpu.aliases) == ("0001:41:0a.2", ())


def test_where_the_kernel_does_not_know_what_is_near_nothing_is_said(tmp_path: Path) -> None:
    pci = "sys/bus/pci/devices/0000:07:00.0"
    write_files(
        tmp_path,
        {
            "proc/driver/nvidia/gpus/0000:07:00.0/information": "Model: \t Tesla T4",
            f"{pci}/numa_node": "-1",
            f"{pci}/local_cpulist": "0-1",
        },
    )
    (gpu,) = probe_node(NOWHERE, root=tmp_path, allowed=[0, 1]).gpus
    assert (gpu.name, gpu.numa, gpu.cpus) == ("0", None, ())


def test_cpus_that_are_offline_are_not_there(tmp_path: Path) -> None:
    cpu = "sys/devices/system/cpu"
    files = {f"{cpu}/online": "0,2-3"}
    for number, siblings in ((0, "0"), (2, "2-3"), (3, "2-3")):  # 1, the sibling of 0, is offline
        files[f"{cpu}/cpu{number}/topology/thread_siblings_list"] = siblings
        files[f"{cpu}/cpu{number}/topology/physical_package_id"] = "0"
    write_files(tmp_path, files)
    topology = probe_node(NOWHERE, root=tmp_path, allowed=[0, 2, 3])
    assert [(found.id, found.core) for found in topology.cpus] == [(0, 0), (2, 2), (3, 2)]


def test_a_node_that_shows_nothing_has_cores_all_the_same(tmp_path: Path) -> None:
    topology = probe_node(NOWHERE, root=tmp_path, allowed=[0, 5])
    assert [(cpu.id, cpu.core, cpu.socket, cpu.numa) for cpu in topology.cpus] == [
        (0, 0, 0, 0),
        (5, 5, 0, 0),
    ]
    assert topology.memory_bytes is None


@pytest.mark.parametrize(
    ("variables", "memory_bytes"),
    [
        ({}, 8 << 30),
        ({"SLURM_MEM_PER_NODE": "500"}, 500 << 20),
        ({"SLURM_MEM_PER_NODE": "0"}, 8 << 30),  # all there is
        ({"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "4"}, 400 << 20),
        ({"SLURM_MEM_PER_NODE": "99999"}, 8 << 30),
    ],
)
def test_memory_is_what_the_job_asked_for_if_that_is_less(
    tmp_path: Path, variables: dict[str, str], memory_bytes: int
) -> None:
    write_files(tmp_path, {"proc/meminfo": f"MemTotal: {8 << 20} kB"})
    topology = probe_node({**NOWHERE, **variables}, root=tmp_path, allowed=[0])
    assert topology.memory_bytes == memory_bytes


def test_a_control_group_is_limited_by_all_that_it_is_in(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "proc/meminfo": f"MemTotal: {8 << 20} kB",
            "proc/self/cgroup": "0::/job_7/step_0",
            "sys/fs/cgroup/job_7/memory.max": str(2 << 30),
            "sys/fs/cgroup/job_7/step_0/memory.max": str(3 << 30),
        },
    )
    assert probe_node(NOWHERE, root=tmp_path, allowed=[0]).memory_bytes == 2 << 30
