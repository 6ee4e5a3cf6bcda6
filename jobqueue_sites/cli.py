"""The command line: `jobqueue-sites pin · script`.

What a user got wrong is told in one line: exit code 2 for a wrong command line, 1 for the rest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from jobqueue_sites.errors import JobqueueSitesError, SettingsError
from jobqueue_sites.pinning.layout import AUTO, NodeLayout
from jobqueue_sites.pinning.plan import NodePlan, plan_node
from jobqueue_sites.pinning.topology import Topology


@click.group()
def cli() -> None:
    """Workers on batch systems: blocks of nodes, and each worker on its own cores and GPU."""


class _Accelerators(click.ParamType[int | str | list[str]]):
    """A number, "auto", or a list of names as in Python and TOML."""

    name = "accelerators"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str | list[str]:
        text = str(value)
        if text == AUTO:
            return text
        if text.isdigit():
            return int(text)
        try:
            names = json.loads(text)
        except ValueError:
            names = None
        if not isinstance(names, list):
            self.fail(
                f"{text!r} is no number, not 'auto', and no list such as '[\"0,1\", \"2,3\"]'"
            )
        return names


@cli.command()
@click.option("--site", metavar="NAME", help="A site that is described, such as polaris.")
@click.option("--node-type", metavar="TYPE", help="Which of the site's node types.")
@click.option("--probe", is_flag=True, help="This node, as far as this process may use it.")
@click.option(
    "--topology",
    "topology_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A node that --save has recorded.",
)
@click.option(
    "--available-accelerators",
    type=_Accelerators(),
    default=AUTO,
    show_default=True,
    metavar="N|auto|LIST",
    help='How many, all, or their names: \'["0,1", "2,3"]\'. One worker for each.',
)
@click.option("--workers-per-accelerator", type=int, default=1, show_default=True, metavar="N")
@click.option(
    "--cpu-affinity",
    default=AUTO,
    show_default=True,
    metavar="HOW",
    help="none, block, block-reverse, alternating, list:0-7:8-15, or auto.",
)
@click.option("--cores-per-worker", type=float, metavar="N", help="Least number of cores.")
@click.option("--mem-per-worker", type=float, metavar="GB", help="Memory of each worker.")
@click.option("--max-workers-per-node", type=int, metavar="N")
@click.option(
    "--threads-per-worker",
    type=int,
    default=1,
    show_default=True,
    metavar="N",
    help="How many calls a worker runs at once.",
)
@click.option("--reserved-cpus", metavar="CPUS", help="CPUs that no worker gets, such as 0,52.")
@click.option("--svg", type=click.Path(path_type=Path), metavar="FILE", help="Write a picture too.")
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the node's topology too, for --topology.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON, and nothing else.")
def pin(
    *,
    site: str | None,
    node_type: str | None,
    probe: bool,
    topology_file: Path | None,
    svg: Path | None,
    save: Path | None,
    as_json: bool,
    **layout: object,
) -> None:
    """Show which cores and accelerators each worker of a node gets.

    The node is one of a site, this one, or one that was recorded. The other options have the names
    of the settings that they try out.
    """
    if sum((site is not None, probe, topology_file is not None)) != 1:
        raise click.UsageError("give one of --site, --probe and --topology")
    if node_type is not None and site is None:
        raise click.UsageError("--node-type goes with --site")
    asked = NodeLayout(**layout)  # type: ignore[arg-type] # the options are its fields
    topology, name = _topology(site, node_type, topology_file)
    if save is not None:
        _write(save, topology.to_json())
    plan = plan_node(topology, asked)
    if as_json:
        click.echo(plan.to_json())
    else:
        _show(topology, asked, plan, name)
    if svg is not None:
        from jobqueue_sites.pinning.svg import node_svg
        from jobqueue_sites.pinning.view import view_node

        _write(svg, node_svg(view_node(topology, asked, plan), plan, _title(name, asked, plan)))


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
def script(file: Path) -> None:
    """Print the job script that FILE would have submitted, to the letter.

    FILE is TOML with a table [provider], whose "kind" names the batch system, and tables [layout] and
    [cluster] if you like; or a configuration of daskflow, with a provider for each of its executors.
    """
    from jobqueue_sites.reading import clusters_from
    from jobqueue_sites.script import job_script

    found = clusters_from(file)
    for name, provider, settings in found:
        if len(found) > 1:
            click.echo(f"# ---- {name}")
        click.echo(job_script(provider, settings), nl=False)


def _topology(
    site: str | None, node_type: str | None, topology_file: Path | None
) -> tuple[Topology, str]:
    """Return the node that is to be divided, and what it is called."""
    if site is not None:
        from jobqueue_sites.catalog import load_site, node_topology

        described = load_site(site)
        kind, node = described.node(node_type)
        guess = f" (inferred: {', '.join(node.inferred)})" if node.inferred else ""
        return node_topology(described, kind), f"{site}, {kind}{guess}"
    if topology_file is not None:
        try:
            text = topology_file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise click.ClickException(f"{topology_file}: {error}") from error
        try:
            topology = Topology.from_json(text)
        except SettingsError as error:
            raise SettingsError(f"{topology_file}: {error}") from error
        return topology, topology.hostname or topology_file.name
    from jobqueue_sites.agent.probe import probe_node

    topology = probe_node()
    return topology, topology.hostname


def _show(topology: Topology, layout: NodeLayout, plan: NodePlan, name: str) -> None:
    from rich.console import Console
    from rich.text import Text

    from jobqueue_sites.pinning.terminal import node_picture, plan_table
    from jobqueue_sites.pinning.view import view_node

    console = Console(highlight=False)
    console.print(Text(_title(name, layout, plan), style="bold"))
    console.print()
    console.print(node_picture(view_node(topology, layout, plan)))
    console.print()
    console.print(plan_table(plan))
    for note in plan.notes:
        console.print()
        console.print(Text.assemble(("note: ", "bold"), note))


def _title(name: str, layout: NodeLayout, plan: NodePlan) -> str:
    count = len(plan.workers)
    return f"{name}: {count} worker{'s' if count > 1 else ''}, cpu_affinity {layout.cpu_affinity}"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(arguments, prog_name="jobqueue-sites", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "jobqueue-sites"
        return _complain(f"{command}: {error.format_message()} (see: {command} --help)", 2)
    except click.ClickException as error:
        return _complain(f"jobqueue-sites: {error.format_message()}", error.exit_code)
    except JobqueueSitesError as error:
        return _complain(f"jobqueue-sites: {type(error).__name__}: {error}", 1)
    except (click.Abort, KeyboardInterrupt):
        return _complain("jobqueue-sites: interrupted", 130)
    return result if isinstance(result, int) else 0


def _complain(message: str, exit_code: int) -> int:
    click.echo(message, err=True)
    return exit_code
