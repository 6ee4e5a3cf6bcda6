"""What can go wrong with sites, blocks and workers.

::

    JobqueueSitesError
    ├── SettingsError          settings that cannot work (also a ValueError)
    ├── PinningError           no plan of workers fits the node
    ├── CommandError           a command of the batch system failed; keeps the evidence
    │   ├── CommandTimeout     it gave no answer in time
    │   ├── SubmitRefused      the batch system does not take the job
    │   └── UnreadableAnswer   it answered what cannot be understood
    └── BlocksFailed           blocks do not come up: what happened, and what to do
"""

from __future__ import annotations

from collections.abc import Sequence


class JobqueueSitesError(Exception):
    """Whatever this package raises."""


class SettingsError(JobqueueSitesError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class PinningError(JobqueueSitesError):
    """The workers that were asked for do not fit the node."""


class CommandError(JobqueueSitesError):
    """A command of the batch system failed.

    Attributes
    ----------
    argv
        The command.
    exit_code
        Its exit code; None if it did not end.
    stdout, stderr
        What it said.
    """

    def __init__(
        self,
        message: str,
        *,
        argv: Sequence[str] = (),
        exit_code: int | None = None,
        stdout: str = "",
        stderr: str = "",
    ):
        super().__init__(message)
        self.argv = tuple(argv)
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr


class CommandTimeout(CommandError):
    """A command of the batch system gave no answer in time."""


class SubmitRefused(CommandError):
    """The batch system does not take a job."""


class UnreadableAnswer(CommandError):
    """A command of the batch system answered what cannot be understood."""


class BlocksFailed(JobqueueSitesError):
    """Blocks do not come up, time after time; the message says what happened and what to do."""
