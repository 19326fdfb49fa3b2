"""The processes that write a run, by its own record: the lock that each rank holds, and the note in the lock's file.

A process id alone proves nothing: it may be another process's by now, another machine's or another container's. What is
believed is a lock that is held now, with a note of this machine and container, of a process that started when it says.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from esper_otel.log.layout import Series, ranks_with_lock
from esper_otel.log.locks.lock import is_free, note_in
from esper_otel.log.locks.processes import process_start


class Owner(msgspec.Struct, frozen=True):
    """The living process of a rank.

    Attributes:
        rank: the rank.
        pid: its process id here; None where it cannot be named here.
        start: its start in clock ticks since boot; 0 if unknown.
        host: machine or container on which it runs, as far as it is known.
        problem: why it has no process id, for people; empty where it has one.
    """

    rank: int
    pid: int | None = None
    start: int = 0
    host: str = ""
    problem: str = ""

    @property
    def is_still_it(self) -> bool:
        """Return True if the process id still is that of the rank's process."""
        return self.pid is not None and self.start > 0 and process_start(self.pid) == self.start


def owners_of(directory: Path) -> list[Owner]:
    """The living ranks of the run in ``directory``, by rank; one whose process is gone is left out."""
    return [owner for rank in ranks_with_lock(directory) if (owner := owner_of(directory, rank)) is not None]


def owner_of(directory: Path, rank: int) -> Owner | None:
    """The living process of ``rank``; None if it is known to be gone."""
    path = Series(directory, rank).lock_path
    note = note_in(path)
    host = note.host or ""
    if note.is_here is False:
        return Owner(rank, host=host, problem=f"it runs on {host or 'another machine'}: ask there")
    free = is_free(path)
    if free:
        return None
    if free is None:
        return Owner(rank, host=host, problem="nobody but its owner can ask its lock here")
    if note.pid is None:
        return Owner(rank, host=host, problem=f"it runs in another container ({host or 'unknown'}): ask there")
    if process_start(note.pid) != (note.start or -1):
        return Owner(rank, host=host, problem=f"process {note.pid} is not the one that the run names")
    return Owner(rank, note.pid, note.start, host)
