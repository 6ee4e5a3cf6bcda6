"""Pictures of plans: they show every CPU once, as what it is, and every accelerator with its workers."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from jobqueue_sites.catalog import load_site, node_topology, site_names
from jobqueue_sites.pinning.layout import NodeLayout
from jobqueue_sites.pinning.plan import NodePlan, plan_node
from jobqueue_sites.pinning.svg import node_svg
from jobqueue_sites.pinning.terminal import node_picture, plan_table
from jobqueue_sites.pinning.topology import Gpu, Topology, Vendor
from jobqueue_sites.pinning.view import COLOURS, NodeView, colour, ink, view_node
from tests.unit.pinning.machines import cpus_of, node

SVG = "{http://www.w3.org/2000/svg}"
SMALL = node(
    cpus_of(domains=2, cores=3, threads=2),
    gpus={"0": "3-5", "1": "3-5", "2": ""},
    allowed="0-5,6-9",
    reserved="0",
)


def drawn(topology: Topology, **settings: Any) -> tuple[NodeView, NodePlan]:
    layout = NodeLayout(**{"available_accelerators": "auto", "cpu_affinity": "auto", **settings})
    plan = plan_node(topology, layout)
    return view_node(topology, layout, plan), plan


def shown(what: Any) -> str:
    console = Console(width=200, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


def titles(svg: str) -> list[str]:
    return [found.text or "" for found in ET.fromstring(svg).iter(f"{SVG}title")][1:]


def test_a_picture_has_each_cpu_as_what_it_is_used_for() -> None:
    view, plan = drawn(SMALL, available_accelerators=["0", "1"], reserved_cpus="0,6")
    found = dict(
        title.removeprefix("CPU ").split(": ")
        for title in titles(node_svg(view, plan, "a node"))
        if title.startswith("CPU ")
    )
    owners = {str(cpu): f"worker {w.slot}" for w in plan.workers for cpu in w.cpus}
    assert found == {
        **{str(cpu): "unused" for cpu in (1, 2, 7, 8)},
        **{str(cpu): "reserved for the system" for cpu in (0, 6)},
        **{str(cpu): "not the job's" for cpu in (10, 11)},
        **owners,
    }
    assert set(owners) == {"3", "4", "5", "9"}


def test_accelerators_stand_beside_their_domain_with_their_workers() -> None:
    view, plan = drawn(SMALL, workers_per_accelerator=2, cpu_affinity="none")
    first, second = view.domains
    assert first.gpus == ()
    assert [(gpu.name, gpu.slots) for gpu in second.gpus] == [("0", (0, 1)), ("1", (2, 3))]
    assert [(gpu.name, gpu.slots) for gpu in view.elsewhere] == [("2", (4, 5))]
    accelerators = [
        title for title in titles(node_svg(view, plan, "a node")) if title.startswith("acc")
    ]
    assert accelerators == [
        "accelerator 0: workers 0-1",
        "accelerator 1: workers 2-3",
        "accelerator 2: workers 4-5",
    ]


def test_accelerators_of_two_vendors_are_told_apart() -> None:
    mixed = dataclasses.replace(
        SMALL, gpus=(Gpu(name="0", vendor=Vendor.NVIDIA), Gpu(name="0", vendor=Vendor.AMD))
    )
    view, _ = drawn(mixed)
    assert [gpu.slots for gpu in view.elsewhere] == [(0,), (1,)]


def every_node() -> list[tuple[str, str]]:
    return [(name, kind) for name in site_names() for kind in load_site(name).nodes]


@pytest.mark.parametrize(("site", "kind"), every_node())
def test_every_known_node_can_be_drawn_within_its_frame(site: str, kind: str) -> None:
    topology = node_topology(site, kind)
    view, plan = drawn(topology, max_workers_per_node=24)
    svg = node_svg(view, plan, f"{site} & <{kind}>")
    root = ET.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        place = {key: float(box.attrib.get(key, 0)) for key in ("x", "y", "width", "height")}
        assert 0 <= place["x"] <= place["x"] + place["width"] <= width
        assert 0 <= place["y"] <= place["y"] + place["height"] <= height
    numbers = [title for title in titles(svg) if title.startswith("CPU ")]
    assert len(set(numbers)) == len(topology.cpus)
    assert not re.search(r"href|url\((?!#)|<script|<image", svg)


@pytest.mark.parametrize(("site", "kind"), every_node())
def test_the_terminal_shows_a_cell_for_each_cpu(site: str, kind: str) -> None:
    topology = node_topology(site, kind)
    view, plan = drawn(topology, max_workers_per_node=8)
    owned: Counter[str] = Counter()
    for segment in Console(width=200).render(node_picture(view)):
        if segment.style is not None and segment.style.bgcolor is not None:
            owned[segment.text.strip()] += 1
    assert owned == {
        str(worker.slot): len(worker.cpus) + len(worker.accelerators) for worker in plan.workers
    }


def test_the_table_has_a_line_for_each_worker() -> None:
    _, plan = drawn(SMALL, available_accelerators=["0", "1"])
    table = shown(plan_table(plan)).splitlines()
    assert len(table) == 4
    assert "CUDA_VISIBLE_DEVICES=1" in table[3]
    _, unbound = drawn(SMALL, available_accelerators=1, cpu_affinity="none")
    assert "not bound" in shown(plan_table(unbound))


def test_the_table_of_polaris_fits_a_terminal_of_80_columns() -> None:
    _, plan = drawn(node_topology("polaris"))
    console = Console(width=80, force_terminal=False)
    with console.capture() as capture:
        console.print(plan_table(plan))
    assert len(capture.get().splitlines()) == 2 + len(plan.workers)


def test_the_name_of_a_small_domain_fits_its_box() -> None:
    view, plan = drawn(node(cpus_of(domains=1, cores=1, threads=1)))
    root = ET.fromstring(node_svg(view, plan, "small"))
    *_, box = (float(r.attrib["width"]) for r in root.iter(f"{SVG}rect") if r.get("rx") == "8")
    assert box >= 7 * len("NUMA 0 CPUs 0")


def test_the_legend_says_what_the_signs_mean() -> None:
    view, _ = drawn(SMALL, available_accelerators=1)
    picture = shown(node_picture(view))
    assert "░░░: reserved for the system" in picture
    assert "blank: not the job's" in picture
    assert "no one knows near which cores" in picture


def test_the_picture_in_the_documentation_is_what_is_drawn() -> None:
    view, plan = drawn(node_topology("polaris"))
    svg = node_svg(view, plan, "polaris, gpu: 4 workers, cpu_affinity auto")
    picture = Path(__file__).parents[3] / "docs" / "how-to" / "pinning-polaris.svg"
    assert picture.read_text() == svg  # else: jobqueue-sites pin --site polaris --svg ...


@pytest.mark.parametrize("background", COLOURS)
def test_numbers_can_be_read_on_every_colour(background: str) -> None:
    def luminance(text: str) -> float:  # relative luminance of WCAG 2
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(background), luminance(ink(background))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3.0


def test_neighbours_have_different_colours() -> None:
    assert len({colour(slot) for slot in range(len(COLOURS))}) == len(COLOURS)
