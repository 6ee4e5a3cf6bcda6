"""File: a name for data, by path or URL, that calls take and produce."""

from __future__ import annotations

import os
from pathlib import PurePath
from urllib.parse import unquote, urlsplit


class File:
    """Name a file by path or URL.

    Parameters
    ----------
    url
        A path (kept as written, so a relative one is relative to the worker's directory), or a
        URL such as ``file:///data/x.csv`` or ``https://example.org/x.csv``.

    Attributes
    ----------
    url, scheme, netloc, path, filename
        The parts of the URL; `scheme` is ``"file"`` for a path.
    local_path
        Where a copy of a remote file lies on this machine; None while there is none.
    """

    __slots__ = ("local_path", "netloc", "path", "scheme", "url")

    def __init__(self, url: str | os.PathLike[str]):
        given: object = url
        if not isinstance(given, str | os.PathLike) or not os.fspath(given):
            raise TypeError(f"File({url!r}): must be a path or a URL")
        self.url = os.fspath(url)
        parts = urlsplit(self.url)
        if isinstance(url, str) and parts.scheme and len(parts.scheme) > 1:
            self.scheme, self.netloc, self.path = parts.scheme, parts.netloc, unquote(parts.path)
        else:
            self.scheme, self.netloc, self.path = "file", "", self.url
        self.local_path: str | None = None

    @property
    def filename(self) -> str:
        """The last part of the path."""
        return PurePath(self.path).name

    @property
    def filepath(self) -> str:
        """The path to open on this machine.

        Raises
        ------
        ValueError
            The file is remote and no local copy has been made.
        """
        if self.local_path is not None:
            return self.local_path
        if self.scheme == "file":
            return self.path
        raise ValueError(f"{self!r} has no local copy: its scheme is {self.scheme!r}")

    def cleancopy(self) -> File:
        """Return a File of the same URL that knows no local copy."""
        return File(self.url)

    def __fspath__(self) -> str:
        return self.filepath

    def __str__(self) -> str:
        return self.filepath if self.scheme == "file" or self.local_path else self.url

    def __repr__(self) -> str:
        return f"File({self.url!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)
