"""The command line of jobqueue_sites, as a user runs it: each test is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from jobqueue_sites.pinning.plan import NodePlan
from jobqueue_sites.pinning.topology import Topology, format_cpus


def run(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobqueue_sites", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "120", "XDG_CONFIG_HOME": str(folder), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_plan_of_a_known_site_is_drawn(tmp_path: Path) -> None:
    done = run(tmp_path, "pin", "--site", "polaris")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == "polaris, gpu: 4 workers, cpu_affinity auto"
    (worker_0,) = [line for line in rest if line.endswith("CUDA_VISIBLE_DEVICES=0")]
    assert worker_0.split()[:3] == ["0", "0", "24-31,56-63"]
    assert sum(line.startswith("NUMA ") for line in rest) == 4


def test_the_plan_is_given_as_json_too(tmp_path: Path) -> None:
    done = run(tmp_path, "pin", "--site", "frontier", "--json", "--workers-per-accelerator", "2")
    plan = NodePlan.from_json(done.stdout)
    assert [worker.accelerators[0] for worker in plan.workers[:4]] == ["0", "0", "1", "1"]
    assert [format_cpus(worker.cpus) for worker in plan.workers[:2]] == ["49-52", "53-55"]


def test_every_setting_of_a_layout_can_be_tried_out(tmp_path: Path) -> None:
    settings = {
        "--available-accelerators": '["0,1", "2", "3"]',
        "--workers-per-accelerator": "2",
        "--cpu-affinity": "block",
        "--cores-per-worker": "8",
        "--mem-per-worker": "100",
        "--max-workers-per-node": "4",
        "--threads-per-worker": "3",
        "--reserved-cpus": "0,32",
    }
    options = [text for pair in settings.items() for text in pair]
    done = run(tmp_path, "pin", "--site", "polaris", "--json", *options)
    plan = NodePlan.from_json(done.stdout)
    assert [worker.accelerators for worker in plan.workers] == [
        ("0", "1"),
        ("0", "1"),
        ("2",),
        ("3",),
    ]
    assert plan.workers[0].threads == 3
    assert plan.workers[0].memory_bytes == 100 * 2**30
    assert format_cpus(plan.workers[0].cpus) == "1-15"


def test_this_node_is_probed_recorded_and_drawn_from_its_record(tmp_path: Path) -> None:
    probed = run(
        tmp_path, "pin", "--probe", "--json", "--save", "node.json", CUDA_VISIBLE_DEVICES="2,3"
    )
    assert probed.returncode == 0, probed.stderr
    topology = Topology.from_json((tmp_path / "node.json").read_text())
    assert topology.allowed == frozenset(os.sched_getaffinity(0))
    assert [gpu.name for gpu in topology.gpus] == ["2", "3"]
    recorded = run(tmp_path, "pin", "--topology", "node.json", "--json")
    assert json.loads(recorded.stdout) == json.loads(probed.stdout)


def test_a_picture_is_written(tmp_path: Path) -> None:
    done = run(tmp_path, "pin", "--site", "aurora", "--svg", "aurora.svg")
    assert done.returncode == 0, done.stderr
    root = ET.parse(tmp_path / "aurora.svg").getroot()
    assert root.tag.endswith("svg")


def test_a_node_type_of_the_users_own_site_is_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "jobqueue-sites"
    folder.mkdir()
    (folder / "mine.toml").write_text(
        "[nodes.small]\nsockets = 1\ncores = 4\n[nodes.big]\nsockets = 2\ncores = 8\n"
    )
    done = run(tmp_path, "pin", "--site", "mine", "--node-type", "big")
    assert done.stdout.startswith("mine, big: 8 workers")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        ([], 2, "give one of --site, --probe and --topology"),
        (["--site", "polaris", "--probe"], 2, "give one of"),
        (["--probe", "--node-type", "gpu"], 2, "--node-type goes with --site"),
        (["--site", "polaris", "--available-accelerators", "all"], 2, "'all' is no number"),
        (["--site", "nowhere"], 1, "'nowhere' is not described"),
        (["--site", "delta"], 1, "name one: cpu, gpuA100x4"),
        (["--site", "polaris", "--available-accelerators", "5"], 1, "the job has 4 accelerators"),
        (["--site", "polaris", "--cpu-affinity", "blocks"], 1, "cpu_affinity='blocks'"),
        (["--topology", "missing.json"], 1, "missing.json"),
        (["--topology", "bad.json"], 1, "bad.json: topology: this is no JSON"),
        (["--site", "polaris", "--svg", "missing/a.svg"], 1, "missing/a.svg: No such file"),
    ],
)
def test_a_users_mistake_is_told_in_one_line(
    tmp_path: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    (tmp_path / "bad.json").write_text("{")
    done = run(tmp_path, "pin", "--json", *arguments)
    assert done.returncode == exit_code
    assert message in done.stderr
    assert done.stderr.startswith("jobqueue-sites")
    assert done.stderr.count("\n") == 1


def test_help_is_shown_where_no_command_is_given(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert "Commands:" in done.stdout


@pytest.mark.parametrize(
    "module", ["cli", "pinning.plan", "pinning.svg", "agent.probe", "agent.rank", "catalog"]
)
def test_what_an_agent_needs_first_is_light(module: str) -> None:
    program = f"import sys, jobqueue_sites.{module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()
    assert not {"dask", "distributed", "dask_jobqueue", "rich", "numpy"} & set(loaded)
