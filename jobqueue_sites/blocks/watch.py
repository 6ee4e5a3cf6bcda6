"""The watch over a cluster's blocks: submits their jobs, asks after them, hears their agents, ends them.

It does what `states`, `block` and `policy` decide; it knows the batch system and files, not Dask.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from jobqueue_sites.agent.report import Phase, Report, read_reports
from jobqueue_sites.blocks.block import Block
from jobqueue_sites.blocks.commands import run_command
from jobqueue_sites.blocks.policy import Health
from jobqueue_sites.blocks.states import BlockState
from jobqueue_sites.errors import CommandError, SubmitRefused, UnreadableAnswer
from jobqueue_sites.providers.base import BlockJob, JobStatus, Provider
from jobqueue_sites.units import walltime_s

logger = logging.getLogger("jobqueue_sites.blocks")
POLL_S = 2.0
LONGEST_POLL_S = 30.0
_SLOWER = 1.5
_NEAR_END_S = 15.0
_HOPELESS_S = 5.0
_MOST_SUBMISSIONS = 4
_TAIL_BYTES = 4096
_TAIL_LINES = 12
_OURS = "jobqueue-sites: "
_OF_LAUNCHER = re.compile(r"\s*$|srun: |slurmstepd|mpi(exec|run)\b|-{5,}|parallel: |Try ['\"]")
_TELLING = re.compile(
    r"error|no module|no such|not found|denied|cannot|fail|unrecognized|invalid|unknown",
    re.IGNORECASE,
)
_WORKER_INIT = "worker_init failed"
_PLACE_IN_SCRIPT = re.compile(r"^\S+: line \d+: ")
_HOPELESS = "the job would wait for ever ({}), so it was taken back"


class BlockWatch:
    """Keeps the `Block` values of one cluster true. Used by one event loop only.

    Parameters
    ----------
    provider
        Speaks to the batch system.
    folder
        Where scripts, logs and the agents' reports are; compute nodes must see it too.
    agent
        Gives the command of a block's agents.
    on_change
        Called with each new value of a block, and the one before.
    """

    def __init__(
        self,
        provider: Provider,
        folder: Path,
        agent: Callable[[str], tuple[str, ...]],
        on_change: Callable[[Block, Block], object],
    ):
        self._provider = provider
        self._folder = folder
        self._agent = agent
        self._on_change = on_change
        self.blocks: dict[str, Block] = {}
        self.reports: dict[str, list[Report]] = {}
        self.health = Health()
        self.query_trouble = ""
        self.room = ""
        self._submissions = asyncio.Semaphore(_MOST_SUBMISSIONS)
        self._poll_every_s = POLL_S
        self._polled_s = 0.0

    # ---- what the cluster asks for ----------------------------------------------------------

    async def submit(self, name: str, number: int) -> None:
        """Submit the job of a new block; a refusal is its end, not an exception."""
        job = self.job(name)
        path = self._folder / f"{name}.sh"
        block = Block(
            name=name,
            number=number,
            walltime_s=walltime_s(self._provider.walltime),
            script_path=str(path),
            stdout_path=job.stdout,
            stderr_path=job.stderr,
        )
        self.blocks[name] = block
        try:
            path.write_text(self._provider.script(job))
            path.chmod(0o700)
            async with self._submissions:
                block = self.blocks[name]
                if block.is_closing:
                    self._change(block.closed_unsubmitted(time.time()))
                    return
                command = self._provider.submit(str(path))
                job_id = await run_command(command, self._provider.cmd_timeout)
        except (CommandError, OSError) as error:
            is_final = isinstance(error, SubmitRefused | UnreadableAnswer)
            block = self.blocks[name].refused(str(error), time.time())
            self._change(block.told_of_fault("", is_setup_fault=is_final))
            return
        logger.info("block %s is job %s", name, job_id)
        self._change(self.blocks[name].submitted(job_id, time.time()))
        self.look_soon()
        if self.blocks[name].is_closing:  # meanwhile
            await self.cancel([name])

    def job(self, name: str) -> BlockJob:
        """Return what the job of a block is to do."""
        base = self._folder / name
        return BlockJob(
            name=name, agent=self._agent(name), stdout=f"{base}.out", stderr=f"{base}.err"
        )

    def want_closed(self, names: Iterable[str]) -> list[Block]:
        """Note that blocks are to end; return those that have not yet."""
        wanted = [block for name in names if not (block := self.blocks[name]).is_over]
        for block in wanted:
            self._change(block.wanted_closed())
        return wanted

    async def cancel(self, names: Iterable[str]) -> None:
        """End the jobs of blocks. What cannot be cancelled is named in the log."""
        wanted = self.want_closed(names)
        job_ids = [block.job_id for block in wanted if block.job_id is not None]
        if not job_ids:
            return
        for last in (False, True):
            try:
                command = self._provider.cancel(job_ids)
                await run_command(command, self._provider.cmd_timeout)
            except CommandError as error:
                if last:
                    logger.error("jobs %s may still run: %s", ", ".join(job_ids), error)
            else:
                for block in wanted:
                    self._change(self.blocks[block.name].ending())
                break
        self.look_soon()

    def look_soon(self) -> None:
        """Something has changed: ask the batch system at short intervals again."""
        self._poll_every_s = POLL_S

    def count(self, workers: Mapping[str, int]) -> None:
        """Take note of how many workers of each block are connected."""
        for name, block in list(self.blocks.items()):
            counted = block.with_workers(workers.get(name, 0), time.time())
            if counted is block or block.is_over:
                continue
            if counted.workers < block.workers:
                self.look_soon()
                self._polled_s = 0.0
            elif counted.workers:
                self.health = Health()
            self._change(counted)

    # ---- what the batch system and the agents say -------------------------------------------

    async def look(self) -> None:
        """Hear the agents, and ask the batch system if it is time to."""
        self._read_reports()
        now_s = time.monotonic()
        if now_s - self._polled_s < self._poll_every_s or not self._open():
            return
        self._polled_s = now_s
        before = dict(self.blocks)
        await self._poll()
        self._poll_every_s = self._next_interval_s(is_quiet=before == self.blocks)
        await self._give_up_hopeless()

    def _open(self) -> list[Block]:
        return [b for b in self.blocks.values() if not b.is_over and b.job_id is not None]

    async def _poll(self) -> None:
        open_blocks = {b.job_id: b.name for b in self._open() if b.job_id is not None}
        try:
            command = self._provider.query(list(open_blocks))
            listed = await run_command(command, self._provider.cmd_timeout)
        except CommandError as error:
            # A failed query says nothing of any job.
            if not self.query_trouble:
                logger.warning("the batch system cannot be asked: %s", error)
            self.query_trouble = str(error)
            return
        self.query_trouble = ""
        self._read_reports()  # before the ends that they explain
        for job_id, name in open_blocks.items():
            status = listed.get(job_id) or await self._find(job_id)
            if self.blocks[name].is_over:
                continue
            if status is None:
                self._change(self.blocks[name].was_lost_sight_of(time.time()))
            else:
                self._change(self._with_evidence(self.blocks[name].seen(status, time.time())))
        await self._ask_for_room()

    async def _find(self, job_id: str) -> JobStatus | None:
        for command in self._provider.find(job_id):
            try:
                status = await run_command(command, self._provider.cmd_timeout)
            except CommandError as error:
                logger.debug("looking for job %s: %s", job_id, error)
                continue
            if status is not None:
                return status
        return None

    async def _ask_for_room(self) -> None:
        command = self._provider.room()
        is_waiting = any(block.state is BlockState.QUEUED for block in self._open())
        if command is None or not is_waiting:
            self.room = ""
            return
        try:
            self.room = await run_command(command, self._provider.cmd_timeout)
        except CommandError as error:
            logger.debug("asking for room: %s", error)

    async def _give_up_hopeless(self) -> None:
        """Take back jobs that wait for what will never come: a refusal that came late."""
        now_s = time.time()
        for block in self._open():
            since_s = block.hopeless_since_s
            if since_s is None or now_s - since_s < _HOPELESS_S or block.is_closing:
                continue
            await self.cancel([block.name])
            refused = self.blocks[block.name].refused(_HOPELESS.format(block.reason), now_s)
            self._change(refused.told_of_fault("", is_setup_fault=True))

    def _next_interval_s(self, *, is_quiet: bool) -> float:
        """Return the pause before the next query: short while a block is about to start or end."""
        now_s = time.time()
        for block in self._open():
            near_end = block.ends_s is not None and block.ends_s - now_s < _NEAR_END_S
            is_moving = block.state in (BlockState.STARTING, BlockState.ENDING)
            if near_end or is_moving or block.is_closing or block.hopeless_since_s is not None:
                return POLL_S
        if not is_quiet:
            return POLL_S
        return min(self._poll_every_s * _SLOWER, LONGEST_POLL_S)

    def _read_reports(self) -> None:
        for block in self._open():
            if block.state is BlockState.UP and len(self.reports.get(block.name, ())) == self.nodes:
                continue
            try:
                self.reports[block.name] = read_reports(self._folder, block.name, self.nodes)
            except (OSError, ValueError) as error:
                logger.debug("reports of %s: %s", block.name, error)
                continue
            failed = [r for r in self.reports[block.name] if r.phase is Phase.FAILED]
            if failed and block.fault != failed[0].message:
                is_setup_fault = any(report.is_setup_fault for report in failed)
                self._change(block.told_of_fault(failed[0].message, is_setup_fault=is_setup_fault))

    @property
    def nodes(self) -> int:
        """How many nodes a block has."""
        return self._provider.nodes_per_block

    def _with_evidence(self, block: Block) -> Block:
        """Add to a block that has just failed what its log says, unless its agents have spoken."""
        is_telling = block.state in (BlockState.FAILED, BlockState.OUT_OF_MEMORY)
        if not block.is_over or block.fault or block.is_closing:
            return block
        if block.was_up and not is_telling:  # the batch system, or a person, ended it
            return block
        tail = self.tail(block)
        return block.told_of_fault(last_words(tail), is_setup_fault=False) if tail else block

    def tail(self, block: Block) -> str:
        """Return the last lines of a block's logs, the job's errors before its output."""
        for path in (block.stderr_path, block.stdout_path):
            try:
                with Path(path).open("rb") as file:
                    file.seek(0, 2)
                    file.seek(max(0, file.tell() - _TAIL_BYTES))
                    lines = file.read().decode(errors="replace").strip().splitlines()
            except OSError:
                continue
            if lines:
                return "\n".join(lines[-_TAIL_LINES:])
        return ""

    # ---- inside -----------------------------------------------------------------------------

    def _change(self, block: Block) -> None:
        before = self.blocks[block.name]
        if block == before:
            return
        self.blocks[block.name] = block
        if block.state is not before.state:
            why = f" ({block.reason})" if block.reason else ""
            logger.info("block %s: %s -> %s%s", block.name, before.state, block.state, why)
        self._on_change(before, block)


def last_words(tail: str) -> str:
    """Return the line of a log's end that says most: ours, or else an error's, or else the last.

    What launchers say of a program that ended badly says nothing of why.
    """
    lines = tail.splitlines()
    own = [line for line in lines if not _OF_LAUNCHER.match(line)] or lines
    telling = [line for line in own if _TELLING.search(line) and _OURS not in line]
    for line in reversed(lines):
        if _OURS in line:
            ours = line[line.index(_OURS) + len(_OURS) :]
            is_init = ours.startswith(_WORKER_INIT) and telling
            return f"{ours}: {_PLACE_IN_SCRIPT.sub('', telling[-1].strip())}" if is_init else ours
    return (telling or own or [""])[-1].strip()
