"""The watch over a cluster's blocks: submits their jobs, asks after them, hears their agents, ends them.

::

    submit ──► sbatch …  ─┐
    cancel ──► scancel …  ├─► _change ──► on_change(before, block)
    look   ──► squeue …   │
    count  ──► workers   ─┘

It does what `states` and `block` decide; it knows the batch system and files, not Dask. Commands may take
as long as `cmd_timeout`: they run in tasks of their own, and nobody waits for them but `stop`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from jobqueue_sites.agent.settings import disown
from jobqueue_sites.blocks.block import Block
from jobqueue_sites.blocks.commands import run_command
from jobqueue_sites.blocks.guard import Guard
from jobqueue_sites.blocks.policy import POLL_S, next_poll_s
from jobqueue_sites.blocks.reports import Reports
from jobqueue_sites.blocks.states import BlockState
from jobqueue_sites.errors import (
    CommandError,
    JobqueueSitesError,
    SettingsError,
    SubmitRefused,
    UnreadableAnswer,
)
from jobqueue_sites.providers.base import BlockJob, JobState, JobStatus, Provider
from jobqueue_sites.units import walltime_s

logger = logging.getLogger("jobqueue_sites.blocks")
_HOPELESS_S = 5.0
_MOST_SUBMISSIONS = 4
_MOST_ENDED = 1000
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
_DISOWNED = "{}; should its job be there all the same, it will end as soon as it starts"


class BlockWatch:
    """Keeps the `Block` values of one cluster true. Used by one event loop only.

    Parameters
    ----------
    provider
        Speaks to the batch system.
    folder
        Where scripts, logs and the agents' reports are; compute nodes must see it too.
    job
        Gives what the job of a block is to do, by the block's name.
    on_change
        Called with each new value of a block, and the one before.
    """

    def __init__(
        self,
        provider: Provider,
        folder: Path,
        job: Callable[[str], BlockJob],
        on_change: Callable[[Block, Block], object],
    ):
        self._provider = provider
        self._folder = folder
        self._job = job
        self._on_change = on_change
        self.blocks: dict[str, Block] = {}
        """All blocks, oldest first; of those that have ended, the last thousand."""
        self.query_trouble = ""
        self._cancel_trouble = ""
        self.room = ""
        self.workers_per_node: int | None = None
        """As the agents have found."""
        self._open: dict[str, None] = {}
        self._ended: deque[str] = deque()
        self._guard = Guard()
        self._reports = Reports(folder, provider.nodes_per_block)
        self._uncancelled: set[str] = set()
        self._submissions: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_MOST_SUBMISSIONS)
        self._polling: asyncio.Task[None] | None = None
        self._poll_every_s = POLL_S
        self._polled_s = 0.0

    @property
    def open_blocks(self) -> list[Block]:
        """The blocks that have not ended, oldest first."""
        return [self.blocks[name] for name in list(self._open)]

    # ---- what the cluster asks for ----------------------------------------------------------

    def submit(self, name: str, number: int) -> None:
        """Have the job of a new block submitted; a refusal is its end, not an exception."""
        job = self._job(name)
        self.blocks[name] = Block(
            name=name,
            number=number,
            walltime_s=walltime_s(self._provider.walltime),
            script_path=str(self._folder / f"{name}.sh"),
            stdout_path=job.stdout,
            stderr_path=job.stderr,
        )
        self._open[name] = None
        submission = asyncio.create_task(self._submit(job))
        self._submissions.add(submission)
        submission.add_done_callback(self._submissions.discard)

    def want_closed(self, names: Iterable[str]) -> list[Block]:
        """Note that blocks are to end; return those that have not yet."""
        wanted = [name for name in names if name in self._open]
        for name in wanted:
            self._change(self.blocks[name].wanted_closed())
        return [self.blocks[name] for name in wanted]

    async def cancel(self, names: Iterable[str], *, tries: int = 1) -> None:
        """End the jobs of blocks. Those that cannot be cancelled now will be later, while it looks."""
        due = [
            block
            for block in self.want_closed(names)
            if block.job_id is not None and block.state is not BlockState.ENDING
        ]
        if due and await self._are_cancelled([str(block.job_id) for block in due], tries):
            for block in due:
                self._uncancelled.discard(block.name)
                self._change(self.blocks[block.name].ending())
        else:
            self._uncancelled.update(block.name for block in due)
        self.look_soon()

    async def stop(self) -> None:
        """End all blocks, and look no longer. What cannot be cancelled is named in the log."""
        if self._polling is not None:
            self._polling.cancel()
        # Not awaited themselves: whoever is tired of waiting must not lose the id of a job.
        cancelling = asyncio.create_task(self.cancel(list(self._open), tries=2))
        await asyncio.wait({cancelling, *self._submissions})
        await asyncio.to_thread(self._guard.let_go)

    def look_soon(self) -> None:
        """Something has changed: ask the batch system at short intervals again."""
        self._poll_every_s = POLL_S

    def count(self, workers: Mapping[str, int]) -> None:
        """Take note of how many workers of each block are connected."""
        for block in self.open_blocks:
            counted = block.with_workers(workers.get(block.name, 0), time.time())
            if counted.workers < block.workers:
                self.look_soon()
            self._change(counted)

    def look(self) -> None:
        """Begin to ask the batch system and to hear the agents, if it is time to."""
        is_polling = self._polling is not None and not self._polling.done()
        is_due = time.monotonic() - self._polled_s >= self._poll_every_s
        if is_due and not is_polling and self._with_job():
            self._polling = asyncio.create_task(self._poll())

    # ---- submitting and cancelling ----------------------------------------------------------

    async def _submit(self, job: BlockJob) -> None:
        name = job.name
        try:
            async with self._turns:
                if self.blocks[name].is_closing:
                    self._change(self.blocks[name].closed_unsubmitted(time.time()))
                    return
                path = Path(self.blocks[name].script_path)
                await asyncio.to_thread(_write_script, path, self._provider.script(job))
                # Now: once there is a job, telling the guard of it may take no time.
                await asyncio.to_thread(self._guard.start)
                command = self._provider.submit(str(path))
                job_id = await run_command(command, self._provider.cmd_timeout)
        except (JobqueueSitesError, OSError, ValueError) as error:
            self._refuse(name, error)
            return
        logger.info("block %s is job %s", name, job_id)
        self._change(self.blocks[name].submitted(job_id, time.time()))
        self.look_soon()
        if self.blocks[name].is_closing:  # meanwhile
            await self.cancel([name], tries=2)

    def _refuse(self, name: str, error: Exception) -> None:
        why = str(error)
        if isinstance(error, CommandError) and not isinstance(error, SubmitRefused):
            disown(self._folder, name)
            why = _DISOWNED.format(why)
        is_final = isinstance(error, SubmitRefused | SettingsError | UnreadableAnswer)
        refused = self.blocks[name].refused(why, time.time())
        self._change(refused.told_of_fault("", is_setup_fault=is_final))

    async def _are_cancelled(self, job_ids: list[str], tries: int) -> bool:
        for _ in range(tries):
            try:
                command = self._provider.cancel(job_ids)
                await run_command(command, self._provider.cmd_timeout)
            except CommandError as error:
                trouble = str(error)
            else:
                self._cancel_trouble = ""
                return True
        if trouble != self._cancel_trouble:
            logger.error("jobs %s may still run: %s", ", ".join(job_ids), trouble)
        self._cancel_trouble = trouble
        return False

    # ---- what the batch system and the agents say -------------------------------------------

    async def _poll(self) -> None:
        before = self._states()
        try:
            await self._look()
        except Exception:
            logger.exception("looking after the blocks failed, and goes on")
        is_quiet = self._states() == before
        self._poll_every_s = next_poll_s(
            self._with_job(), time.time(), self._poll_every_s, is_quiet=is_quiet
        )
        self._polled_s = time.monotonic()

    async def _look(self) -> None:
        await self.cancel(self._uncancelled.intersection(self._open))
        asked = self._with_job()
        listed = await self._query([str(block.job_id) for block in asked]) if asked else None
        # Before the ends that it explains.
        await self._hear([block.name for block in asked if _may_run(block, listed)])
        if listed is not None:
            await self._take_note(asked, listed)
            await self._ask_for_room()
            await self._give_up_hopeless()

    async def _query(self, job_ids: list[str]) -> Mapping[str, JobStatus] | None:
        """Return what the batch system lists; None if it cannot be asked, which says nothing of jobs."""
        try:
            command = self._provider.query(job_ids)
            listed = await run_command(command, self._provider.cmd_timeout)
        except CommandError as error:
            if not self.query_trouble:
                logger.warning("the batch system cannot be asked: %s", error)
            self.query_trouble = str(error)
            return None
        self.query_trouble = ""
        return listed

    async def _hear(self, names: Iterable[str]) -> None:
        """Take note of what the agents of blocks have written."""
        try:
            reports = await asyncio.to_thread(self._reports.new, names)
        except OSError as error:
            logger.warning("the agents' reports cannot be read: %s", error)
            return
        for report in reports:
            if report.workers:
                self.workers_per_node = report.workers
            block = self.blocks[report.block]
            if report.message and not block.is_over:
                told = block.fault or report.message  # the first one's, of many nodes
                self._change(block.told_of_fault(told, is_setup_fault=report.is_setup_fault))

    async def _take_note(self, blocks: Iterable[Block], listed: Mapping[str, JobStatus]) -> None:
        for block in blocks:
            job_id = str(block.job_id)
            status = listed.get(job_id) or await self._find(job_id)
            now = self.blocks[block.name]
            if now.is_over:
                continue
            if status is None:
                self._change(now.was_lost_sight_of(time.time()))
            else:
                self._change(self._with_evidence(now.seen(status, time.time())))

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
        is_waiting = any(block.state is BlockState.QUEUED for block in self.open_blocks)
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
        for block in self._with_job():
            since_s = block.hopeless_since_s
            if since_s is None or now_s - since_s < _HOPELESS_S or block.is_closing:
                continue
            assert block.job_id is not None
            if not await self._are_cancelled([block.job_id], tries=1):
                continue  # and is asked again
            now = self.blocks[block.name]
            if not now.is_over and not now.workers:
                refused = now.refused(_HOPELESS.format(block.reason), now_s)
                self._change(refused.told_of_fault("", is_setup_fault=True))

    def _with_evidence(self, block: Block) -> Block:
        """Add to a block that has just failed what its log says, unless its agents have spoken."""
        is_telling = block.state in (BlockState.FAILED, BlockState.OUT_OF_MEMORY)
        if not block.is_over or block.fault or block.is_closing:
            return block
        if block.was_up and not is_telling:  # the batch system, or a person, ended it
            return block
        tail = self.tail(block)
        if tail:
            return block.told_of_fault(last_words(tail), is_setup_fault=False)
        if is_telling and not Path(block.stdout_path).exists():
            why = f"it has written nothing into {self._folder}: do its nodes see that folder?"
            return block.told_of_fault(why, is_setup_fault=False)
        return block

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

    def _guard_jobs(self, changed: Block) -> None:
        """Tell the guard which jobs there are to cancel, with a block as it is about to be."""
        blocks = {**{block.name: block for block in self.open_blocks}, changed.name: changed}
        ids = [
            str(block.job_id)
            for block in blocks.values()
            if block.job_id is not None
            and not block.is_over
            and block.state is not BlockState.ENDING
        ]
        self._guard.hold(self._provider.cancel(ids).argv if ids else ())

    def _with_job(self) -> list[Block]:
        return [block for block in self.open_blocks if block.job_id is not None]

    def _states(self) -> dict[str, tuple[BlockState, str]]:
        return {block.name: (block.state, block.reason) for block in self.open_blocks}

    def _change(self, block: Block) -> None:
        before = self.blocks[block.name]
        if block == before:
            return
        # First: whoever sees the id of a job may rely on its being cancelled.
        if block.job_id is not None and (block.job_id, block.state) != (
            before.job_id,
            before.state,
        ):
            self._guard_jobs(block)
        self.blocks[block.name] = block
        if block.is_over and not before.is_over:
            del self._open[block.name]
            self._uncancelled.discard(block.name)
            self._ended.append(block.name)
            if len(self._ended) > _MOST_ENDED:
                del self.blocks[self._ended.popleft()]
        if block.state is not before.state:
            why = f" ({block.reason})" if block.reason else ""
            logger.info("block %s: %s -> %s%s", block.name, before.state, block.state, why)
        self._on_change(before, block)


def _may_run(block: Block, listed: Mapping[str, JobStatus] | None) -> bool:
    """Whether the agents of a block may have written something, as far as is known."""
    if listed is None:
        return block.state not in (BlockState.QUEUED, BlockState.HELD)
    status = listed.get(str(block.job_id))
    return status is None or status.state not in (JobState.PENDING, JobState.HELD)


def _write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o700)


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
