"""Which node of its block an agent is on, for each launcher as it sets its variables."""

from __future__ import annotations

import pytest

from jobqueue_sites.agent.rank import find_rank
from jobqueue_sites.errors import SettingsError

SBATCH = {
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "0",
    "SLURM_PROCID": "0",
}
SRUN = {
    **SBATCH,
    "SLURM_NODEID": "1",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NUM_TASKS": "2",
}
# The daemon of an mpiexec is started by an srun of one task on each other node: each is task 0.
DAEMON = {**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"}


@pytest.mark.parametrize(
    ("environ", "rank"),
    [
        ({}, (0, None)),
        (SBATCH, (0, 2)),
        (SRUN, (1, 2)),
        ({"SLURM_NODEID": "3", "SLURM_NNODES": "4"}, (3, 4)),
        ({**SRUN, "PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2)),  # srun --mpi=pmi2
        (
            {
                **DAEMON,
                "PMIX_RANK": "1",
                "OMPI_COMM_WORLD_RANK": "1",
                "OMPI_COMM_WORLD_SIZE": "2",
            },
            (1, 2),
        ),
        ({**DAEMON, "PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2)),  # MPICH's hydra
        ({**DAEMON, "PMIX_RANK": "1"}, (1, None)),  # prun of PRRTE alone
        # hydra below an srun that speaks PMIx to the daemons: the inner one wins
        ({**DAEMON, "PMIX_RANK": "0", "PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2)),
        ({"PALS_RANKID": "5", "PMI_RANK": "5", "PMI_SIZE": "8", "PBS_NODENUM": "0"}, (5, 8)),
        ({"PALS_RANKID": "5", "PBS_NODENUM": "0"}, (5, None)),
        ({"MV2_COMM_WORLD_RANK": "2", "MV2_COMM_WORLD_SIZE": "3"}, (2, 3)),
        (
            {"JSM_NAMESPACE_RANK": "2", "JSM_NAMESPACE_SIZE": "4", "PMIX_RANK": "2"},
            (2, 4),
        ),
        ({"ALPS_APP_PE": "7", "PBS_NODENUM": "0"}, (7, None)),
        ({"PBS_NODENUM": "2", "PBS_NUM_NODES": "4"}, (2, 4)),
        ({"PARALLEL_SEQ": "1"}, (0, None)),
        ({**SBATCH, "PARALLEL_SEQ": "3"}, (2, None)),
        ({**DAEMON, "PARALLEL_SEQ": "2"}, (1, None)),  # each agent by an srun of its own
        ({**SRUN, "PARALLEL_SEQ": "9"}, (1, 2)),  # the user's own parallel, outside
    ],
)
def test_the_rank_is_the_innermost_launchers(
    environ: dict[str, str], rank: tuple[int, int | None]
) -> None:
    assert find_rank(environ) == rank


def test_what_the_ssh_launcher_sets_wins() -> None:
    ours = {"JOBQUEUE_SITES_RANK": "3"}
    assert find_rank({**SRUN, "PMI_RANK": "1", "OMPI_COMM_WORLD_RANK": "2", **ours}) == (3, None)


@pytest.mark.parametrize("value", ["", "none", "-1", "1.0", "²"])
def test_a_variable_that_is_no_number_is_passed_over(value: str) -> None:
    assert find_rank({"PMI_RANK": value, **SRUN}) == (1, 2)


def test_a_wrong_rank_of_ours_is_told() -> None:
    with pytest.raises(SettingsError, match="JOBQUEUE_SITES_RANK='first'"):
        find_rank({"JOBQUEUE_SITES_RANK": "first"})
