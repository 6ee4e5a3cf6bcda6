"""Topologies: lists of CPUs, the checks of values, and the file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.pinning.topology import (
    Cpu,
    Gpu,
    Topology,
    Vendor,
    format_cpus,
    parse_cpus,
)

CPUS = (Cpu(id=0, core=0), Cpu(id=1, core=1), Cpu(id=2, core=0), Cpu(id=3, core=1))


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", ()),
        ("0", (0,)),
        ("0-3", (0, 1, 2, 3)),
        ("0-1,32-33", (0, 1, 32, 33)),
        (" 7 , 3-4 ", (3, 4, 7)),
        ("1-3,2-4", (1, 2, 3, 4)),
    ],
)
def test_a_list_of_cpus_is_read(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_cpus(text) == cpus


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "0,,1", "0-99999999", "0 1", "0-3:2", 5])
def test_what_is_no_list_of_cpus_is_told_with_its_name(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^reserved_cpus="):
        parse_cpus(text, "reserved_cpus")


@given(st.sets(st.integers(min_value=0, max_value=300)))
def test_a_list_is_read_as_it_was_written(cpus: set[int]) -> None:
    assert set(parse_cpus(format_cpus(cpus))) == cpus


def test_a_topology_comes_back_from_its_file() -> None:
    topology = Topology(
        cpus=CPUS,
        allowed=frozenset({0, 2, 3}),
        gpus=(
            Gpu(name="0", vendor=Vendor.NVIDIA, numa=0, cpus=(0, 2), pci="0000:c7:00.0"),
            Gpu(name="0.1", vendor=Vendor.INTEL, aliases=("tile",)),
        ),
        memory_bytes=1 << 30,
        reserved=frozenset({3}),
        hostname="node1",
    )
    assert Topology.from_json(topology.to_json()) == topology


def test_the_file_is_what_is_documented() -> None:
    topology = Topology(
        cpus=(Cpu(id=0, core=0),),
        allowed=frozenset({0}),
        gpus=(Gpu(name="0", vendor=Vendor.AMD, numa=0, cpus=(0,)),),
        hostname="node1",
    )
    assert json.loads(topology.to_json()) == {
        "format": "jobqueue-sites topology 1",
        "hostname": "node1",
        "memory_bytes": None,
        "cpus": [{"id": 0, "core": 0, "socket": 0, "numa": 0}],
        "allowed": "0",
        "reserved": "",
        "gpus": [{"name": "0", "vendor": "amd", "numa": 0, "cpus": "0", "pci": "", "aliases": []}],
    }


def test_a_file_needs_no_more_than_its_format_and_cpus() -> None:
    text = '{"format": "jobqueue-sites topology 1", "cpus": [{"id": 0, "core": 0}]}'
    topology = Topology.from_json(text)
    assert topology == Topology(cpus=(Cpu(id=0, core=0),), allowed=frozenset({0}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "another"}, "format"),
        ({"cpus": []}, "has no CPUs"),
        ({"cpus": [{"id": 0}]}, "is no CPU"),
        ({"cpus": [{"id": -1, "core": 0}]}, "is no CPU"),
        ({"cpus": {}}, "cpus must be a list"),
        ({"cpus": [{"id": 0, "core": 0}, {"id": 0, "core": 1}]}, "CPU 0 is listed twice"),
        (
            {"cpus": [{"id": 0, "core": 0, "socket": 0}, {"id": 1, "core": 0, "socket": 1}]},
            "unique on the node",
        ),
        ({"allowed": "0-9"}, "allowed CPUs 1-9 are not among its CPUs 0"),
        ({"memory_bytes": "much"}, "memory_bytes"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"gpus": [{"name": "0"}]}, "nvidia, amd, intel"),
        ({"gpus": [{"name": "0", "vendor": "amd", "cpus": "x"}]}, "accelerator '0': cpus"),
        ({"gpus": [{"name": "0", "vendor": "amd"}] * 2}, "amd accelerator '0' is listed twice"),
    ],
)
def test_a_wrong_file_is_told_where_it_is_wrong(change: dict[str, object], message: str) -> None:
    data = {"format": "jobqueue-sites topology 1", "cpus": [{"id": 0, "core": 0}], **change}
    with pytest.raises(SettingsError) as caught:
        Topology.from_json(json.dumps(data))
    assert message in str(caught.value)
    assert str(caught.value).startswith("topology: ")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3"])
def test_what_is_no_object_is_no_topology(text: str) -> None:
    with pytest.raises(SettingsError, match="topology: "):
        Topology.from_json(text)


def test_near_cpus_are_whole_cores() -> None:
    topology = Topology(cpus=CPUS, allowed=frozenset(range(4)))
    assert topology.near(Gpu(name="0", vendor=Vendor.AMD, cpus=(0, 99))) == {0, 2}


def test_without_a_list_of_near_cpus_the_numa_domain_is_near() -> None:
    cpus = (Cpu(id=0, core=0, numa=0), Cpu(id=1, core=1, numa=1))
    topology = Topology(cpus=cpus, allowed=frozenset({0, 1}))
    assert topology.near(Gpu(name="0", vendor=Vendor.AMD, numa=1)) == {1}
    assert topology.near(Gpu(name="0", vendor=Vendor.AMD)) == frozenset()
