"""What holds for every node, mask and layout: a plan that keeps the rules, or an explained refusal."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from jobqueue_sites.errors import PinningError, SettingsError
from jobqueue_sites.pinning.accelerators import find_accelerator
from jobqueue_sites.pinning.layout import Affinity, NodeLayout
from jobqueue_sites.pinning.plan import NodePlan, plan_node, reserved_cpus, workers_per_node
from jobqueue_sites.pinning.topology import Gpu, Topology, Vendor, format_cpus
from jobqueue_sites.pinning.view import view_node
from tests.unit.pinning.machines import cpus_of

VISIBLE = {
    Vendor.NVIDIA: "CUDA_VISIBLE_DEVICES",
    Vendor.AMD: "ROCR_VISIBLE_DEVICES",
    Vendor.INTEL: "ZE_AFFINITY_MASK",
}


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    every = cpus_of(
        sockets=draw(st.integers(1, 2)),
        domains=draw(st.integers(1, 4)),
        cores=draw(st.integers(1, 5)),
        threads=draw(st.integers(1, 2)),
        adjacent=draw(st.booleans()),
    )
    offline = draw(st.sets(st.sampled_from(every), max_size=len(every) - 1))
    online = [cpu for cpu in every if cpu not in offline]
    ids = [cpu.id for cpu in online]
    some = st.frozensets(st.sampled_from(ids))
    vendor = draw(st.sampled_from(list(Vendor)))
    near = st.one_of(
        st.fixed_dictionaries({"numa": st.integers(0, max(cpu.numa for cpu in every))}),
        st.fixed_dictionaries({"cpus": some.map(lambda cpus: tuple(sorted(cpus)))}),
        st.just({}),
    )
    places: list[dict[str, Any]] = draw(st.lists(near, max_size=6))
    return Topology(
        cpus=tuple(online),
        allowed=draw(st.one_of(st.just(frozenset(ids)), some)),
        gpus=tuple(
            Gpu(name=str(number), vendor=vendor, **place) for number, place in enumerate(places)
        ),
        memory_bytes=draw(st.sampled_from([None, 4 << 30, 64 << 30])),
        reserved=draw(st.frozensets(st.sampled_from(ids), max_size=4)),
    )


def settings_of_layouts() -> st.SearchStrategy[dict[str, Any]]:
    entry = st.lists(st.integers(0, 6).map(str), min_size=1, max_size=2, unique=True).map(",".join)
    sets = st.lists(st.sets(st.integers(0, 9), min_size=1).map(format_cpus), min_size=1)
    affinity = st.one_of(
        st.sampled_from(["auto", "block", "alternating", "auto", "block-reverse", "none"]),
        sets.map(lambda texts: ":".join(["list", *texts])),
    )
    accelerators = st.one_of(
        st.integers(0, 7), st.sampled_from(["auto", ()]), st.lists(entry, max_size=6)
    )
    return st.fixed_dictionaries(
        {"cpu_affinity": affinity, "available_accelerators": accelerators},
        optional={
            "workers_per_accelerator": st.integers(1, 3),
            "cores_per_worker": st.sampled_from([0.5, 1, 2, 3]),
            "mem_per_worker": st.sampled_from([1, 3]),
            "max_workers_per_node": st.integers(1, 6),
            "threads_per_worker": st.integers(1, 3),
            "reserved_cpus": st.sampled_from(["", "0", "0-3"]),
        },
    )


def layout_of(settings: dict[str, Any]) -> NodeLayout | None:
    try:
        return NodeLayout(**settings)
    except SettingsError:
        return None


@settings(max_examples=300, deadline=None)
@given(topologies(), settings_of_layouts())
def test_a_plan_keeps_the_rules_or_is_refused(topology: Topology, asked: dict[str, Any]) -> None:
    layout = layout_of(asked)
    if layout is None:
        event("no layout")
        return
    try:
        plan = plan_node(topology, layout)
    except PinningError:
        event("refused")
        return
    event(f"planned: {layout.affinity}")
    assert plan == plan_node(topology, layout)
    assert plan == NodePlan.from_json(plan.to_json())
    assert plan.workers
    assert [worker.slot for worker in plan.workers] == list(range(len(plan.workers)))
    assert len(plan.workers) <= (layout.max_workers_per_node or len(plan.workers))
    check_cpus(topology, layout, plan)
    check_accelerators(topology, layout, plan)
    check_memory(topology, layout, plan)
    view_node(topology, layout, plan)


def check_cpus(topology: Topology, layout: NodeLayout, plan: NodePlan) -> None:
    usable = topology.allowed - reserved_cpus(topology, layout)
    given_out = [cpu for worker in plan.workers for cpu in worker.cpus]
    if layout.affinity is Affinity.NONE:
        assert not given_out
        return
    assert all(worker.cpus for worker in plan.workers)
    assert len(given_out) == len(set(given_out))
    assert set(given_out) <= usable
    cores = [{topology.by_id[cpu].core for cpu in worker.cpus} for worker in plan.workers]
    there_are = len({topology.by_id[cpu].core for cpu in usable})
    if layout.affinity is Affinity.AUTO and len(plan.workers) <= there_are:
        assert sum(map(len, cores)) == len(set().union(*cores))
    if layout.affinity is not Affinity.LIST and not plan.workers[0].accelerators:
        sizes = [len(worker.cpus) for worker in plan.workers]
        assert layout.affinity is Affinity.AUTO or max(sizes) - min(sizes) <= 1


def check_accelerators(topology: Topology, layout: NodeLayout, plan: NodePlan) -> None:
    asked = layout.available_accelerators
    for worker in plan.workers:
        gpus = [
            gpu for name in worker.accelerators for gpu in find_accelerator(topology, name).gpus
        ]
        assert set(gpus) <= set(topology.gpus)
        for gpu in gpus:
            assert worker.env[VISIBLE[gpu.vendor]] == ",".join(worker.accelerators)
    entries = {worker.accelerators for worker in plan.workers}
    if isinstance(asked, int) and asked:
        assert entries <= {(gpu.name,) for gpu in topology.gpus[:asked]}
        assert len(entries) == min(asked, len(plan.workers))
    elif asked == "auto":
        assert entries <= ({(gpu.name,) for gpu in topology.gpus} or {()})
    else:
        assert entries <= (set(layout.accelerator_names or ()) or {()})


def check_memory(topology: Topology, layout: NodeLayout, plan: NodePlan) -> None:
    shares = [worker.memory_bytes for worker in plan.workers if worker.memory_bytes is not None]
    if topology.memory_bytes is not None:
        assert len(shares) == len(plan.workers)
        assert sum(shares) <= topology.memory_bytes


@settings(deadline=None)
@given(topologies(), settings_of_layouts())
def test_what_is_foretold_before_submission_comes_true(
    topology: Topology, asked: dict[str, Any]
) -> None:
    layout = layout_of({**asked, "reserved_cpus": ""})
    if layout is None or not topology.allowed:
        return
    has = {"cores": len(topology.allowed), "gpus": len(topology.gpus)}
    memory_gb = None if topology.memory_bytes is None else topology.memory_bytes / 2**30
    try:
        foretold = workers_per_node(layout, memory_gb=memory_gb, **has)
    except SettingsError:
        event("refused before submission")
        try:
            plan_node(topology, layout)
        except PinningError:
            return
        raise AssertionError("refused before submission, and yet possible") from None
    try:
        plan = plan_node(topology, layout)
    except PinningError:
        return
    event(f"foretold: {foretold is not None}")
    assert foretold in (None, len(plan.workers))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(2, 6), st.integers(1, 3), st.integers(1, 2), st.data())
def test_with_cores_enough_every_worker_is_near_its_accelerator(
    domains: int, cores: int, sharing: int, threads: int, data: st.DataObject
) -> None:
    cpus = cpus_of(domains=domains, cores=cores, threads=threads)
    order = data.draw(st.permutations(range(domains)))
    topology = Topology(
        cpus=cpus,
        allowed=frozenset(cpu.id for cpu in cpus),
        gpus=tuple(
            Gpu(name=str(number), vendor=Vendor.AMD, numa=numa) for number, numa in enumerate(order)
        ),
    )
    used = data.draw(st.integers(1, domains))
    plan = plan_node(
        topology,
        NodeLayout(
            available_accelerators=used,
            workers_per_accelerator=min(sharing, cores),
            cpu_affinity="auto",
        ),
    )
    for worker in plan.workers:
        home = order[int(worker.accelerators[0])]
        assert {topology.by_id[cpu].numa for cpu in worker.cpus} == {home}
    assert sum(len(worker.cpus) for worker in plan.workers) == used * cores * threads
