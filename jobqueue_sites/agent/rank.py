"""Which node of its block an agent is on, from what the launcher has set. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jobqueue_sites.errors import SettingsError

RANK = "JOBQUEUE_SITES_RANK"
_SLURM_NODES = ("SLURM_STEP_NUM_NODES", "SLURM_JOB_NUM_NODES", "SLURM_NNODES")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """A variable that counts agents, and variables that say how many there are."""

    rank: str
    nodes: tuple[str, ...] = ()
    first: int = 0


# Inner before outer: mpiexec starts its daemons with srun or through PBS, so what those set is the
# daemon's, and the same on several nodes, while the agent's own stands beside it.
_INNER = (
    _Source(rank="OMPI_COMM_WORLD_RANK", nodes=("OMPI_COMM_WORLD_SIZE",)),
    _Source(rank="PALS_RANKID", nodes=("PMI_SIZE",)),
    _Source(rank="PMI_RANK", nodes=("PMI_SIZE",)),
    _Source(rank="MV2_COMM_WORLD_RANK", nodes=("MV2_COMM_WORLD_SIZE",)),
    _Source(rank="JSM_NAMESPACE_RANK", nodes=("JSM_NAMESPACE_SIZE",)),
    _Source(rank="PMIX_RANK"),
    _Source(rank="ALPS_APP_PE"),
)
_PARALLEL = _Source(rank="PARALLEL_SEQ", first=1)
_OUTER = (
    _Source(rank="SLURM_PROCID", nodes=_SLURM_NODES),
    _Source(rank="SLURM_NODEID", nodes=_SLURM_NODES),
    _Source(rank="PBS_NODENUM", nodes=("PBS_NUM_NODES",)),
)


def find_rank(environ: Mapping[str, str]) -> tuple[int, int | None]:
    """Return the agent's number in its block, from 0, and how many nodes that has if it is known.

    ``JOBQUEUE_SITES_RANK`` wins; then what is nearest to the agent: MPI launchers, GNU parallel,
    the batch system. Where nothing is set there is one node.

    Raises
    ------
    SettingsError
        ``JOBQUEUE_SITES_RANK`` is no number.
    """
    if RANK in environ:
        rank = _number(environ, RANK)
        if rank is None:
            raise SettingsError(f"{RANK}={environ[RANK]!r}: must be a number, 0 or more")
        return rank, None
    for source in _sources(environ):
        rank = _number(environ, source.rank)
        if rank is not None and rank >= source.first:
            sizes = (_number(environ, name) for name in source.nodes)
            nodes = next((size for size in sizes if size is not None), None)
            return rank - source.first, nodes
    return 0, None


def _sources(environ: Mapping[str, str]) -> Iterable[_Source]:
    # GNU parallel starts each agent alone, perhaps by an srun of one task, whose number is always 0.
    # An srun of several tasks below it counts them itself.
    tasks = _number(environ, "SLURM_STEP_NUM_TASKS") or 1
    return (*_INNER, *_OUTER, _PARALLEL) if tasks > 1 else (*_INNER, _PARALLEL, *_OUTER)


def _number(environ: Mapping[str, str], name: str) -> int | None:
    value = environ.get(name, "").strip()
    return int(value) if value.isascii() and value.isdigit() else None
