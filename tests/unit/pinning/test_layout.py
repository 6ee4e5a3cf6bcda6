"""NodeLayout: what can be refused before there is a node."""

from __future__ import annotations

from typing import Any

import pytest

from jobqueue_sites.errors import SettingsError
from jobqueue_sites.pinning.layout import Affinity, NodeLayout


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("available_accelerators", -1),
        ("available_accelerators", True),
        ("available_accelerators", None),
        ("available_accelerators", "0,1"),
        ("available_accelerators", ["0", ""]),
        ("available_accelerators", ["0,0"]),
        ("available_accelerators", ["0,"]),
        ("available_accelerators", [1.5]),
        ("workers_per_accelerator", 0),
        ("workers_per_accelerator", 1.5),
        ("workers_per_accelerator", True),
        ("cpu_affinity", "blocks"),
        ("cpu_affinity", "list"),
        ("cpu_affinity", "list:"),
        ("cpu_affinity", "list:0-3:"),
        ("cpu_affinity", "list:0-3:x"),
        ("cpu_affinity", "block:0-3"),
        ("cpu_affinity", None),
        ("cores_per_worker", 0),
        ("cores_per_worker", float("inf")),
        ("cores_per_worker", float("nan")),
        ("cores_per_worker", "2"),
        ("mem_per_worker", -1),
        ("max_workers_per_node", 0),
        ("threads_per_worker", 0),
        ("reserved_cpus", "0-"),
        ("reserved_cpus", 3),
    ],
)
def test_a_wrong_value_is_told_by_name_and_value(setting: str, value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        NodeLayout(**{setting: value})
    assert str(caught.value).startswith(f"{setting}=")
    assert repr(value)[:6] in str(caught.value)


def test_a_text_of_names_is_told_how_a_list_is_written() -> None:
    with pytest.raises(SettingsError, match=r"\['0,1'\] is a list of one"):
        NodeLayout(available_accelerators="0,1")


def test_names_are_kept_in_one_form_whatever_they_are_given_as() -> None:
    layout = NodeLayout(available_accelerators=["0, 1", 2])  # type: ignore[list-item] # forgiven
    assert layout.available_accelerators == ("0,1", "2")
    assert layout.accelerator_names == (("0", "1"), ("2",))
    assert layout == NodeLayout(available_accelerators=("0,1", "2"))
    assert hash(layout) == hash(NodeLayout(available_accelerators=("0,1", "2")))


def test_oversubscription_needs_something_to_share() -> None:
    with pytest.raises(SettingsError, match="give available_accelerators too"):
        NodeLayout(workers_per_accelerator=2)
    NodeLayout(workers_per_accelerator=2, available_accelerators="auto")


@pytest.mark.parametrize("how", ["none", "block", "block-reverse", "alternating", "auto"])
def test_the_ways_to_divide_cores_are_known(how: str) -> None:
    assert NodeLayout(cpu_affinity=how).affinity is Affinity(how)


def test_a_list_has_one_set_of_cores_for_each_worker() -> None:
    layout = NodeLayout(cpu_affinity="list:0-1,8:2-3", available_accelerators=2)
    assert layout.affinity is Affinity.LIST
    assert layout.cpu_sets == ((0, 1, 8), (2, 3))
    assert layout.wanted_workers == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"available_accelerators": 3}, "2 sets of CPUs for 3 workers"),
        ({"available_accelerators": ["0"]}, "2 sets of CPUs for 1 workers"),
        (
            {"available_accelerators": 2, "workers_per_accelerator": 2},
            "2 sets of CPUs for 4 workers",
        ),
        ({"reserved_cpus": "1,9"}, "CPUs 1 are in reserved_cpus='1,9'"),
        ({"cpu_affinity": "list:0-3:2-5"}, "workers 0 and 1 both get CPU 2"),
    ],
)
def test_a_list_that_fits_nothing_else_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        NodeLayout(**{"cpu_affinity": "list:0-1:2-3", **settings})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, None),
        ({"available_accelerators": 0}, None),
        ({"available_accelerators": 4}, 4),
        ({"available_accelerators": 4, "workers_per_accelerator": 3}, 12),
        ({"available_accelerators": ["0", "0", "1"], "workers_per_accelerator": 2}, 6),
        ({"available_accelerators": "auto"}, None),
        ({"cpu_affinity": "list:0:1:2"}, 3),
    ],
)
def test_how_many_workers_are_asked_for(settings: dict[str, Any], wanted: int | None) -> None:
    assert NodeLayout(**settings).wanted_workers == wanted
