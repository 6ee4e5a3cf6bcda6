"""Process groups that must not outlive this process, however it ends.

::

    this process ── pid of each group ──► a shell that only reads     (a pipe)
         ▼  killed, crashed, out of memory: the pipe ends  ──►  the shell kills the groups left

A command or an isolated call leads a process group of its own, which nobody would end if its worker
died; and the call, run again elsewhere, would run twice at a time.
"""

from __future__ import annotations

import os
import shutil
import threading

_KEEPER = """
cd /
groups=" "
while read -r order group; do
    case $order in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
    esac
done
for group in $groups; do
    kill -s KILL -- "-$group"
done
"""


def watch(group: int) -> None:
    """Let process group `group` be killed when this process ends."""
    with _lock:
        _groups.add(group)
        _tell(f"+ {group}\n")


def forget(group: int) -> None:
    """Say that `group` has ended, or may live on."""
    with _lock:
        if group in _groups:
            _groups.remove(group)
            _tell(f"- {group}\n")


def _tell(order: str) -> None:
    global _pipe  # one for each process
    if _pipe is not None:
        try:
            os.write(_pipe, order.encode())
            return
        except BrokenPipeError:  # somebody has killed the shell
            os.close(_pipe)
    _pipe = _start_keeper()
    os.write(_pipe, "".join(f"+ {group}\n" for group in _groups).encode())


def _start_keeper() -> int:
    """Start the shell, in a session of its own; return the pipe to it."""
    readable, writable = os.pipe()
    shell = shutil.which("sh") or "/bin/sh"
    os.posix_spawn(
        shell,
        [shell, "-c", _KEEPER],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, readable, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    os.close(readable)
    return writable


_lock = threading.RLock()
_groups: set[int] = set()
_pipe: int | None = None


def _leave_to_the_parent() -> None:
    """In a forked child: an open pipe of the parent's would hide its end."""
    global _lock, _pipe  # the child must not wait for threads it does not have
    _lock = threading.RLock()
    _groups.clear()
    if _pipe is not None:
        os.close(_pipe)
        _pipe = None


os.register_at_fork(after_in_child=_leave_to_the_parent)
