"""The catalogue of sites, and what a user adds to it."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from jobqueue_sites import catalog
from jobqueue_sites.catalog import (
    complete_topology,
    load_site,
    node_topology,
    recognised,
    site_names,
)
from jobqueue_sites.errors import SettingsError
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.pinning.plan import plan_node
from jobqueue_sites.pinning.topology import Gpu, Topology, Vendor, parse_cpus

OURS = ("aurora", "delta", "frontier", "lumi-g", "perlmutter", "polaris")


@pytest.fixture(autouse=True)
def overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Write a file into the user's folder of sites, which is empty at first."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def write(name: str, text: str) -> Path:
        path = tmp_path / "jobqueue-sites" / f"{name}.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_the_sites_are_there() -> None:
    assert site_names() == OURS


@pytest.mark.parametrize("name", OURS)
def test_every_site_says_where_it_is_known_from_and_can_be_drawn(name: str) -> None:
    site = load_site(name)
    assert site.name == name
    assert site.sources
    assert site.confidence
    assert site.batch_system in {"slurm", "pbspro"}
    for kind, node in site.nodes.items():
        topology = node_topology(name, kind)
        assert len(topology.cpus) == node.cores * node.threads_per_core
        assert len({cpu.socket for cpu in topology.cpus}) == node.sockets
        assert len({cpu.numa for cpu in topology.cpus}) == (node.numa or node.sockets)
        assert topology.memory_bytes == node.memory_gb * 2**30


def test_what_is_inferred_is_marked() -> None:
    assert load_site("perlmutter").nodes["gpu"].inferred == ("gpu_affinity",)
    assert load_site("polaris").nodes["gpu"].inferred == ()


def test_all_hardware_threads_of_a_reserved_core_are_reserved() -> None:
    assert node_topology("aurora").reserved == {0, 52, 104, 156}
    assert node_topology("frontier").reserved == set(parse_cpus("0,8,16,24,32,40,48,56")) | set(
        parse_cpus("64,72,80,88,96,104,112,120")
    )


def test_a_node_type_must_be_named_where_there_are_several() -> None:
    with pytest.raises(SettingsError, match="several node types, name one: cpu, gpuA100x4"):
        node_topology("delta")
    with pytest.raises(SettingsError, match="has no node type 'gpu'; it has: cpu, gpuA100x4"):
        node_topology("delta", "gpu")


def test_an_unknown_site_is_told_with_those_that_are_known() -> None:
    with pytest.raises(SettingsError, match="'nowhere' is not described; there are: aurora"):
        load_site("nowhere")


def test_a_user_adds_a_site(overlay: Callable[[str, str], Path]) -> None:
    overlay("mine", "[nodes.all]\nsockets = 2\ncores = 8\n")
    assert "mine" in site_names()
    assert len(node_topology("mine").cpus) == 8


def test_a_user_changes_what_is_said_of_a_site(overlay: Callable[[str, str], Path]) -> None:
    overlay("polaris", "[nodes.gpu]\nreserved_cpus = '0'\n[nodes.debug]\nsockets = 1\ncores = 4\n")
    site = load_site("polaris")
    assert site.facility == "ALCF"
    assert list(site.nodes) == ["gpu", "debug"]
    assert node_topology("polaris", "gpu").reserved == {0, 32}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = [", "this is no TOML"),
        ("hostnames = '('", "hostnames='('"),
        ("colour = 'red'", "unknown key 'colour'; it may have facility"),
        ("name = 'x'", "that of its file"),
        ("nodes = 3", "nodes must be tables"),
        ("[nodes.a]\ncores = 4", "nodes.a: sockets must be given"),
        ("[nodes.a]\nsockets = 1\ncores = 4\ncolour = 'red'", "nodes.a: unknown key 'colour'"),
        ("[nodes.a]\nsockets = 1\ncores = '4'", "nodes.a: cores='4'"),
        ("[nodes.a]\nsockets = 3\ncores = 4", "nodes.a: cores=4: cannot be divided by sockets=3"),
        ("[nodes.a]\nsockets = 2\ncores = 6\nnuma = 3", "cannot be divided by sockets=2"),
        ("[nodes.a]\nsockets = 1\ncores = 4\nmemory_gb = 'x'", "memory_gb='x'"),
        ("[nodes.a]\nsockets = 1\ncores = 4\ngpu_vendor = 'x'", "nvidia, amd, intel"),
        ("[nodes.a]\nsockets = 1\ncores = 4\ngpu_affinity = 3", "must be a table"),
        ("[nodes.a]\nsockets = 1\ncores = 4\ngpu_affinity = {0 = '1'}", "gpu_vendor must be given"),
        ("[nodes.a]\nsockets = 1\ncores = 4\nreserved_cpus = 'x'", "reserved_cpus='x'"),
        ("[nodes.a]\nsockets = 1\ncores = 4\nallowed_cpus = '9'", "allowed CPUs 9 are not among"),
        ("[nodes.a]\nsockets = 1\ncores = 4\ninferred = ['x']", "'x' is no key of a node"),
    ],
)
def test_a_wrong_file_is_told_where_it_is_wrong(
    overlay: Callable[[str, str], Path], text: str, message: str
) -> None:
    path = overlay("mine", text)
    with pytest.raises(SettingsError) as caught:
        load_site("mine")
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def live(site: str, *, gpus: tuple[Gpu, ...]) -> Topology:
    """Return a node of a site as it shows itself: without its description's tables."""
    described = node_topology(site)
    return dataclasses.replace(described, gpus=gpus, reserved=frozenset())


def test_a_node_that_does_not_know_what_is_near_its_gpus_is_told_by_its_site() -> None:
    bare = live("polaris", gpus=tuple(Gpu(name=name, vendor=Vendor.NVIDIA) for name in "0123"))
    assert complete_topology(bare, "polaris").gpus == node_topology("polaris").gpus


def test_a_site_that_knows_more_exactly_is_believed() -> None:
    # The kernel says: die 0 is near the whole domain, 16 cores; the site: near 8 of them.
    numas = (3, 3, 1, 1, 0, 0, 2, 2)
    gpus = tuple(Gpu(name=str(at), vendor=Vendor.AMD, numa=numa) for at, numa in enumerate(numas))
    completed = complete_topology(live("frontier", gpus=gpus), "frontier")
    assert completed.gpus == node_topology("frontier").gpus


def test_a_site_that_contradicts_the_node_is_not_believed() -> None:
    numas = (3, 2, 0, 1)  # the site has the last two the other way round
    gpus = tuple(
        Gpu(name=str(at), vendor=Vendor.NVIDIA, numa=numa) for at, numa in enumerate(numas)
    )
    assert complete_topology(live("polaris", gpus=gpus), "polaris").gpus == gpus


def test_a_job_with_some_of_the_accelerators_may_count_them_anew() -> None:
    some = (Gpu(name="0", vendor=Vendor.NVIDIA), Gpu(name="1", vendor=Vendor.NVIDIA, numa=0))
    assert complete_topology(live("polaris", gpus=some), "polaris").gpus == some


def test_what_a_site_reserves_is_kept_free_on_its_nodes() -> None:
    bare = live("aurora", gpus=())
    plan = plan_node(complete_topology(bare, "aurora"), NodeLayout(cpu_affinity="block"))
    assert not {0, 52, 104, 156} & {cpu for worker in plan.workers for cpu in worker.cpus}


def test_a_node_of_a_known_machine_is_recognised_by_its_name_and_shape() -> None:
    gpus = tuple(Gpu(name=name, vendor=Vendor.NVIDIA) for name in "0123")
    node = dataclasses.replace(live("polaris", gpus=gpus), hostname="x3001c0s13b1n0")
    assert recognised(node).gpus == node_topology("polaris").gpus
    aurora = dataclasses.replace(live("aurora", gpus=()), hostname="x4117c2s5b0n0")
    assert recognised(aurora).reserved == {0, 52, 104, 156}


def test_node_types_that_say_the_same_need_not_be_told_apart() -> None:
    gpus = tuple(Gpu(name=name, vendor=Vendor.NVIDIA) for name in "0123")
    described = node_topology("delta", "gpuA40x4")
    node = dataclasses.replace(described, gpus=gpus, hostname="gpub042")
    assert recognised(node).gpus == described.gpus


@pytest.mark.parametrize("hostname", ["laptop", "", "x3001c0s13b1n0"])
def test_a_node_of_another_name_or_shape_is_left_as_it_is(hostname: str) -> None:
    frontier = dataclasses.replace(live("frontier", gpus=()), hostname=hostname)
    assert recognised(frontier) == frontier


def test_a_users_broken_file_stops_no_node(
    overlay: Callable[[str, str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    overlay("a-broken", "a = [")
    node = dataclasses.replace(live("aurora", gpus=()), hostname="x4117c2s5b0n0")
    assert recognised(node).reserved == {0, 52, 104, 156}
    assert "broken.toml: this is no TOML" in caplog.text


def test_the_files_of_the_catalogue_are_parts_of_the_package() -> None:
    folder = Path(catalog.__file__).parent
    assert {path.stem for path in folder.glob("*.toml")} == set(OURS)
    for path in folder.glob("*.toml"):
        assert tomllib.loads(path.read_text())["sources"]
