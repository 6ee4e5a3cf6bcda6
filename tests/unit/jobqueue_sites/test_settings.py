"""Settings of single providers that cannot work: errors name the setting, its value and what may be."""

from __future__ import annotations

from typing import Any

import dask
import pytest

from jobqueue_sites import (
    GridEngineProvider,
    HTCondorProvider,
    LocalProvider,
    LSFProvider,
    OARProvider,
    PBSProvider,
    Provider,
    SettingsError,
    SlurmProvider,
    SrunLauncher,
    SshLauncher,
    TorqueProvider,
)
from jobqueue_sites.address import listening_host


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (SlurmProvider, {"gpus_per_node": 0}, "gpus_per_node=0: must be a whole number, at least 1"),
        (SlurmProvider, {"exclusive": "yes"}, "exclusive='yes': must be True or False"),
        (SlurmProvider, {"partition": "main\n#SBATCH --uid=0"}, "must be a text of one line"),
        (SlurmProvider, {"scheduler_options": ["-S 8"]}, "scheduler_options=['-S 8']: must be a text"),
        (SlurmProvider, {"scheduler_options": "#PBS -l x"}, "this batch system reads #SBATCH"),
        (SlurmProvider, {"scheduler_options": "module load x"}, "shell commands belong in worker_init"),
        (SlurmProvider, {"scheduler_options": "#SBATCH --nodes=4"}, "--nodes is set by nodes_per_block"),
        (SlurmProvider, {"scheduler_options": "-q a -N4"}, "-N is set by nodes_per_block"),
        (SlurmProvider, {"scheduler_options": "--time 10"}, "--time is set by walltime"),
        (SlurmProvider, {"scheduler_options": "--array=1-4"}, "is no job array"),
        (SlurmProvider, {"scheduler_options": "-o '/x"}, "No closing quotation"),
        (PBSProvider, {"select_options": "ncpus=4", "cpus_per_node": 8}, "ncpus is set by cpus_per_node"),
        (PBSProvider, {"select_options": "mem=4gb", "mem_per_node": 8}, "mem is set by mem_per_node"),
        (PBSProvider, {"select_options": "ngpus=4+1:ncpus=1"}, "all nodes of a block are alike"),
        (PBSProvider, {"select_options": "select=2:ngpus=4"}, "all nodes of a block are alike"),
        (PBSProvider, {"select_options": "ngpus=4 -l x"}, "must be resources of a chunk"),
        (PBSProvider, {"select_options": None}, "select_options=None: must be a text"),
        (PBSProvider, {"scheduler_options": "-l walltime=1:0:0"}, "-l walltime is set by walltime"),
        (PBSProvider, {"scheduler_options": "-l a=1,select=2"}, "-l select is set by nodes_per_block"),
        (PBSProvider, {"scheduler_options": "-J 1-4"}, "is no job array"),
        (TorqueProvider, {"scheduler_options": "-l nodes=4"}, "-l nodes is set by nodes_per_block"),
        (TorqueProvider, {"cpus_per_node": 0}, "cpus_per_node=0: must be a whole number"),
        (LSFProvider, {"cores_per_node": 4}, "whole nodes are asked for"),
        (LSFProvider, {"scheduler_options": "-W 10"}, "-W is set by walltime"),
        (GridEngineProvider, {"cores_per_node": 4}, "4 slots need a parallel_environment"),
        (GridEngineProvider, {"mem_per_node": 4}, "such as '-l h_vmem=4G'"),
        (OARProvider, {"mem_per_node": 4}, "OAR has no option for memory"),
        (OARProvider, {"scheduler_options": "-l /nodes=2"}, "-l is set by nodes_per_block"),
        (HTCondorProvider, {"nodes_per_block": 2, "launcher": SshLauncher()}, "has one node"),
        (HTCondorProvider, {"scheduler_options": "nice_user"}, "must be 'name = value'"),
        (HTCondorProvider, {"scheduler_options": "Executable = /x"}, "is made from other settings"),
        (LocalProvider, {"kill_after": 0}, "kill_after=0: must be a number above 0"),
    ],
)  # fmt: skip
def test_a_setting_that_cannot_work_is_refused(
    kind: type[Provider], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        kind(**settings)
    assert words in str(caught.value)


def test_options_that_begin_like_a_setting_are_not_it() -> None:
    text = "--nodelist=n1\n--time-min=10\n#SBATCH --ntasks-per-core=1\n-C nvme"
    assert SlurmProvider(scheduler_options=text).scheduler_options == text
    text = "-l walltimes=1\n-l filesystems=home:eagle"
    assert PBSProvider(scheduler_options=text).scheduler_options == text


def test_a_provider_of_parsls_name_is_the_same() -> None:
    import jobqueue_sites

    assert jobqueue_sites.PBSProProvider is PBSProvider
    assert jobqueue_sites.CondorProvider is HTCondorProvider


def test_blocks_may_begin_below_what_is_kept() -> None:
    provider = SlurmProvider(init_blocks=0, min_blocks=1, max_blocks=2, launcher=SrunLauncher())
    assert (provider.init_blocks, provider.min_blocks) == (0, 1)


@pytest.mark.parametrize("host", ["192.0.2.77", "no-such-host.invalid", "tcp://127.0.0.1"])
def test_a_host_that_is_not_this_machine_is_refused(host: str) -> None:
    with pytest.raises(SettingsError) as caught:
        listening_host(host, None, encrypted=True)
    assert f"host={host!r}: is no address of this machine (" in str(caught.value)
    with (
        dask.config.set({"jobqueue-sites.host": host}),
        pytest.raises(SettingsError, match=r"jobqueue-sites\.host="),
    ):
        listening_host(None, None, encrypted=True)


def test_a_host_of_this_machine_is_listened_on() -> None:
    assert listening_host("localhost", None, encrypted=True) == "localhost"
