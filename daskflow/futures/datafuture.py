"""DataFuture: the future of a file that a call writes."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from daskflow.files import File
from daskflow.graph.call import Call, CallReference

if TYPE_CHECKING:
    from daskflow.futures.appfuture import AppFuture


class DataFuture(CallReference, concurrent.futures.Future[File]):
    """The File that a call promised in ``outputs``: there once the call has succeeded.

    As an argument of another app it stands for the File. Its exception is its call's.

    Attributes
    ----------
    parent
        The AppFuture of the call that writes it.
    file_obj
        The File, as it was given.
    """

    means_value = False

    def __init__(self, parent: AppFuture, file: File):
        self._linked = False
        super().__init__()
        self.parent = parent
        self.call: Call = parent.call
        self.file_obj = file

    @property
    def filepath(self) -> str:
        """The path of the file."""
        return self.file_obj.filepath

    @property
    def filename(self) -> str:
        """The last part of the path."""
        return self.file_obj.filename

    def substitute(self) -> File:
        return self.file_obj

    def result(self, timeout: float | None = None) -> File:
        """Return the File once its call has succeeded."""
        error = self.exception(timeout)
        if error is not None:
            raise error
        return self.file_obj

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return why the file was not written; None if it was."""
        return self.parent.exception(timeout)

    def done(self) -> bool:
        """Return whether the call has ended. Asking is demand."""
        return self.parent.done()

    def running(self) -> bool:
        """Return whether the call that writes the file has been handed to a scheduler."""
        return self.parent.running()

    def cancelled(self) -> bool:
        """Return whether the call that writes the file was cancelled."""
        return self.parent.cancelled()

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[File]], object]) -> None:
        """Call ``fn(self)`` once the call has ended."""
        self._link()
        super().add_done_callback(fn)

    def cancel(self) -> bool:
        """Cancel the call that writes the file."""
        return self.parent.cancel()

    @property
    def _condition(self) -> threading.Condition:
        if self._linked is False and "parent" in self.__dict__:
            self._link()
        return self.__dict__["_own_condition"]  # type: ignore[no-any-return] # set below

    @_condition.setter
    def _condition(self, condition: threading.Condition) -> None:
        self.__dict__["_own_condition"] = condition

    def _link(self) -> None:
        if not self._linked:
            self._linked = True
            self.parent.add_done_callback(self._finish)

    def _finish(self, parent: Any) -> None:
        if parent.cancelled():
            super().cancel()
            self.set_running_or_notify_cancel()
        elif (error := parent.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(self.file_obj)

    def __repr__(self) -> str:
        return f"<DataFuture {self.file_obj!r} of {self.parent!r}>"
