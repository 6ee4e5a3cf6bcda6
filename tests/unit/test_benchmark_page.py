"""From samples of benchmarks to ratios, tables and a picture."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from tests.benchmarks.page import (
    GOALS,
    NAMES,
    Goal,
    Quantity,
    Sample,
    cpu_table,
    goals_table,
    median,
    picture,
    rates_table,
    verdict,
)

TITLES = {"independent": "no-op <calls>", "chain": "one after the other"}


def sample(engine: str, rate: float, number: int = 0, **figures: float) -> Sample:
    return Sample(
        engine=engine,
        workload="independent",
        round=number,
        figures=(("calls", 100.0), ("calls_per_s", rate), *figures.items()),
        cpu_us=(("client", 10.0), ("scheduler", None), ("workers", 1234.5)),
    )


SAMPLES = [
    sample("daskflow", 50_000, 0),
    sample("daskflow", 20_000, 1),
    sample("daskflow", 60_000, 2),
    sample("parsl", 1_000, 0),
    sample("parsl", 200, 1),
]


def goal(bound: float, beyond: float | None = None, **settings: object) -> Goal:
    given: dict[str, object] = {"workload": "independent", "quantity": Quantity.RATE, **settings}
    return Goal(bound=bound, beyond=beyond, **given)  # type: ignore[arg-type]


def test_a_ratio_is_taken_within_rounds_that_have_both() -> None:
    assert median(SAMPLES, "daskflow", "independent", Quantity.RATE) == 50_000
    assert verdict(goal(1, peer="parsl"), SAMPLES).value == 75  # of 50 and 100
    assert verdict(goal(1), SAMPLES).value == 50_000
    assert verdict(goal(1, peer="delayed"), SAMPLES).value is None


@pytest.mark.parametrize(
    ("bound", "is_most", "beyond", "is_reached", "is_beyond"),
    [
        (75, False, 75, True, True),
        (75, False, 76, True, False),
        (76, False, None, False, False),
        (75, True, 74, True, False),
        (74, True, 74, False, False),
    ],
)
def test_a_goal_is_reached_at_its_bound(
    bound: float, is_most: bool, beyond: float | None, is_reached: bool, is_beyond: bool
) -> None:
    found = verdict(goal(bound, beyond, peer="parsl", is_most=is_most), SAMPLES)
    assert (found.is_reached, found.is_beyond) == (is_reached, is_beyond)


def test_what_was_not_measured_is_not_reached() -> None:
    missing = verdict(goal(0, peer="futures"), SAMPLES)
    assert not missing.is_reached
    assert not missing.is_beyond
    assert "not measured" in goals_table([missing])


def test_memory_is_that_of_a_call() -> None:
    one = sample("daskflow", 1.0, held_bytes=90_000.0)
    assert one.figure(Quantity.HELD) == 900
    assert one.figure(Quantity.LEFT) is None


def cells(table: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_table_of_rates_has_a_column_for_each_engine() -> None:
    head, _rule, row = cells(rates_table(SAMPLES, TITLES))
    assert head == ["workload", *NAMES.values(), "beside Parsl"]
    assert row == ["`independent`: no-op <calls>", "50,000", "600", "", "", "75x"]


def test_the_table_of_goals_says_what_was_to_be_reached_and_what_was() -> None:
    wanted = [
        goal(50, 100, peer="parsl"),
        goal(100, peer="parsl"),
        goal(0.9, quantity=Quantity.EFFICIENCY, unit="% of ideal"),
    ]
    found = [verdict(g, [*SAMPLES, sample("daskflow", 1.0, 3, efficiency=0.953)]) for g in wanted]
    rows = cells(goals_table(found))[2:]
    assert rows[0][2:] == ["≥ 50x (100x)", "75x", "yes"]
    assert rows[1][2:] == ["≥ 100x", "75x", "**no**"]
    assert rows[2][2:] == ["≥ 90 % of ideal", "95 % of ideal", "yes"]


def test_the_table_of_cpu_time_tells_what_it_cannot_tell_apart() -> None:
    (row,) = cells(cpu_table(SAMPLES, TITLES))[2:]
    assert row == ["`independent`", "10 · - · 1,234", "10 · - · 1,234", "", ""]


def test_every_goal_is_about_a_workload_of_the_comparison() -> None:
    from daskflow.perf.measure import STARTUP
    from daskflow.perf.workloads import WORKLOADS

    names = {workload.name for workload in WORKLOADS} | {STARTUP}
    assert {g.workload for g in GOALS} | {g.beside for g in GOALS if g.beside} <= names
    assert {g.peer for g in GOALS if g.peer} <= set(NAMES)


SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_places_dots_by_their_rates_and_stays_in_its_frame() -> None:
    root = ET.fromstring(picture(SAMPLES, TITLES))
    width = float(root.attrib["viewBox"].split()[2])
    dots = {
        re.sub(":.*", "", dot.find(f"{SVG}title").text or ""): float(dot.attrib["cx"])  # type: ignore[union-attr]
        for dot in root.iter(f"{SVG}circle")
        if dot.find(f"{SVG}title") is not None
    }
    assert dots["Parsl"] < dots["daskflow"]
    assert all(0 < x < width for x in dots.values())
    labels = [text.text for text in root.iter(f"{SVG}text")]
    assert {"independent", "no-op <calls>", "100", "100,000"} <= set(labels)
    assert "chain" not in labels


def test_a_picture_of_nothing_is_a_picture() -> None:
    assert ET.fromstring(picture([], TITLES)).tag == f"{SVG}svg"
