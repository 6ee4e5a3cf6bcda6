"""What the agents have written since the last time. Reads files: not for an event loop."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from jobqueue_sites.agent.report import Report, report_path

logger = logging.getLogger("jobqueue_sites.blocks")
_Stamp = tuple[int, int, int]


class Reports:
    """Reads the reports of a cluster's agents, each when it is new.

    A block may have a thousand nodes, and a report tens of kilobytes.
    """

    def __init__(self, folder: Path, nodes: int):
        self._folder = folder
        self._nodes = nodes
        self._read: dict[str, dict[int, _Stamp]] = {}

    def new(self, blocks: Iterable[str]) -> list[Report]:
        """Return the reports of these blocks that are new; others are forgotten."""
        # Whoever opens a folder of a network file system sees what is new in it; else a file that was
        # looked for in vain may stay missing for half a minute.
        os.close(os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY))
        self._read = {block: self._read.get(block, {}) for block in blocks}
        return [
            report
            for block, stamps in self._read.items()
            for node in range(self._nodes)
            if (report := self._new_of_node(block, node, stamps)) is not None
        ]

    def _new_of_node(self, block: str, node: int, stamps: dict[int, _Stamp]) -> Report | None:
        path = report_path(self._folder, block, node)
        try:
            found = path.stat()
            stamp = found.st_ino, found.st_mtime_ns, found.st_size
            if stamps.get(node) == stamp:
                return None
            report = Report.read(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # the next time, perhaps
            logger.debug("report of node %d of %s: %s", node, block, error)
            return None
        stamps[node] = stamp
        return report
