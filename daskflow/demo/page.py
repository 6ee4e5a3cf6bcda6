"""The tables and the page of pictures: CSV, and one HTML file that needs nothing from the network."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daskflow.demo.measure import FileFacts

if TYPE_CHECKING:
    from bokeh.plotting import figure as Figure  # noqa: N812 # Bokeh names a class in lower case

    from daskflow.demo.workflow import Results

_KINDS = {
    "code": "#1f5fa8",
    "docstrings": "#5aa9a3",
    "comments": "#e0a44a",
    "blank": "#d9dde3",
}
_INK = "#2b3440"
_QUIET = "#6b7684"
_ACCENT = "#c8503c"
_MOST_PACKAGES = 20


def write_csv(path: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table."""
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_page(path: str, title: str, facts: Sequence[FileFacts], results: Results) -> None:
    """Write the page about `facts`."""
    from bokeh.embed import file_html  # slow to import, and only this call needs it
    from bokeh.resources import INLINE

    figures = {"packages": _packages_figure(results)}
    if any(each.lines and each.parse_s for each in facts):
        figures["files"] = _files_figure(facts, results)
    if results.imports:
        figures["imports"] = _imports_figure(results)
    for name, figure in figures.items():
        figure.name = name
    template = resources.files("daskflow.demo").joinpath("page.html").read_text(encoding="utf-8")
    html = file_html(
        list(figures.values()),
        resources=INLINE,
        title=f"{title}: a reading by daskflow",
        template=template,
        template_variables={
            "heading": title,
            "drawn": set(figures),
            "total": results.sum,
            "packages": len(results.totals),
            "shown": min(_MOST_PACKAGES, len(results.totals)),
            "kinds": _KINDS,
            "results": results,
            "parse_s": sum(each.parse_s for each in facts),
            "name_of": _name_of,
        },
    )
    Path(path).write_text(html, encoding="utf-8")


def _name_of(facts: FileFacts) -> str:
    """Return a file's name with the folder it lies in."""
    return "/".join(Path(facts.path).parts[-2:])


def _packages_figure(results: Results) -> Figure:
    """Draw one bar for each package, of its lines by kind."""
    from bokeh.models import ColumnDataSource, FactorRange, Range1d
    from bokeh.plotting import figure

    largest = results.totals[:_MOST_PACKAGES][::-1]
    names = [package for package, _ in largest]
    columns: dict[str, Any] = {"package": names}
    for field in ("files", "lines", "functions", *_KINDS):
        columns[field] = [getattr(totals, field) for _, totals in largest]
    plot = figure(
        x_range=Range1d(start=0, end=1.02 * max(totals.lines for _, totals in largest) or 1),
        y_range=FactorRange(factors=names),
        height=90 + 24 * len(names),
        tools="hover",
        toolbar_location=None,
        tooltips=[("", "@package"), ("files", "@files{0,0}"), ("functions", "@functions{0,0}")]
        + [(kind, f"@{kind}{{0,0}} lines") for kind in _KINDS],
        x_axis_label="lines",
    )
    plot.hbar_stack(
        list(_KINDS),
        y="package",
        height=0.72,
        color=list(_KINDS.values()),
        source=ColumnDataSource(columns),
        line_color="white",
        line_width=0.5,
    )
    return _dressed(plot, grid="x")


def _files_figure(facts: Sequence[FileFacts], results: Results) -> Figure:
    """Draw one point for each file: its lines, and how long it took to parse."""
    from bokeh.models import ColumnDataSource
    from bokeh.plotting import figure

    plot = figure(
        height=430,
        x_axis_type="log",
        y_axis_type="log",
        x_axis_label="lines",
        y_axis_label="milliseconds to parse",
        tools="pan,wheel_zoom,box_zoom,reset,hover",
        toolbar_location="above",
        tooltips=[("", "@name"), ("lines", "@lines{0,0}"), ("parsed in", "@ms{0.0} ms")],
    )
    plot.toolbar.logo = None
    parsed = [each for each in facts if each.lines and each.parse_s]
    slowest = {each.path for each in results.slowest}
    groups = {
        "a file": ([each for each in parsed if each.path not in slowest], _KINDS["code"], 5, 0.35),
        f"the {len(slowest)} slowest": (
            [each for each in parsed if each.path in slowest],
            _ACCENT,
            8,
            0.9,
        ),
    }
    for legend, (members, color, size, alpha) in groups.items():
        source = ColumnDataSource(
            {
                "name": [_name_of(each) for each in members],
                "lines": [each.lines for each in members],
                "ms": [1000 * each.parse_s for each in members],
            }
        )
        plot.scatter(
            "lines",
            "ms",
            source=source,
            size=size,
            color=color,
            alpha=alpha,
            line_color=None,
            legend_label=legend,
        )
    plot.legend.location = "top_left"
    plot.legend.border_line_color = None
    plot.legend.label_text_color = _INK
    return _dressed(plot, grid="both")


def _imports_figure(results: Results) -> Figure:
    """Draw how often the most imported modules are imported."""
    from bokeh.models import ColumnDataSource, FactorRange, Range1d
    from bokeh.plotting import figure

    most = results.imports[::-1]
    names = [name for name, _ in most]
    counts = [count for _, count in most]
    plot = figure(
        x_range=Range1d(start=0, end=1.12 * max(counts, default=1)),  # room for the numbers
        y_range=FactorRange(factors=names),
        height=90 + 22 * max(1, len(names)),
        tools="",
        toolbar_location=None,
        x_axis_label="import statements",
    )
    source = ColumnDataSource(
        {"name": names, "count": counts, "text": [f"{count:,}" for count in counts]}
    )
    plot.hbar(y="name", right="count", height=0.72, color=_KINDS["code"], source=source)
    plot.text(
        x="count",
        y="name",
        text="text",
        source=source,
        x_offset=5,
        text_baseline="middle",
        text_font_size="12px",
        text_color=_QUIET,
    )
    return _dressed(plot, grid="x")


def _dressed(plot: Figure, grid: str) -> Figure:
    """Give a figure the look of the page."""
    from bokeh.models import NumeralTickFormatter

    plot.sizing_mode = "stretch_width"
    plot.outline_line_color = None
    plot.background_fill_color = None
    plot.border_fill_color = None
    plot.xgrid.grid_line_color = "#e8ebef"
    plot.ygrid.grid_line_color = "#e8ebef" if grid == "both" else None
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
    if grid == "both":
        plot.yaxis.formatter = NumeralTickFormatter(format="0.[00]")
    for axis in (*plot.xaxis, *plot.yaxis):
        axis.axis_line_color = None
        axis.major_tick_line_color = None
        axis.minor_tick_line_color = None
        axis.major_label_text_color = _INK
        axis.major_label_text_font_size = "12px"
        axis.axis_label_text_color = _QUIET
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "12px"
    return plot
