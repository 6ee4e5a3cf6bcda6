"""On the machines of the catalogue, "auto" gives the order of GPUs and cores that is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobqueue_sites.catalog import load_site, node_topology, site_names
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.pinning.plan import plan_node
from jobqueue_sites.pinning.topology import format_cpus

GOLDEN = Path(__file__).parents[2] / "golden" / "pinning"
AUTO = NodeLayout(available_accelerators="auto", cpu_affinity="auto")


def nodes_with_gpus() -> list[tuple[str, str]]:
    return [
        (name, kind)
        for name in site_names()
        for kind, node in load_site(name).nodes.items()
        if node.gpu_affinity
    ]


def test_every_described_node_with_gpus_has_a_golden_file() -> None:
    assert {f"{site}-{kind}.txt" for site, kind in nodes_with_gpus()} == {
        path.name for path in GOLDEN.glob("*.txt")
    }


@pytest.mark.parametrize(("site", "kind"), nodes_with_gpus())
def test_auto_gives_the_documented_order(site: str, kind: str) -> None:
    lines = (GOLDEN / f"{site}-{kind}.txt").read_text().splitlines()
    documented = [line.split() for line in lines if not line.startswith("#")]
    planned = [
        [str(worker.slot), *worker.accelerators, format_cpus(worker.cpus)]
        for worker in plan_node(node_topology(site, kind), AUTO).workers
    ]
    assert planned == documented


def test_alternating_on_polaris_is_noted_to_be_far_from_the_gpus() -> None:
    layout = NodeLayout(available_accelerators=4, cpu_affinity="alternating")
    plan = plan_node(node_topology("polaris"), layout)
    assert "puts workers 0-3 on another NUMA domain than their accelerators" in plan.notes[0]


def test_block_reverse_on_polaris_is_what_its_order_of_gpus_needs_but_for_hardware_threads() -> (
    None
):
    one_thread = NodeLayout(
        available_accelerators=4, cpu_affinity="block-reverse", reserved_cpus="32-63"
    )
    plan = plan_node(node_topology("polaris"), one_thread)
    assert [format_cpus(worker.cpus) for worker in plan.workers] == [
        "24-31",
        "16-23",
        "8-15",
        "0-7",
    ]
    assert plan.notes == ()


def test_a_hundred_and_two_workers_fit_aurora() -> None:
    layout = NodeLayout(cpu_affinity="auto", cores_per_worker=2)
    plan = plan_node(node_topology("aurora"), layout)
    assert len(plan.workers) == 102
    assert {len(worker.cpus) for worker in plan.workers} == {2}
    assert not {0, 52, 104, 156} & {cpu for worker in plan.workers for cpu in worker.cpus}


def test_workers_share_the_seven_cores_near_each_die_of_frontier() -> None:
    layout = NodeLayout(
        available_accelerators="auto", workers_per_accelerator=2, cpu_affinity="auto"
    )
    plan = plan_node(node_topology("frontier"), layout)
    assert [format_cpus(worker.cpus) for worker in plan.workers[:4]] == [
        "49-52",
        "53-55",
        "57-60",
        "61-63",
    ]
