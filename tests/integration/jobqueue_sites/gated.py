"""A batch system whose commands wait, or fail, as long as a test wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jobqueue_sites import LocalProvider
from jobqueue_sites.providers import Command, JobStatus

T = TypeVar("T")
_GATED = """\
echo >>"$0.called"
[ ! -e "$0.fails" ] || { echo "no controller" >&2; exit 1; }
while [ -e "$0.waits" ]; do sleep 0.05; done
"$@"; code=$?
while [ -e "$0.tarries" ]; do sleep 0.05; done
exit $code
"""


@dataclass(frozen=True, kw_only=True)
class GatedProvider(LocalProvider):
    """A LocalProvider whose commands heed the files ``COMMAND.waits``, ``.tarries`` and ``.fails``.

    A command that waits has not done its work, one that tarries has.
    """

    gates: Path

    def submit(self, script_path: str) -> Command[str]:
        return self._gated("submit", super().submit(script_path))

    def query(self, job_ids: Sequence[str]) -> Command[Mapping[str, JobStatus]]:
        return self._gated("query", super().query(job_ids))

    def cancel(self, job_ids: Sequence[str]) -> Command[None]:
        return self._gated("cancel", super().cancel(job_ids))

    def let(self, command: str, what: str) -> Path:
        """Let a command wait, tarry or fail, until the file that is returned is removed."""
        path = self.gates / f"{command}.{what}"
        path.touch()
        return path

    def calls(self, command: str) -> int:
        """Return how often a command was given."""
        path = self.gates / f"{command}.called"
        return path.stat().st_size if path.exists() else 0

    def _gated(self, name: str, command: Command[T]) -> Command[T]:
        return Command(("bash", "-c", _GATED, str(self.gates / name), *command.argv), command.read)
