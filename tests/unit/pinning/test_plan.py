"""The plan of a node: how many workers, which accelerators and which cores each gets."""

from __future__ import annotations

from typing import Any

import pytest

from jobqueue_sites.errors import PinningError, SettingsError
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.pinning.plan import NodePlan, plan_node, workers_per_node
from jobqueue_sites.pinning.topology import Cpu, Gpu, Topology, Vendor, format_cpus
from tests.unit.pinning.machines import cpus_of, node

# Four domains of four cores with two hardware threads: CPUs c and c + 16. GPU 0 is near the last.
REVERSED = {"0": "12-15,28-31", "1": "8-11,24-27", "2": "4-7,20-23", "3": "0-3,16-19"}
QUAD = node(cpus_of(domains=4, cores=4, threads=2), gpus=REVERSED, memory_gb=64)
PLAIN = node(cpus_of(cores=10))


def plan(topology: Topology = QUAD, **settings: Any) -> NodePlan:
    return plan_node(topology, NodeLayout(**settings))


def cpus(planned: NodePlan) -> list[str]:
    return [format_cpus(worker.cpus) for worker in planned.workers]


def names(planned: NodePlan) -> list[str]:
    return [",".join(worker.accelerators) for worker in planned.workers]


# Accelerators.


def test_a_number_of_accelerators_counts_what_the_job_was_given() -> None:
    given = node(cpus_of(cores=4), gpus={"2": "", "3": ""})
    planned = plan(given, available_accelerators=2)
    assert names(planned) == ["2", "3"]
    assert [worker.env["CUDA_VISIBLE_DEVICES"] for worker in planned.workers] == ["2", "3"]


def test_more_accelerators_than_the_job_has_are_refused_with_what_it_has() -> None:
    given = node(cpus_of(cores=4), gpus={"2": "", "3": ""})
    with pytest.raises(PinningError) as caught:
        plan(given, available_accelerators=3)
    assert (
        str(caught.value) == "available_accelerators=3: the job has 2 accelerators on node1: 2, 3"
    )
    with pytest.raises(PinningError, match="available_accelerators=1: the job has no accelerators"):
        plan(PLAIN, available_accelerators=1)


def test_auto_takes_all_accelerators_and_says_so_if_there_are_none() -> None:
    assert names(plan(available_accelerators="auto")) == ["0", "1", "2", "3"]
    without = plan(PLAIN, available_accelerators="auto")
    assert names(without) == [""] * 10
    assert "the job has no accelerators" in without.notes[0]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_workers_share_an_accelerator_for_every_number_of_them(count: int) -> None:
    planned = plan(available_accelerators=4, workers_per_accelerator=count)
    expected = [name for name in ("0", "1", "2", "3") for _ in range(count)]
    assert names(planned) == expected
    assert [worker.env["CUDA_VISIBLE_DEVICES"] for worker in planned.workers] == expected


def test_an_explicit_list_is_taken_as_it_stands() -> None:
    assert names(plan(available_accelerators=["0", "0", "1", "1"])) == ["0", "0", "1", "1"]
    assert names(plan(available_accelerators=["0,1", "2,3"])) == ["0,1", "2,3"]
    twice = plan(available_accelerators=["1", "0"], workers_per_accelerator=2)
    assert names(twice) == ["1", "1", "0", "0"]


def test_fewer_workers_than_entries_use_every_accelerator_before_one_is_shared() -> None:
    planned = plan(available_accelerators=4, workers_per_accelerator=2, max_workers_per_node=6)
    assert names(planned) == ["0", "0", "1", "1", "2", "3"]
    planned = plan(available_accelerators=["0", "0", "1", "1"], max_workers_per_node=2)
    assert names(planned) == ["0", "1"]
    planned = plan(available_accelerators=4, max_workers_per_node=2)
    assert names(planned) == ["0", "1"]
    assert "2 of 4 workers fit" in planned.notes[0]
    assert "nobody uses accelerators 2, 3" in planned.notes[0]


def test_names_are_the_nodes_own_and_must_be_the_jobs() -> None:
    given = node(cpus_of(cores=4), gpus={"2": "", "3": ""})
    assert names(plan(given, available_accelerators=["3"])) == ["3"]
    with pytest.raises(PinningError) as caught:
        plan(given, available_accelerators=["0"])
    assert "'0' cannot be used: the job has 2 accelerators on node1: 2, 3" in str(caught.value)


def gpus(*found: Gpu) -> Topology:
    cores = cpus_of(cores=8)
    return Topology(cpus=cores, allowed=frozenset(range(8)), gpus=found, hostname="node1")


CARDS = gpus(
    Gpu(name="0", vendor=Vendor.NVIDIA, pci="0000:07:00.0", aliases=("GPU-5c9e-1",)),
    Gpu(name="1", vendor=Vendor.NVIDIA, pci="0000:46:00.0", aliases=("GPU-5cff-2",)),
    Gpu(name="MIG-a1", vendor=Vendor.NVIDIA, pci="0000:85:00.0"),
    Gpu(name="MIG-a2", vendor=Vendor.NVIDIA, pci="0000:85:00.0"),
)


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("GPU-5c9e-1", "GPU-5c9e-1"),
        ("GPU-5cf", "GPU-5cf"),  # cut short, as the driver allows
        ("0000:46:00.0", "1"),
        ("46:00.0", "1"),
        ("00000000:07:00.0", "0"),
        ("MIG-a2", "MIG-a2"),
        ("85:00.0", "MIG-a1,MIG-a2"),
    ],
)
def test_uuids_slices_and_addresses_are_names_too(asked: str, written: str) -> None:
    planned = plan(CARDS, available_accelerators=[asked])
    assert planned.workers[0].env["CUDA_VISIBLE_DEVICES"] == written


@pytest.mark.parametrize("asked", ["GPU-5c", "GPU-7", "MIG-a", "2", "47:00.0", "1.0"])
def test_a_name_that_stands_for_nothing_or_several_is_refused(asked: str) -> None:
    with pytest.raises(PinningError, match="available_accelerators"):
        plan(CARDS, available_accelerators=[asked])


def test_several_slices_for_one_worker_are_noted() -> None:
    notes = plan(CARDS, available_accelerators=["0", "MIG-a1,MIG-a2"]).notes
    assert notes == ("worker 1: a process sees one MIG slice only",)


def test_one_accelerator_under_two_names_is_refused() -> None:
    with pytest.raises(PinningError, match="names one accelerator twice"):
        plan(CARDS, available_accelerators=["0,GPU-5c9e-1"])


def test_a_name_that_two_vendors_use_is_ambiguous_and_both_do_not_go_together() -> None:
    mixed = gpus(
        Gpu(name="0", vendor=Vendor.NVIDIA, aliases=("GPU-n",)),
        Gpu(name="0", vendor=Vendor.AMD, aliases=("GPU-a",)),
    )
    with pytest.raises(PinningError, match="'0' is ambiguous: nvidia, amd have one each"):
        plan(mixed, available_accelerators=["0"])
    with pytest.raises(PinningError, match="several vendors"):
        plan(mixed, available_accelerators=["GPU-n,GPU-a"])
    assert "ROCR_VISIBLE_DEVICES" in plan(mixed, available_accelerators=2).workers[1].env


# What a worker sees of them.


def seen(topology: Topology, *entries: str) -> list[dict[str, str]]:
    planned = plan(topology, available_accelerators=list(entries))
    threads = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")
    return [
        {name: value for name, value in worker.env.items() if not name.startswith(threads)}
        for worker in planned.workers
    ]


def test_nvidia_numbers_count_by_address_and_identifiers_need_no_order() -> None:
    assert seen(CARDS, "0,1", "MIG-a1") == [
        {"CUDA_VISIBLE_DEVICES": "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        {"CUDA_VISIBLE_DEVICES": "MIG-a1"},
    ]


def test_hip_counts_what_rocr_leaves() -> None:
    dies = gpus(*(Gpu(name=str(number), vendor=Vendor.AMD) for number in range(8)))
    inner = ("HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
    assert seen(dies, "5", "2,3") == [
        {"ROCR_VISIBLE_DEVICES": "5", **dict.fromkeys(inner, "0")},
        {"ROCR_VISIBLE_DEVICES": "2,3", **dict.fromkeys(inner, "0,1")},
    ]


def test_intel_tiles_and_cards_are_shown_in_the_hierarchy_that_their_names_need() -> None:
    tiles = gpus(*(Gpu(name=f"{c}.{t}", vendor=Vendor.INTEL) for c in (0, 1) for t in (0, 1)))
    both = {"ZE_FLAT_DEVICE_HIERARCHY": "COMPOSITE", "ZE_ENABLE_PCI_ID_DEVICE_ORDER": "1"}
    assert seen(tiles, "1.0", "0") == [
        {"ZE_AFFINITY_MASK": "1.0", **both},
        {"ZE_AFFINITY_MASK": "0.0,0.1", **both},
    ]
    single = gpus(Gpu(name="0", vendor=Vendor.INTEL))
    assert seen(single, "0")[0]["ZE_FLAT_DEVICE_HIERARCHY"] == "FLAT"


def test_workers_without_accelerators_are_told_nothing_of_them() -> None:
    env = plan().workers[0].env
    assert not [name for name in env if "VISIBLE" in name or "MASK" in name]


# How many workers.


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 32),
        ({"cores_per_worker": 2}, 16),
        ({"cores_per_worker": 0.5}, 64),
        ({"cores_per_worker": 3}, 10),
        ({"threads_per_worker": 4}, 8),
        ({"threads_per_worker": 100}, 1),
        ({"threads_per_worker": 4, "cores_per_worker": 1}, 32),
        ({"mem_per_worker": 10}, 6),
        ({"max_workers_per_node": 5}, 5),
        ({"cores_per_worker": 2, "mem_per_worker": 5, "max_workers_per_node": 20}, 12),
        ({"available_accelerators": 4, "cores_per_worker": 16}, 2),
        ({"available_accelerators": 4, "cores_per_worker": 1}, 4),
        ({"reserved_cpus": "0,16"}, 30),
    ],
)
def test_cores_memory_accelerators_and_the_limit_say_how_many_workers_there_are(
    settings: dict[str, Any], count: int
) -> None:
    assert len(plan(**settings).workers) == count


def test_fractions_of_cores_are_not_lost_to_rounding() -> None:
    assert 33 // 1.1 == 29  # floating point
    thirty = node(cpus_of(cores=33), memory_gb=33)
    assert len(plan(thirty, cores_per_worker=1.1).workers) == 30
    assert len(plan(thirty, mem_per_worker=1.1).workers) == 30


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cores_per_worker": 64}, "cores_per_worker=64: there are 32 cores, too few"),
        ({"mem_per_worker": 100}, "mem_per_worker=100: there are 64 GB, too few"),
        ({"reserved_cpus": "0-31"}, "no CPU is left for workers"),
    ],
)
def test_a_node_without_room_for_one_worker_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(PinningError) as caught:
        plan(**settings)
    assert message in str(caught.value)


def test_memory_is_what_is_asked_for_or_an_equal_share() -> None:
    assert plan(mem_per_worker=10).workers[0].memory_bytes == 10 * 2**30
    assert plan(available_accelerators=4).workers[0].memory_bytes == 16 * 2**30
    assert plan(PLAIN).workers[0].memory_bytes is None
    assert len(plan(PLAIN, mem_per_worker=1000).workers) == 10  # nobody knows how much there is


# Parsl's ways to divide cores.


@pytest.mark.parametrize(
    ("how", "count", "expected"),
    [
        ("none", 2, ["", ""]),
        ("block", 2, ["0-4", "5-9"]),
        ("block-reverse", 2, ["5-9", "0-4"]),
        ("alternating", 2, ["0,2,4,6,8", "1,3,5,7,9"]),
        ("block", 3, ["0-2", "3-5", "6-8"]),
        ("block-reverse", 3, ["6-8", "3-5", "0-2"]),
        ("alternating", 3, ["0,3,6,9", "1,4,7", "2,5,8"]),
        ("auto", 3, ["0-3", "4-6", "7-9"]),
        ("block", 10, [str(number) for number in range(10)]),
    ],
)
def test_cores_are_divided_as_asked(how: str, count: int, expected: list[str]) -> None:
    assert cpus(plan(PLAIN, cpu_affinity=how, max_workers_per_node=count)) == expected


def test_what_block_leaves_over_is_noted() -> None:
    planned = plan(PLAIN, cpu_affinity="block", max_workers_per_node=3)
    assert planned.notes == ("cpu_affinity='block' leaves CPU 9 unused",)


def test_only_allowed_cpus_that_are_not_reserved_are_divided() -> None:
    masked = node(cpus_of(cores=16), allowed="3-8,12-15", reserved="4,12")
    for how, expected in {
        "block": ["3,5-7", "8,13-15"],
        "block-reverse": ["8,13-15", "3,5-7"],
        "alternating": ["3,6,8,14", "5,7,13,15"],
        "auto": ["3,5-7", "8,13-15"],
    }.items():
        assert cpus(plan(masked, cpu_affinity=how, max_workers_per_node=2)) == expected
    ours = plan(masked, cpu_affinity="block", max_workers_per_node=2, reserved_cpus="")
    assert cpus(ours) == ["3-7", "8,12-15"]


def test_a_list_gives_each_worker_its_set() -> None:
    assert cpus(plan(PLAIN, cpu_affinity="list:0-1,8:2-5")) == ["0-1,8", "2-5"]
    limited = plan(
        cpu_affinity="list:0:1:2:3",
        available_accelerators=["0", "0", "1", "1"],
        max_workers_per_node=2,
    )
    assert (cpus(limited), names(limited)) == (["0", "2"], ["0", "1"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cpu_affinity": "list:0-3:4-40"}, "CPUs 32-40 are not the job's; workers may use 0-31"),
        (
            {"cpu_affinity": "list:0:1", "available_accelerators": "auto"},
            "2 sets of CPUs for 4 workers",
        ),
    ],
)
def test_a_list_that_does_not_fit_the_node_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(PinningError) as caught:
        plan(**settings)
    assert message in str(caught.value)


def test_a_list_cannot_name_reserved_cpus() -> None:
    reserved = node(cpus_of(cores=8), reserved="0")
    with pytest.raises(PinningError, match="CPUs 0 are reserved; workers may use 1-7"):
        plan(reserved, cpu_affinity="list:0-3:4-7")
    assert cpus(plan(reserved, cpu_affinity="list:0-3:4-7", reserved_cpus="")) == ["0-3", "4-7"]


@pytest.mark.parametrize("how", ["block", "block-reverse", "alternating", "auto"])
def test_fewer_cores_than_workers_is_refused_with_what_can_be_done(how: str) -> None:
    few = node(cpus_of(cores=8), gpus=dict.fromkeys("0123", ""), allowed="0-1")
    with pytest.raises(PinningError) as caught:
        plan(few, cpu_affinity=how, available_accelerators=4)
    assert "4 workers need a core each, and they may use 2 of the node's 8 CPUs" in str(
        caught.value
    )
    assert "max_workers_per_node" in str(caught.value)


def test_workers_that_are_not_bound_may_share_cores() -> None:
    few = node(cpus_of(cores=8), gpus=dict.fromkeys("0123", ""), allowed="0-1")
    planned = plan(few, available_accelerators=4)
    assert cpus(planned) == [""] * 4
    assert planned.notes == ("4 workers share 2 CPUs",)


# Nearness.


def test_auto_puts_each_worker_next_to_its_accelerator() -> None:
    planned = plan(cpu_affinity="auto", available_accelerators=4)
    assert cpus(planned) == list(REVERSED.values())
    assert planned.notes == ()


def test_a_worker_alone_is_near_its_accelerator_too() -> None:
    planned = plan(cpu_affinity="auto", available_accelerators=1)
    assert cpus(planned) == ["12-15,28-31"]
    assert planned.notes == ("cpu_affinity='auto' leaves CPUs 0-11,16-27 unused",)


def test_workers_of_one_accelerator_share_the_cores_near_it_without_overlap() -> None:
    planned = plan(
        cpu_affinity="auto", available_accelerators=["0", "3"], workers_per_accelerator=3
    )
    assert cpus(planned) == ["12-13,28-29", "14,30", "15,31", "0-1,16-17", "2,18", "3,19"]


def test_a_worker_of_two_accelerators_is_near_both() -> None:
    planned = plan(cpu_affinity="auto", available_accelerators=["0,1", "2,3"])
    assert cpus(planned) == ["8-15,24-31", "0-7,16-23"]


def test_cores_near_the_accelerators_of_several_workers_are_shared_out() -> None:
    planned = plan(cpu_affinity="auto", available_accelerators=["0,1", "1", "1"])
    assert cpus(planned) == ["12-15,28-31", "8-9,24-25", "10-11,26-27"]


def test_more_workers_than_cores_near_get_hardware_threads() -> None:
    planned = plan(cpu_affinity="auto", available_accelerators=4, workers_per_accelerator=8)
    assert cpus(planned)[:8] == ["12", "28", "13", "29", "14", "30", "15", "31"]
    assert "hardware threads of the same cores" in planned.notes[0]


def test_a_mask_without_cores_near_an_accelerator_gives_others_and_says_so() -> None:
    masked = node(QUAD.cpus, gpus=REVERSED, allowed="4-15")
    planned = plan(masked, cpu_affinity="auto", available_accelerators=4)
    assert cpus(planned) == ["12-14", "8-10", "4-6", "7,11,15"]
    assert "puts worker 3 on another NUMA domain than its accelerator 3" in planned.notes[0]
    assert "may not use enough CPUs near them" in planned.notes[0]


def test_cores_near_no_accelerator_help_out_those_of_the_same_socket_first() -> None:
    two = cpus_of(sockets=2, domains=2, cores=4)  # domains 0, 1 | 2, 3
    masked = node(two, gpus={"0": "8-11", "1": "4-7"}, allowed="0-7,12-15")
    planned = plan(masked, cpu_affinity="auto", available_accelerators=2)
    assert cpus(planned) == ["12-15", "4-7"]  # GPU 0 is near domain 2: domain 3 is its neighbour


def test_accelerators_of_which_nobody_knows_where_they_are_get_equal_shares() -> None:
    stand_ins = node(cpus_of(domains=2, cores=4), gpus={"2": "", "3": ""})
    planned = plan(stand_ins, cpu_affinity="auto", available_accelerators=2)
    assert cpus(planned) == ["0-3", "4-7"]
    mixed = node(cpus_of(domains=2, cores=4), gpus={"0": "4-7", "1": ""})
    planned = plan(mixed, cpu_affinity="auto", available_accelerators=2)
    assert cpus(planned) == ["4-7", "0-3"]


@pytest.mark.parametrize(
    ("sockets", "domains", "cores", "count", "expected"),
    [
        (1, 4, 4, 4, ["0-3", "4-7", "8-11", "12-15"]),
        (1, 4, 4, 2, ["0-7", "8-15"]),
        (1, 4, 4, 3, ["0-3", "4-11", "12-15"]),
        (1, 4, 4, 6, ["0-1", "2-3", "4-5", "6-7", "8-11", "12-15"]),
        (2, 1, 4, 4, ["0-1", "2-3", "4-5", "6-7"]),
        (2, 2, 2, 2, ["0-3", "4-7"]),
        (2, 2, 2, 1, ["0-7"]),
    ],
)
def test_without_accelerators_workers_keep_to_numa_domains(
    sockets: int, domains: int, cores: int, count: int, expected: list[str]
) -> None:
    plain = node(cpus_of(sockets=sockets, domains=domains, cores=cores))
    assert cpus(plan(plain, cpu_affinity="auto", max_workers_per_node=count)) == expected


def test_a_domain_with_hardly_a_core_left_is_not_a_workers_share() -> None:
    masked = node(cpus_of(domains=2, cores=8), allowed="7-15")
    planned = plan(masked, cpu_affinity="auto", max_workers_per_node=2)
    assert cpus(planned) == ["8-11", "12-15"]
    assert planned.notes == ("cpu_affinity='auto' leaves CPU 7 unused",)


@pytest.mark.parametrize("adjacent", [False, True])
def test_whole_cores_are_divided_however_hardware_threads_are_numbered(adjacent: bool) -> None:
    smt = node(cpus_of(cores=4, threads=2, adjacent=adjacent))
    planned = plan(smt, cpu_affinity="auto", max_workers_per_node=2)
    assert cpus(planned) == (["0-3", "4-7"] if adjacent else ["0-1,4-5", "2-3,6-7"])
    assert planned.workers[0].env["OMP_NUM_THREADS"] == "2"


def test_domains_are_taken_in_their_order_however_cpus_are_numbered() -> None:
    # CPUs are dealt out to the sockets in turn, and the kernel counts the second one's domain first.
    dealt = [Cpu(id=cpu, core=cpu, socket=cpu % 2, numa=1 - cpu % 2) for cpu in range(8)]
    planned = plan(node(dealt), cpu_affinity="auto", max_workers_per_node=4)
    assert cpus(planned) == ["0,2", "4,6", "1,3", "5,7"]
    turned = [Cpu(id=cpu, core=cpu, socket=0, numa=1 - cpu % 2) for cpu in range(8)]
    planned = plan(node(turned), cpu_affinity="auto", max_workers_per_node=2)
    assert cpus(planned) == ["1,3,5,7", "0,2,4,6"]


@pytest.mark.parametrize(
    ("how", "slots"), [("alternating", "0-3"), ("block", "0-3"), ("list:0:16:1:17", "0-3")]
)
def test_workers_away_from_their_accelerators_are_noted(how: str, slots: str) -> None:
    notes = plan(cpu_affinity=how, available_accelerators=["0", "1", "0", "1"]).notes
    assert f"puts workers {slots} on another NUMA domain than their accelerators 0, 1" in notes[0]


def test_workers_beside_the_nearest_cores_of_their_domain_are_noted() -> None:
    fine = node(cpus_of(cores=8), gpus={"0": "0-3"})
    notes = plan(fine, cpu_affinity="list:4-7", available_accelerators=1).notes
    assert "puts worker 0 on other cores than those next to its accelerator 0" in notes[0]


def test_block_on_a_node_with_hardware_threads_is_noted() -> None:
    notes = plan(cpu_affinity="block", max_workers_per_node=4).notes
    assert notes == ("cpu_affinity='block' gives workers 0-3 hardware threads of the same cores",)


# Threads.


@pytest.mark.parametrize(
    ("settings", "threads"),
    [
        ({"max_workers_per_node": 4, "cpu_affinity": "auto"}, "4"),
        ({"max_workers_per_node": 4, "cpu_affinity": "auto", "threads_per_worker": 2}, "2"),
        ({"max_workers_per_node": 4, "cpu_affinity": "auto", "threads_per_worker": 9}, "1"),
        ({"max_workers_per_node": 2, "cpu_affinity": "block"}, "16"),
        ({"max_workers_per_node": 2}, "8"),  # not bound: a share of 16 cores
        ({}, "1"),
    ],
)
def test_libraries_use_as_many_threads_as_a_call_has_cores(
    settings: dict[str, Any], threads: str
) -> None:
    env = plan(**settings).workers[0].env
    counts = {name: value for name, value in env.items() if name.endswith("_NUM_THREADS")}
    assert set(counts) >= {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
    assert set(counts.values()) == {threads}


def test_more_calls_at_once_than_cores_are_noted() -> None:
    planned = plan(PLAIN, cpu_affinity="block", threads_per_worker=4, cores_per_worker=2)
    assert planned.workers[0].threads == 4
    assert planned.notes == ("threads_per_worker=4: some workers have 2 CPUs only",)


# The plan as text, and what is known before there is a node.


def test_a_plan_comes_back_from_its_text() -> None:
    planned = plan(available_accelerators=4, cpu_affinity="alternating")
    assert NodePlan.from_json(planned.to_json()) == planned


@pytest.mark.parametrize(
    ("settings", "has", "count"),
    [
        ({}, {"cores": 8}, 8),
        ({}, {}, None),
        ({"threads_per_worker": 4}, {"cores": 8}, 2),
        ({"max_workers_per_node": 4}, {}, None),
        ({"max_workers_per_node": 4}, {"cores": 8}, 4),
        ({"cores_per_worker": 4}, {"cores": 8}, 2),
        ({"mem_per_worker": 4}, {"cores": 8}, None),
        ({"mem_per_worker": 4}, {"cores": 8, "memory_gb": 10}, 2),
        ({"available_accelerators": 4}, {}, 4),
        ({"available_accelerators": 4, "cores_per_worker": 2}, {}, None),
        ({"available_accelerators": 4, "cores_per_worker": 2}, {"cores": 6, "gpus": 4}, 3),
        ({"available_accelerators": 2, "workers_per_accelerator": 3}, {"gpus": 2}, 6),
        ({"available_accelerators": ["0,1", "2,3"]}, {"gpus": 4, "cores": 8}, 2),
        ({"available_accelerators": ["0.0", "0.1"]}, {"gpus": 1}, 2),
        ({"available_accelerators": "auto"}, {}, None),
        ({"available_accelerators": "auto"}, {"gpus": 4}, 4),
        ({"available_accelerators": "auto"}, {"gpus": 0, "cores": 8}, 8),
        ({"cpu_affinity": "list:0:1:2"}, {}, 3),
        ({"reserved_cpus": "0,4"}, {"cores": 8}, 6),
    ],
)
def test_what_can_be_known_before_submission_is_known(
    settings: dict[str, Any], has: dict[str, Any], count: int | None
) -> None:
    nothing = {"cores": None, "memory_gb": None, "gpus": None}
    assert workers_per_node(NodeLayout(**settings), **{**nothing, **has}) == count


@pytest.mark.parametrize(
    ("settings", "has", "message"),
    [
        ({"available_accelerators": 4}, {"gpus": 2}, "4 accelerators, and a node of the job has 2"),
        ({"available_accelerators": ["0", "1,2"]}, {"gpus": 2}, "3 accelerators"),
        ({"cores_per_worker": 16}, {"cores": 8}, "cores_per_worker=16: there are 8 cores"),
        ({"mem_per_worker": 16}, {"memory_gb": 8}, "mem_per_worker=16: there are 8 GB"),
        (
            {"available_accelerators": 4, "cpu_affinity": "block"},
            {"cores": 2},
            "4 workers need a core each, and a node has 2 cores",
        ),
        ({"reserved_cpus": "0-7"}, {"cores": 8}, "no core of a node is left"),
    ],
)
def test_what_cannot_work_is_refused_before_submission(
    settings: dict[str, Any], has: dict[str, Any], message: str
) -> None:
    nothing = {"cores": None, "memory_gb": None, "gpus": None}
    with pytest.raises(SettingsError) as caught:
        workers_per_node(NodeLayout(**settings), **{**nothing, **has})
    assert message in str(caught.value)
