"""A plan as an SVG picture that needs nothing else. Pure: values → text.

::

    title
    ┌ socket ────────────────────────────────┐
    │ ┌ NUMA domain ───────────┐ ┌─────────┐ │
    │ │ cores, a column each;  │─│ GPU  w  │ │
    │ │ hardware threads below │─│ GPU  w  │ │
    │ └────────────────────────┘ └─────────┘ │
    └────────────────────────────────────────┘
    workers: their CPUs and accelerators
    notes
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from xml.sax.saxutils import escape

from jobqueue_sites.pinning.plan import NodePlan, WorkerPlan
from jobqueue_sites.pinning.topology import format_cpus
from jobqueue_sites.pinning.view import CpuView, DomainView, GpuView, NodeView, Use, colour, ink

CORES_PER_LINE = 16
_CELL = 30  # width of a core
_ROW = 22  # height of a hardware thread
_GAP = 4
_PAD = 14
_GPU_WIDTH = 180
_GPU_HEIGHT = 30
_LINK = 34  # between a domain and its accelerators
_LINE = 20  # of text
_FILL = {Use.UNUSED: "#ffffff", Use.RESERVED: "url(#reserved)", Use.FORBIDDEN: "#e3e6ea"}
_STYLE = """
text { font-family: system-ui, "Helvetica Neue", Arial, sans-serif; font-size: 12px; fill: #222b36; }
.title { font-size: 18px; font-weight: 600; }
.head { font-weight: 600; }
.dim { fill: #66707c; }
.cell { font-size: 11px; text-anchor: middle; font-weight: 600; }
"""


class _Drawing:
    """Collects elements, and how far they reach."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.width = 0.0
        self.height = 0.0

    def box(self, x: float, y: float, width: float, height: float, **look: str) -> None:
        self._reach(x + width, y + height)
        title = look.pop("title", "")
        inside = f"<title>{escape(title)}</title>" if title else ""
        attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in look.items())
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{attributes}>'
            f"{inside}</rect>"
        )

    def text(self, x: float, y: float, text: str, kind: str = "", fill: str = "") -> None:
        if kind != "cell":
            self._reach(x + 7 * len(text), y + 4)  # the letters are about 7 wide
        style = f' style="fill: {fill}"' if fill else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}"{style}>{escape(text)}</text>')

    def label(self, x: float, y: float, head: str, rest: str) -> None:
        self._reach(x + 7 * len(head + rest), y + 4)
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}"><tspan class="head">{escape(head)}</tspan>'
            f'<tspan class="dim" dx="8">{escape(rest)}</tspan></text>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, stroke: str) -> None:
        middle = (x1 + x2) / 2
        self.parts.append(
            f'<path d="M{x1:g},{y1:g} C{middle:g},{y1:g} {middle:g},{y2:g} {x2:g},{y2:g}" '
            f'stroke="{stroke}" stroke-width="2" fill="none"/>'
        )

    def _reach(self, x: float, y: float) -> None:
        self.width, self.height = max(self.width, x), max(self.height, y)


def node_svg(view: NodeView, plan: NodePlan, title: str) -> str:
    """Return the text of an SVG file that shows a plan."""
    drawing = _Drawing()
    drawing.text(_PAD, 30, title, "title")
    y = 46.0
    widest = max(map(_domain_width, view.domains))
    for socket, domains in groupby(view.domains, key=lambda domain: domain.socket):
        y = _socket(drawing, y, socket, list(domains), widest)
    if view.elsewhere:
        drawing.text(_PAD, y + 14, "Accelerators, no one knows near which cores", "head")
        y += 24
        for number, gpu in enumerate(view.elsewhere):
            _gpu(drawing, _PAD + number * (_GPU_WIDTH + _GAP), y, gpu)
        y += _GPU_HEIGHT + _PAD
    y = _legend(drawing, y, view)
    y = _workers(drawing, y, plan.workers, max(drawing.width, 640))
    for note in plan.notes:
        for number, line in enumerate(textwrap.wrap(note, int(max(drawing.width, 640) / 7))):
            y += _LINE
            drawing.text(_PAD, y, line if number else f"Note: {line}", "dim")
    width, height = drawing.width + _PAD, drawing.height + _PAD
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        '<defs><pattern id="reserved" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="6" height="6" fill="#f4f5f7"/>'
        '<rect width="2" height="6" fill="#aab2bc"/></pattern></defs>\n'
        f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>\n'
        + "\n".join(drawing.parts)
        + "\n</svg>\n"
    )


def _lines(domain: DomainView) -> list[list[Sequence[CpuView]]]:
    """Return the cores of a domain, line by line."""
    return [
        list(domain.cores[start : start + CORES_PER_LINE])
        for start in range(0, len(domain.cores), CORES_PER_LINE)
    ]


def _domain_width(domain: DomainView) -> float:
    cells = min(len(domain.cores), CORES_PER_LINE) * (_CELL + _GAP) - _GAP
    return 2 * _PAD + max(cells, 8 + 7 * len("".join(_domain_label(domain))))


def _domain_label(domain: DomainView) -> tuple[str, str]:
    return f"NUMA {domain.numa}", f"CPUs {format_cpus(domain.cpus)}"


def _box_height(domain: DomainView) -> float:
    cells = sum(max(map(len, line)) * _ROW + 2 * _GAP for line in _lines(domain))
    return _LINE + _PAD + cells - 2 * _GAP


def _gpus_height(domain: DomainView) -> float:
    return len(domain.gpus) * (_GPU_HEIGHT + _GAP) - _GAP


def _socket(
    drawing: _Drawing, y: float, socket: int, domains: Sequence[DomainView], widest: float
) -> float:
    """Draw a socket; return where the next thing starts."""
    heights = [max(_box_height(domain), _gpus_height(domain)) for domain in domains]
    height = _LINE + sum(heights) + _GAP * 2 * len(heights) + _PAD / 2
    has_gpus = any(domain.gpus for domain in domains)
    width = widest + 2 * _PAD + (_LINK + _GPU_WIDTH if has_gpus else 0)
    drawing.box(_PAD, y, width, height, rx="10", fill="#f4f5f7", stroke="#c9cfd6")
    drawing.text(2 * _PAD, y + 18, f"Socket {socket}", "head")
    top = y + _LINE + _GAP * 2
    for domain, own in zip(domains, heights, strict=True):
        middle = top + own / 2
        box = _box_height(domain)
        drawing.box(
            2 * _PAD, middle - box / 2, widest, box, rx="8", fill="#ffffff", stroke="#c9cfd6"
        )
        drawing.label(3 * _PAD, middle - box / 2 + 18, *_domain_label(domain))
        _cells(drawing, 3 * _PAD, middle - box / 2 + _LINE + _PAD / 2, domain)
        edge = 2 * _PAD + widest
        first = middle - _gpus_height(domain) / 2
        for number, gpu in enumerate(domain.gpus):
            at = first + number * (_GPU_HEIGHT + _GAP)
            stroke = colour(gpu.slots[0]) if gpu.slots else "#c9cfd6"
            drawing.line(edge, middle, edge + _LINK, at + _GPU_HEIGHT / 2, stroke)
            _gpu(drawing, edge + _LINK, at, gpu)
        top += own + _GAP * 2
    return y + height + _PAD


def _cells(drawing: _Drawing, x: float, y: float, domain: DomainView) -> None:
    for line in _lines(domain):
        for column, core in enumerate(line):
            for thread, cpu in enumerate(core):
                at = (x + column * (_CELL + _GAP), y + thread * _ROW)
                fill = _FILL[cpu.use] if cpu.slot is None else colour(cpu.slot)
                whose = cpu.use.value if cpu.slot is None else f"worker {cpu.slot}"
                drawing.box(
                    *at,
                    _CELL,
                    _ROW - 2,
                    rx="4",
                    fill=fill,
                    stroke="#c9cfd6" if cpu.slot is None else "none",
                    title=f"CPU {cpu.id}: {whose}",
                )
                if cpu.slot is not None:
                    middle = (at[0] + _CELL / 2, at[1] + _ROW / 2 + 3)
                    drawing.text(*middle, str(cpu.slot), "cell", ink(fill))
        y += max(map(len, line)) * _ROW + 2 * _GAP


def _gpu(drawing: _Drawing, x: float, y: float, gpu: GpuView) -> None:
    """Draw an accelerator in the colour of its worker; if there are several, with a stripe of theirs."""
    colours = [colour(slot) for slot in gpu.slots]
    fill = colours[0] if len(colours) == 1 else "#ffffff"
    name = gpu.name if len(gpu.name) <= 8 else f"{gpu.name[:7]}…"
    workers = f"worker{'s' if len(colours) > 1 else ''} {format_cpus(gpu.slots)}"
    drawing.box(
        x,
        y,
        _GPU_WIDTH,
        _GPU_HEIGHT,
        rx="6",
        fill=fill,
        stroke="#c9cfd6",
        title=f"accelerator {gpu.name}: {workers if colours else 'unused'}",
    )
    if len(colours) > 1:
        width = (_GPU_WIDTH - 20) / len(colours)
        for number, own in enumerate(colours):
            drawing.box(x + 10 + number * width, y + _GPU_HEIGHT - 8, width, 4, fill=own)
    height = 16 if len(colours) > 1 else 19
    text = f"GPU {name} · {workers if colours else 'unused'}"
    drawing.text(x + 10, y + height, text, fill=ink(fill))


def _legend(drawing: _Drawing, y: float, view: NodeView) -> float:
    uses = {cpu.use for domain in view.domains for core in domain.cores for cpu in core}
    shown = [use for use in _FILL if use in uses]
    for number, use in enumerate(shown):
        x = _PAD + number * 215
        drawing.box(x, y, _CELL, _ROW - 2, rx="4", fill=_FILL[use], stroke="#c9cfd6")
        drawing.text(x + _CELL + 8, y + 14, use.value, "dim")
    return y + _ROW + _PAD / 2 if shown else y


def _workers(drawing: _Drawing, y: float, workers: Sequence[WorkerPlan], width: float) -> float:
    """List the workers in columns."""
    texts = []
    for worker in workers:
        cpus = f"CPUs {format_cpus(worker.cpus)}" if worker.cpus else "not bound"
        names = " ".join(worker.accelerators)
        texts.append(f"{cpus} · GPU {names}" if names else cpus)
    column = 56 + 7 * max(map(len, texts))
    columns = max(1, int(width / column))
    lines = -(-len(workers) // columns)
    for number, (worker, text) in enumerate(zip(workers, texts, strict=True)):
        x = _PAD + (number // lines) * column
        top = y + (number % lines) * (_ROW + 2)
        drawing.box(x, top, _CELL, _ROW - 2, rx="4", fill=colour(worker.slot))
        middle = (x + _CELL / 2, top + _ROW / 2 + 3)
        drawing.text(*middle, str(worker.slot), "cell", ink(colour(worker.slot)))
        drawing.text(x + _CELL + 8, top + 14, text)
    return y + lines * (_ROW + 2)
