"""The board: which member of which batch each thread of a worker is running, legible after its death.

::

    worker process ── 24 bytes for each thread, mapped into memory ──► file of this worker
                                                     its scheduler, which hears of the death, reads it

A worker that dies takes its last messages with it; a page of a file that it wrote to stays. Writing costs
less than a call of an empty function, so each call of each batch is on the board while it runs.

Who starts the workers makes the folder, names it in the environment variable `FOLDER`, and removes it.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

FOLDER = "DASKFLOW_BOARDS"
_SLOTS = 512
_SLOT_BYTES = 24
NOTHING = -1


class Board:
    """The board of one worker, in the file `path`."""

    def __init__(self, path: Path):
        with path.open("w+b") as file:
            file.truncate(_SLOTS * _SLOT_BYTES)
            self._memory = memoryview(mmap.mmap(file.fileno(), 0))
        self._free = deque(range(_SLOTS))

    @contextmanager
    def shown(self, batch: str) -> Iterator[memoryview]:
        """Show that this thread runs `batch`; see the function `shown`."""
        try:
            slot = self._free.popleft()
        except IndexError:  # so many threads: this one is not shown
            yield _unread()
            return
        at = slot * _SLOT_BYTES
        member = self._memory[at : at + 8].cast("q")
        member[0] = NOTHING
        self._memory[at + 8 : at + _SLOT_BYTES] = _digest(batch)
        try:
            yield member
        finally:
            member[0] = NOTHING
            self._memory[at + 8 : at + _SLOT_BYTES] = bytes(16)
            self._free.append(slot)


def shown(address: str, batch: str) -> AbstractContextManager[memoryview]:
    """Show on the board of the worker at `address`, in this process, that this thread runs `batch`.

    Yields where to put (at index 0) the member that runs.
    """
    with _lock:
        if address not in _boards:
            folder = os.environ.get(FOLDER)
            there = folder is not None and Path(folder).is_dir()
            _boards[address] = Board(_path(folder or "", address)) if there else None
        board = _boards[address]
    return nullcontext(_unread()) if board is None else board.shown(batch)


def _unread() -> memoryview:
    return memoryview(bytearray(8)).cast("q")


def member_at_death(batch: str, alive: Iterable[str]) -> int | None:
    """Return which member of `batch` a worker was running when it died, NOTHING if it was not.

    Its worker is not among those `alive`, and not forgotten yet. None if there is no board of such a one
    on this machine.
    """
    folder = os.environ.get(FOLDER)
    if not folder:
        return None
    names_of_living = {_digest(address).hex() for address in alive}
    boards = [path for path in Path(folder).iterdir() if path.name not in names_of_living]
    for path in boards:
        data = path.read_bytes()
        for at in range(0, len(data), _SLOT_BYTES):
            if data[at + 8 : at + _SLOT_BYTES] == _digest(batch):
                return int.from_bytes(data[at : at + 8], sys.byteorder, signed=True)
    return NOTHING if boards else None


def forget(address: str) -> None:
    """Remove the board of a worker that is gone."""
    folder = os.environ.get(FOLDER)
    if folder:
        _path(folder, address).unlink(missing_ok=True)


def _path(folder: str, address: str) -> Path:
    return Path(folder, _digest(address).hex())


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


_lock = threading.Lock()
_boards: dict[str, Board | None] = {}


def _forget_after_fork() -> None:
    global _lock  # the child must not wait for threads it does not have
    _lock = threading.Lock()
    _boards.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
