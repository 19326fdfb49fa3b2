"""The ranks that one relay follows where a run has a relay on each of its nodes.

The nodes share the run's directory, so that each relay sees the logs of all. It follows those that were written on its
own node: every log has one relay, every event is counted and sent once.
"""

from __future__ import annotations

import socket
from pathlib import Path

from esper_otel.log import manifest
from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import note_in


class NodeRanks:
    """The ranks of this node."""

    def __init__(self, directory: Path) -> None:
        """``directory``: the run."""
        self._directory = directory

    def __call__(self, rank: int) -> bool:
        """Return True if the relay of this node follows ``rank``: its writer's lock names the node.

        A rank of which nobody knows where it runs is followed where rank 0 runs.
        """
        host = note_in(Series(self._directory, rank).lock_path).host or self._host_of_rank_0()
        return host == socket.gethostname()

    def _host_of_rank_0(self) -> object:
        try:
            return manifest.read(self._directory).get("host")
        except (OSError, ValueError):
            return None


def all_ranks(_: int) -> bool:
    """Every rank: one relay follows the whole run."""
    return True
