"""The command line: `daskflow demo`, `daskflow run` and `daskflow perf`.

What a user got wrong is told in one line: exit code 2 for a wrong command line, 1 for the rest.
"""

from __future__ import annotations

import builtins
import math
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import click

from daskflow import __version__
from daskflow.errors import DaskflowError


@click.group()
@click.version_option(__version__, message="daskflow %(version)s")
def cli() -> None:
    """Plain Python functions and shell commands as lazy Dask graphs."""


@cli.command()
@click.option(
    "--input",
    "source",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of Python files to read; by default, Python's own standard library.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("daskflow-demo"),
    show_default=True,
    metavar="FOLDER",
    help="Where the results go.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="How many worker processes; by default, one for each core.",
)
def demo(source: Path | None, output: Path, workers: int | None) -> None:
    """Read many Python files in parallel, and draw a page about them."""
    from rich.console import Console

    from daskflow.demo.terminal import run_demo, standard_library

    try:
        run_demo(source or standard_library(), output, workers, Console(highlight=False))
    except OSError as error:
        raise click.ClickException(str(error)) from error


@cli.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file that says where calls run; by default, in processes on this machine.",
)
@click.argument("script", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(config: Path | None, script: Path, arguments: tuple[str, ...]) -> int:
    """Run a Python script with a kernel loaded, and wait for all calls that it recorded.

    --config may also stand right behind SCRIPT. What follows is the script's own.
    """
    if config is None:
        config, arguments = _config_among(arguments)
    for path, what in ((script, "script"), (config, "config file")):
        if path is not None and not path.is_file():
            raise click.UsageError(f"the {what} {str(path)!r} does not exist")
    return run_script(script, arguments, config)


@cli.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file that says where calls run; by default, in processes on this machine.",
)
@click.option(
    "--only",
    "names",
    multiple=True,
    metavar="NAME",
    help="A workload to run; may be given several times. By default, all of them.",
)
@click.option(
    "--size",
    "factor",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    metavar="FACTOR",
    help="How many times as many calls as by default, which takes about a minute.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def perf(config: Path | None, names: tuple[str, ...], factor: float, as_json: bool) -> None:
    """Run standard workloads, and say how fast they are and where the time goes."""
    from rich.console import Console

    from daskflow.perf.terminal import NAMES, run_perf

    if config is not None and not config.is_file():
        raise click.UsageError(f"the config file {str(config)!r} does not exist")
    for name in names:
        if name not in NAMES:
            raise click.UsageError(f"--only {name!r}: must be one of {', '.join(NAMES)}")
    if not math.isfinite(factor):
        raise click.UsageError(f"--size {factor}: must be a number above 0")
    run_perf(config, names, factor, Console(highlight=False), as_json=as_json)


def _config_among(arguments: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """Split a --config that stands first off the arguments behind the script."""
    match arguments:
        case ("--config", file, *rest):
            return Path(file), tuple(rest)
        case ("--config",):
            raise click.UsageError("option '--config' requires an argument")
        case (first, *rest) if first.startswith("--config="):
            return Path(first.removeprefix("--config=")), tuple(rest)
    return None, arguments


def run_script(script: Path, arguments: Sequence[str], config: Path | None) -> int:
    """Run `script` as ``__main__`` under a kernel, wait for its calls and return its exit code.

    An exception that it does not catch is shown with its own traceback; then calls that have not
    ended are cancelled. Interpreter-wide state (``sys.argv``, ``sys.path``, ``__main__``) is the
    script's from here on. SIGTERM and SIGHUP end it as Ctrl-C does, so that no job is left behind.
    """
    _catch_ends()
    from daskflow import load  # slow to import

    module = ModuleType("__main__")
    module.__dict__.update(__file__=str(script), __builtins__=builtins)
    sys.argv[:] = [str(script), *arguments]
    folder = str(script.resolve().parent)
    if sys.flags.safe_path:
        sys.path.insert(0, folder)
    else:
        sys.path[0] = folder
    sys.modules["__main__"] = module
    try:
        code = compile(script.read_bytes(), str(script), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return _show_failure()
    with load(config) as kernel:
        try:
            exec(code, module.__dict__)  # to run it is what we are here for
        except SystemExit as leaving:
            exit_code = _exit_code(leaving)
        except Exception:  # noqa: BLE001 # whatever it is, it is the script's own
            kernel.close()
            return _show_failure()
        else:
            exit_code = 0
    return exit_code


class _Ended(KeyboardInterrupt):
    """A signal that ends the script, so that it can cancel its calls and jobs first."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def _catch_ends() -> None:
    def end(number: int, _frame: object) -> NoReturn:
        raise _Ended(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # else somebody, such as nohup, has said
            signal.signal(number, end)


def _show_failure() -> int:
    """Show the exception in flight as Python does, without the frame of `run_script`."""
    kind, error, trace = sys.exc_info()
    assert kind is not None
    assert error is not None
    trace = trace.tb_next if trace is not None else None
    sys.excepthook(kind, error.with_traceback(trace), trace)
    return 1


def _exit_code(leaving: SystemExit) -> int:
    """Return the exit code that Python would end with."""
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code
    click.echo(str(leaving.code), err=True)
    return 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        result = cli.main(arguments, prog_name="daskflow", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "daskflow"
        return _complain(f"{command}: {error.format_message()} (see: {command} --help)", 2)
    except click.ClickException as error:
        return _complain(f"daskflow: {error.format_message()}", error.exit_code)
    except DaskflowError as error:
        return _complain(f"daskflow: {type(error).__name__}: {error}", 1)
    except (click.Abort, KeyboardInterrupt) as error:
        end = error.__cause__ if isinstance(error, click.Abort) else error
        if isinstance(end, _Ended):
            return _complain(
                f"daskflow: ended by {signal.Signals(end.number).name}", 128 + end.number
            )
        return _complain("daskflow: interrupted", 130)
    return result if isinstance(result, int) else 0


def _complain(message: str, exit_code: int) -> int:
    click.echo(message, err=True)
    return exit_code
