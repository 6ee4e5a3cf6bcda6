"""From samples to what the documentation quotes: goals, tables and a picture. Values in, text out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from html import escape


class Quantity(StrEnum):
    """What a goal is about; the name of the figure in a sample."""

    RATE = "calls_per_s"
    EFFICIENCY = "efficiency"
    ROUND_TRIP = "round_trip_s"
    SECONDS = "seconds"
    HELD = "held_bytes_per_call"
    HELD_ALL = "held_bytes"
    LEFT = "left_bytes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """What one engine took for one workload in one round; `cpu_us` by kind of process."""

    engine: str
    workload: str
    round: int
    figures: tuple[tuple[str, float], ...]
    cpu_us: tuple[tuple[str, float | None], ...] = ()

    def figure(self, quantity: Quantity) -> float | None:
        """Return a figure of this sample; None if it has none."""
        known = dict(self.figures)
        if quantity is Quantity.HELD:
            held = known.get("held_bytes")
            return None if held is None else held / known["calls"]
        return known.get(quantity.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A figure of daskflow that is to be reached.

    It is divided by that of `peer`, or by that of another workload (`beside`), in the same round.
    `bound` is the least, or if `is_most` the greatest that will do; `beyond` is what would be better
    still. `unit` scales it for the eye.
    """

    workload: str
    quantity: Quantity
    bound: float
    peer: str | None = None
    beside: str | None = None
    is_most: bool = False
    beyond: float | None = None
    unit: str = "x"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What came of a goal; `value` is None where it was not measured."""

    goal: Goal
    value: float | None

    @property
    def is_reached(self) -> bool:
        """Whether the bound is kept."""
        return self.value is not None and _keeps(self.value, self.goal.bound, self.goal)

    @property
    def is_beyond(self) -> bool:
        """Whether even the goal beyond is reached."""
        beyond = self.goal.beyond
        return (
            self.value is not None and beyond is not None and _keeps(self.value, beyond, self.goal)
        )


def _keeps(value: float, bound: float, goal: Goal) -> bool:
    return value <= bound if goal.is_most else value >= bound


NAMES = {
    "daskflow": "daskflow",
    "parsl": "Parsl",
    "delayed": "dask.delayed",
    "futures": "client.map, submit",
}
_HALF = "half the rate of `independent`"
GOALS = (
    Goal(workload="independent", quantity=Quantity.RATE, peer="parsl", bound=50, beyond=100),
    Goal(workload="independent", quantity=Quantity.RATE, peer="delayed", bound=60),
    Goal(workload="arrays", quantity=Quantity.RATE, peer="parsl", bound=25, beyond=50),
    Goal(workload="chain", quantity=Quantity.RATE, peer="parsl", bound=100, beyond=200),
    Goal(workload="map-reduce", quantity=Quantity.RATE, peer="parsl", bound=30),
    Goal(workload="tree", quantity=Quantity.RATE, peer="parsl", bound=30),
    Goal(
        workload="milliseconds",
        quantity=Quantity.EFFICIENCY,
        bound=0.95,
        beyond=0.98,
        unit="% of ideal",
    ),
    Goal(
        workload="unseen",
        quantity=Quantity.EFFICIENCY,
        bound=1 / 1.1,
        beyond=1 / 1.05,
        unit="% of ideal",
    ),
    Goal(
        workload="uneven",
        quantity=Quantity.EFFICIENCY,
        bound=1 / 1.25,
        beyond=1 / 1.05,
        unit="% of ideal",
    ),
    Goal(
        workload="latency",
        quantity=Quantity.ROUND_TRIP,
        peer="parsl",
        bound=2,
        beyond=1,
        is_most=True,
    ),
    Goal(workload="large-array", quantity=Quantity.RATE, peer="parsl", bound=150),
    Goal(workload="large-array", quantity=Quantity.RATE, peer="futures", bound=0.95, beyond=1.1),
    Goal(
        workload="large-array",
        quantity=Quantity.HELD_ALL,
        bound=50e6,
        is_most=True,
        unit="MB grown",
    ),
    Goal(workload="million", quantity=Quantity.RATE, bound=40_000, unit="calls/s"),
    Goal(workload="million", quantity=Quantity.HELD, bound=1000, is_most=True, unit="kB a call"),
    Goal(workload="million", quantity=Quantity.LEFT, bound=50e6, is_most=True, unit="MB left"),
    Goal(
        workload="startup",
        quantity=Quantity.SECONDS,
        bound=2.0,
        beyond=1.0,
        is_most=True,
        unit="s",
    ),
    Goal(workload="busy", quantity=Quantity.RATE, beside="independent", bound=0.5),
    Goal(workload="keywords", quantity=Quantity.RATE, beside="independent", bound=0.5),
    Goal(workload="closure", quantity=Quantity.RATE, beside="independent", bound=0.5),
    Goal(workload="failing", quantity=Quantity.RATE, beside="independent", bound=0.5),
)


def median(
    samples: Iterable[Sample], engine: str, workload: str, quantity: Quantity
) -> float | None:
    """Return the median over all rounds; None if there is no such figure."""
    values = [
        value
        for s in samples
        if (s.engine, s.workload) == (engine, workload)
        and (value := s.figure(quantity)) is not None
    ]
    return statistics.median(values) if values else None


def verdict(goal: Goal, samples: Sequence[Sample]) -> Verdict:
    """Return what came of a goal: the median over the rounds, of ratios taken within a round."""
    own = _by_round(samples, "daskflow", goal.workload, goal.quantity)
    if goal.peer is None and goal.beside is None:
        values = list(own.values())
    else:
        engine, workload = goal.peer or "daskflow", goal.beside or goal.workload
        other = _by_round(samples, engine, workload, goal.quantity)
        values = [own[number] / other[number] for number in own if other.get(number)]
    return Verdict(goal=goal, value=statistics.median(values) if values else None)


def _by_round(
    samples: Iterable[Sample], engine: str, workload: str, quantity: Quantity
) -> dict[int, float]:
    return {
        s.round: value
        for s in samples
        if (s.engine, s.workload) == (engine, workload)
        and (value := s.figure(quantity)) is not None
    }


# ---- tables -------------------------------------------------------------------------------------


def rates_table(samples: Sequence[Sample], titles: dict[str, str]) -> str:
    """Return a Markdown table of calls per second, with a column for each engine."""
    lines = [
        "| workload | " + " | ".join(NAMES.values()) + " | beside Parsl |",
        "|---|" + "---:|" * (len(NAMES) + 1),
    ]
    for workload, title in titles.items():
        rates = {e: median(samples, e, workload, Quantity.RATE) for e in NAMES}
        if rates["daskflow"] is None:
            continue
        goal = Goal(workload=workload, quantity=Quantity.RATE, peer="parsl", bound=0)
        ratio = verdict(goal, samples).value
        cells = [*map(_rate, rates.values()), "" if ratio is None else f"{_digits(ratio)}x"]
        lines.append(f"| `{workload}`: {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def goals_table(verdicts: Sequence[Verdict]) -> str:
    """Return a Markdown table of goals and what came of them."""
    lines = ["| workload | figure | to reach | measured | reached |", "|---|---|---:|---:|---|"]
    for each in verdicts:
        goal = each.goal
        sign = "≤" if goal.is_most else "≥"
        beyond = "" if goal.beyond is None else f" ({_shown(goal.beyond, goal)})"
        reached = "not measured"
        if each.value is not None:
            reached = (
                "yes, and beyond" if each.is_beyond else "yes" if each.is_reached else "**no**"
            )
        lines.append(
            f"| `{goal.workload}` | {_what(goal)} | {sign} {_shown(goal.bound, goal)}{beyond} "
            f"| {'' if each.value is None else _shown(each.value, goal)} | {reached} |"
        )
    return "\n".join(lines) + "\n"


def cpu_table(samples: Sequence[Sample], workloads: Iterable[str]) -> str:
    """Return a Markdown table of the CPU time that a call takes of each kind of process."""
    lines = [
        "| workload | daskflow | Parsl | dask.delayed | client.map, submit |",
        "|---|---:|---:|---:|---:|",
    ]
    for workload in workloads:
        cells = [_cpu(samples, engine, workload) for engine in NAMES]
        if cells[0]:
            lines.append(f"| `{workload}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cpu(samples: Sequence[Sample], engine: str, workload: str) -> str:
    own = [s for s in samples if (s.engine, s.workload) == (engine, workload) and s.cpu_us]
    if not own:
        return ""
    parts = []
    for kind in ("client", "scheduler", "workers"):
        values = [v for s in own if (v := dict(s.cpu_us).get(kind)) is not None]
        parts.append(_digits(statistics.median(values)) if values else "-")
    return " · ".join(parts)


def _what(goal: Goal) -> str:
    names = {
        Quantity.RATE: "rate",
        Quantity.EFFICIENCY: "efficiency",
        Quantity.ROUND_TRIP: "round trip",
        Quantity.SECONDS: "time to the first result",
        Quantity.HELD: "client's memory, all futures held",
        Quantity.HELD_ALL: "client's memory",
        Quantity.LEFT: "client's memory, futures dropped",
    }
    if goal.peer is not None:
        return f"{names[goal.quantity]}, beside {NAMES[goal.peer]}"
    if goal.beside is not None:
        return f"{names[goal.quantity]}, beside `{goal.beside}`"
    return names[goal.quantity]


def _shown(value: float, goal: Goal) -> str:
    if goal.unit.startswith("%"):
        return f"{100 * value:.0f} {goal.unit}"
    if goal.unit.startswith("MB"):
        return f"{value / 1e6:.0f} {goal.unit}"
    if goal.unit.startswith("kB"):
        return f"{value / 1e3:.2f} {goal.unit}"
    if goal.unit == "x":
        return f"{_digits(value)}x"
    return f"{_digits(value)} {goal.unit}"


def _digits(value: float) -> str:
    """Return a number with about three digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".")


def _rate(value: float | None) -> str:
    return "" if value is None else _digits(value)


# ---- picture ------------------------------------------------------------------------------------

_COLOURS = {"daskflow": "#d9480f", "parsl": "#1864ab", "delayed": "#5c940d", "futures": "#862e9c"}
_LEFT, _RIGHT, _TOP, _ROW, _BOTTOM = 270, 40, 84, 40, 56
_WIDTH = 860


def picture(samples: Sequence[Sample], titles: dict[str, str]) -> str:
    """Return an SVG: for each workload, the rate of each engine on one logarithmic axis.

    A dot is the median, a bar behind it goes from the slowest round to the fastest.
    """
    rows = [w for w in titles if median(samples, "daskflow", w, Quantity.RATE) is not None]
    rates = [
        value
        for s in samples
        if s.workload in rows and (value := s.figure(Quantity.RATE)) is not None
    ]
    low, high = _decades(rates)
    bottom = _TOP + _ROW * len(rows)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + _BOTTOM}" '
        f'font-family="system-ui, sans-serif" font-size="14" fill="#212529"'
    )
    parts = [
        f"{head}>",
        "<title>Calls per second of standard workloads</title>",
        f'<rect width="{_WIDTH}" height="{bottom + _BOTTOM}" fill="#ffffff"/>',
        *_legend(),
        *_axis(low, high, bottom),
    ]
    for index, workload in enumerate(rows):
        y = _TOP + _ROW * index + _ROW / 2
        if index % 2 == 0:
            parts.append(
                f'<rect x="0" y="{y - _ROW / 2:.0f}" width="{_WIDTH}" height="{_ROW}" '
                f'fill="#868e96" fill-opacity="0.08"/>'
            )
        parts.append(f'<text x="16" y="{y - 2:.0f}" font-weight="600">{escape(workload)}</text>')
        parts.append(
            f'<text x="16" y="{y + 14:.0f}" font-size="11" fill="#495057">'
            f"{escape(titles[workload])}</text>"
        )
        for engine in reversed(NAMES):
            parts += _mark(samples, engine, workload, y, (low, high))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _decades(rates: Sequence[float]) -> tuple[int, int]:
    """Return the exponents between which all rates lie; at least one decade."""
    if not rates:
        return 0, 1
    low = math.floor(math.log10(min(rates)))
    return low, max(low + 1, math.ceil(math.log10(max(rates))))


def _x(rate: float, span: tuple[int, int]) -> float:
    low, high = span
    share = (math.log10(rate) - low) / (high - low)
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _legend() -> list[str]:
    parts = ['<text x="16" y="30" font-size="18" font-weight="600">Calls per second</text>']
    x = _LEFT
    for engine, name in NAMES.items():
        parts.append(f'<circle cx="{x}" cy="25" r="6" fill="{_COLOURS[engine]}"/>')
        parts.append(f'<text x="{x + 12}" y="30">{escape(name)}</text>')
        x += 40 + 8 * len(name)
    return parts


def _axis(low: int, high: int, bottom: int) -> list[str]:
    parts = []
    for exponent in range(low, high + 1):
        x = _x(10.0**exponent, (low, high))
        parts.append(
            f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom + 8}" stroke="#ced4da"/>'
        )
        label = f"{10.0**exponent:,.0f}" if exponent >= 0 else f"{10.0**exponent:g}"
        parts += [
            f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{label}</text>'
            for y in (_TOP - 16, bottom + 26)
        ]
    return parts


def _mark(
    samples: Sequence[Sample], engine: str, workload: str, y: float, span: tuple[int, int]
) -> list[str]:
    rates = list(_by_round(samples, engine, workload, Quantity.RATE).values())
    if not rates:
        return []
    colour = _COLOURS[engine]
    slowest, middle, fastest = (
        _x(rate, span) for rate in (min(rates), statistics.median(rates), max(rates))
    )
    told = escape(f"{NAMES[engine]}: {_digits(statistics.median(rates))} calls/s")
    spread = (
        f'<line x1="{slowest:.1f}" y1="{y:.1f}" x2="{fastest:.1f}" y2="{y:.1f}" '
        f'stroke="{colour}" stroke-width="5" stroke-opacity="0.35" stroke-linecap="round"/>'
    )
    dot = f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="6.5" fill="{colour}">'
    return [spread, f"{dot}<title>{told}</title></circle>"]
