"""A plan in the terminal: a table of workers, and a picture of the node. Pure: values → what rich shows."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobqueue_sites.pinning.accelerators import VISIBILITY
from jobqueue_sites.pinning.plan import BYTES_PER_GB, NodePlan
from jobqueue_sites.pinning.topology import format_cpus
from jobqueue_sites.pinning.view import (
    CpuView,
    DomainView,
    GpuView,
    NodeView,
    Use,
    colour,
    ink,
)

CORES_PER_LINE = 16
_SIGNS = {Use.UNUSED: " · ", Use.RESERVED: "░░░", Use.FORBIDDEN: "   "}


def plan_table(plan: NodePlan) -> RenderableType:
    """Return a table with one line for each worker."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("worker", justify="right")
    table.add_column("GPU")
    table.add_column("CPUs", overflow="fold")
    table.add_column("calls\nat once", justify="right")
    table.add_column("threads\neach", justify="right")
    table.add_column("memory", justify="right")
    table.add_column("sees", overflow="fold")
    for worker in plan.workers:
        memory = worker.memory_bytes
        table.add_row(
            Text(f" {worker.slot} ", style=_style(worker.slot)),
            " ".join(worker.accelerators) or "-",
            format_cpus(worker.cpus) or "not bound",
            str(worker.threads),
            worker.env.get("OMP_NUM_THREADS", "-"),
            "-" if memory is None else f"{memory / BYTES_PER_GB:.1f} GB",
            " ".join(f"{name}={worker.env[name]}" for name in VISIBILITY if name in worker.env)
            or "-",
        )
    return table


def node_picture(view: NodeView) -> RenderableType:
    """Return a picture: a block of cells for each NUMA domain, its accelerators beside it.

    A column is a core, with one cell for each hardware thread; a cell has the number and colour of
    its worker.
    """
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column()
    socket = None
    for domain in view.domains:
        head = f"socket {domain.socket}" if domain.socket != socket else ""
        socket = domain.socket
        where = Text.assemble((head, "bold"), "\n" if head else "", f"NUMA {domain.numa}")
        where.append(f"\nCPUs {format_cpus(domain.cpus)}", style="dim")
        table.add_row(where, _cells(domain), _beside(domain.gpus))
        table.add_row()
    parts: list[RenderableType] = [table]
    if view.elsewhere:
        parts.append(
            Group(Text("accelerators, no one knows near which cores:"), _beside(view.elsewhere))
        )
    if legend := _legend(view):
        parts.append(legend)
    return Group(*parts)


def _cells(domain: DomainView) -> Text:
    """Return the cells of a domain, so many cores to a line, hardware threads below each other."""
    text = Text()
    for start in range(0, len(domain.cores), CORES_PER_LINE):
        cores = domain.cores[start : start + CORES_PER_LINE]
        threads = max(map(len, cores))
        if start:
            text.append("\n\n" if threads > 1 else "\n")
        for thread in range(threads):
            text.append("\n" if thread else "")
            for core in cores:
                text.append_text(_cell(core[thread]) if thread < len(core) else Text("   "))
    return text


def _cell(cpu: CpuView) -> Text:
    if cpu.slot is None:
        return Text(_SIGNS[cpu.use], style="dim")
    return Text(f"{cpu.slot:^3}", style=_style(cpu.slot))


def _beside(gpus: Iterable[GpuView]) -> Text:
    lines = []
    for gpu in gpus:
        line = Text(f"GPU {gpu.name} ")
        for slot in gpu.slots:
            line.append(f" {slot} ", style=_style(slot))
        if not gpu.slots:
            line.append("unused", style="dim")
        lines.append(line)
    return Text("\n").join(lines)


def _legend(view: NodeView) -> Text | None:
    uses = {cpu.use for domain in view.domains for core in domain.cores for cpu in core}
    shown = [
        f"{sign.strip() or 'blank'}: {use.value}" for use, sign in _SIGNS.items() if use in uses
    ]
    return Text("   ".join(shown), style="dim") if shown else None


def _style(slot: int) -> str:
    return f"{ink(colour(slot))} on {colour(slot)}"
