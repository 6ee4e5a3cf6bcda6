"""The command line, as a user runs it: each test is a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import daskflow

CONFIG = """
run_dir = "runinfo"
dashboard = false

[[executors]]
kind = "threads"
label = "few"
max_threads = 2
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daskflow", *arguments],
        cwd=folder,
        # Scratch folders that other processes left behind are not this test's business.
        env={**os.environ, "DASK_TEMPORARY_DIRECTORY": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def config(tmp_path: Path) -> str:
    write(tmp_path, "few.toml", CONFIG)
    return "few.toml"


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = run(tmp_path, "--version")
    assert (done.returncode, done.stdout) == (0, f"daskflow {daskflow.__version__}\n")


def test_a_script_is_main_and_its_own_functions_classes_and_modules_work_on_worker_processes(
    tmp_path: Path,
) -> None:
    write(tmp_path, "folder/beside.py", "def add_one(x):\n    return x + 1\n")
    write(
        tmp_path,
        "folder/script.py",
        """
import os
import sys

import beside
from daskflow import python_app

class Point:
    def __init__(self, x):
        self.x = x

def helper(x):
    return beside.add_one(x)

@python_app
def moved(point):
    return Point(helper(point.x)), os.getpid()

if __name__ == "__main__":
    point, pid = moved(Point(41)).result()
    assert type(point) is Point
    assert pid != os.getpid()
    assert __file__ == sys.argv[0]
    print(point.x, sys.argv[1:], os.path.basename(sys.path[0]))
""",
    )
    done = run(tmp_path, "run", "folder/script.py", "--verbose", "a b", "--config", "mine")
    assert done.stdout == "42 ['--verbose', 'a b', '--config', 'mine'] folder\n", done.stderr
    assert done.returncode == 0


def test_what_was_recorded_runs_when_the_script_ends_and_its_exit_code_is_kept(
    tmp_path: Path, config: str
) -> None:
    write(
        tmp_path,
        "script.py",
        """
import pathlib, sys
from daskflow import python_app

@python_app
def leave(name):
    pathlib.Path(name).touch()

leave("trace")
sys.exit(7)
""",
    )
    done = run(tmp_path, "run", "script.py", "--config", config)
    assert done.returncode == 7, done.stderr
    assert (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("leaving", "exit_code", "stderr"),
    [
        ("", 0, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(True)", 1, ""),
        ("raise SystemExit('that is all')", 1, "that is all\n"),
    ],
)
def test_every_way_to_exit_means_what_it_means_to_python(
    tmp_path: Path, config: str, leaving: str, exit_code: int, stderr: str
) -> None:
    write(tmp_path, "script.py", leaving)
    done = run(tmp_path, "run", f"--config={config}", "script.py")
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "", stderr)


def test_the_config_says_where_calls_run(tmp_path: Path, config: str) -> None:
    write(tmp_path, "script.py", "from daskflow import dfk\nprint(dfk().config.executors[0].label)")
    assert run(tmp_path, "run", "script.py", f"--config={config}").stdout == "few\n"


def test_an_exception_of_the_script_shows_the_users_traceback_alone(
    tmp_path: Path, config: str
) -> None:
    write(
        tmp_path,
        "script.py",
        """
def inner():
    raise ValueError("mine")

inner()
""",
    )
    done = run(tmp_path, "run", "script.py", "--config", config)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert 'File "script.py", line 5, in <module>' in done.stderr
    assert done.stderr.endswith("ValueError: mine\n")
    assert "cli.py" not in done.stderr


def test_the_exception_of_an_app_is_the_scripts_own_if_it_asks_for_the_result(
    tmp_path: Path, config: str
) -> None:
    write(
        tmp_path,
        "script.py",
        """
from daskflow import python_app

@python_app
def divide(a, b):
    return a / b

divide(1, 0).result()
""",
    )
    done = run(tmp_path, "run", "script.py", "--config", config)
    assert done.returncode == 1
    assert 'File "script.py", line 8, in <module>' in done.stderr
    assert "ZeroDivisionError: division by zero" in done.stderr
    assert "cli.py" not in done.stderr


def test_a_script_that_is_no_python_shows_where(tmp_path: Path) -> None:
    write(tmp_path, "script.py", "x = 1 +\n")
    done = run(tmp_path, "run", "script.py")
    assert done.returncode == 1
    assert done.stderr.startswith('  File "script.py", line 1')
    assert done.stderr.endswith("SyntaxError: invalid syntax\n")


def test_perf_runs_workloads_on_the_users_executors_and_prints_what_came_of_them(
    tmp_path: Path, config: str
) -> None:
    chosen = ["--only", "chain", "--only", "latency", "--only", "failing", "--only", "startup"]
    done = run(tmp_path, "perf", "--config", config, "--size", "0.02", *chosen, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    told = json.loads(done.stdout)
    assert set(told["versions"]) == {"daskflow", "dask", "distributed"}
    assert (told["workers"], told["slots"]) == (1, 2)
    workloads = {each.pop("name"): each for each in told["workloads"]}
    assert list(workloads) == ["chain", "latency", "failing", "startup"]
    assert {name: each["calls"] for name, each in workloads.items()} == {
        "chain": 100,
        "latency": 20,
        "failing": 1000,
        "startup": 1,
    }
    assert all(each["seconds"] > 0 for each in workloads.values())
    assert workloads["latency"]["round_trip_s"] > 0
    # A thread executor's worker is in this process.
    cpu = workloads["failing"]["cpu_us_per_call"]
    assert cpu["client"] > 0
    assert cpu["scheduler"] >= 0
    assert cpu["workers"] is None


def test_perf_prints_a_table_without_tracebacks_or_paths(tmp_path: Path, config: str) -> None:
    done = run(tmp_path, "perf", "--config", config, "--size", "0.01", "--only", "tree")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "1 worker, 2 calls at once" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.strip().startswith("tree"))
    assert row.split()[:2] == ["tree", "255"]
    assert str(tmp_path) not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["run"], 2, "Missing argument 'SCRIPT'"),
        (["run", "missing.py"], 2, "the script 'missing.py' does not exist"),
        (["run", "--bogus", "script.py"], 2, "'--bogus'"),
        (["run", "script.py", "--config"], 2, "'--config' requires an argument"),
        (["run", "--config", "no.toml", "script.py"], 2, "'no.toml' does not exist"),
        (["run", "script.py", "--config", "bad.toml"], 1, "'bad.toml' cannot be read"),
        (["run", "script.py", "--config=odd.toml"], 1, "unknown key 'colour'"),
        (["perf", "--only", "chian"], 2, "'chian': must be one of independent, arrays, chain"),
        (["perf", "--size", "0"], 2, "'--size'"),
        (["perf", "--size", "nan"], 2, "must be a number above 0"),
        (["perf", "--config", "no.toml"], 2, "'no.toml' does not exist"),
        (["perf", "--config", "odd.toml"], 1, "unknown key 'colour'"),
        (["bogus"], 2, "'bogus'"),
        (["demo", "--workers", "0"], 2, "'--workers'"),
        (["demo", "--input", "missing"], 1, "does not exist"),
        (["demo", "--input", "script.py"], 1, "is no folder"),
        (["demo", "--input", "empty"], 1, "has no Python files"),
    ],
)
def test_a_users_mistake_is_told_in_one_line(
    tmp_path: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    write(tmp_path, "script.py", "print('ran')")
    write(tmp_path, "bad.toml", "a = [")
    write(tmp_path, "odd.toml", "colour = 'red'")
    (tmp_path / "empty").mkdir()
    done = run(tmp_path, *arguments)
    assert done.returncode == exit_code
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.startswith("daskflow")
    assert done.stderr.count("\n") == 1


def test_help_is_shown_where_no_command_is_given(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert "Commands:" in done.stdout
    assert run(tmp_path, "run", "--help").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_the_script_cancels_its_calls(
    tmp_path: Path, config: str, number: signal.Signals
) -> None:
    write(
        tmp_path,
        "script.py",
        """
import time
from daskflow import python_app

@python_app
def long():
    print("started", flush=True)
    time.sleep(60)

long().result()
""",
    )
    started = subprocess.Popen(
        [sys.executable, "-m", "daskflow", "run", "--config", config, "script.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "started\n"
    started.send_signal(number)
    _out, err = started.communicate(timeout=60)
    assert started.returncode == 128 + number
    assert "daskflow:0: RuntimeWarning: daskflow: 1 call was recorded and never run" in err
    assert err.endswith(f"daskflow: ended by {number.name}\n")
