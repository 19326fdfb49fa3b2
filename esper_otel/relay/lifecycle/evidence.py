"""Evidence of whether the process that writes a rank's log is alive: its lock, its process, its open file."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path

from esper_otel.log import manifest
from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import known_holder, note_in
from esper_otel.log.locks.processes import process_start
from esper_otel.log.reading.standing import SILENCE_S


class Writer(Enum):
    """A rank's writer: HELD, its lock is held; FREE, nobody holds it; UNKNOWN, the evidence does not decide."""

    HELD = "held"
    FREE = "free"
    UNKNOWN = "unknown"


def writer_of(directory: Path, rank: int, *, silent_s: float, proving_s: float = SILENCE_S) -> Writer:
    """Determine whether the writer of ``rank`` is alive.

    Args:
        directory: the run.
        rank: the rank.
        silent_s: time since the last line of the rank.
        proving_s: time before which a lock that is missing, or another machine's, proves nothing.
    """
    series = Series(directory, rank)
    try:
        if known_holder(series.lock_path) is not None:
            return Writer.HELD
        # A lock that is held on another machine looks free on many network file systems.
        is_gone = note_in(series.lock_path).is_here is not False or silent_s > proving_s
    except FileNotFoundError:  # not locked yet, or a cleaner removed the file
        is_gone = silent_s > proving_s and not is_process_alive(directory, rank) and not is_open_here(series.active)
    except OSError:  # a file system without locks, or another user's file: the manifest names the process of rank 0
        is_gone = silent_s > proving_s and is_process_alive(directory, rank) is False
    return Writer.FREE if is_gone else Writer.UNKNOWN


def is_process_alive(directory: Path, rank: int) -> bool | None:
    """Return True if the process that the manifest names is alive; None if it names none of this machine's."""
    if rank != 0:
        return None
    try:
        written = manifest.read(directory)
    except (OSError, ValueError):
        return None
    if written.get("host") != socket.gethostname() or not isinstance(written.get("pid"), int):
        return None
    return process_start(written["pid"]) == written.get("pid_start")


def is_open_here(path: Path) -> bool:
    """Return True if a process of this user on this machine has ``path`` open for writing."""
    try:
        wanted = path.stat()
    except OSError:
        return False
    return any(_is_writing(link, (wanted.st_dev, wanted.st_ino)) for link in _open_files())


def _open_files() -> Iterator[Path]:
    """Links to the files that processes have open; a process may end while they are listed, which ``glob`` raises."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                yield from list((process / "fd").iterdir())


def _is_writing(link: Path, wanted: tuple[int, int]) -> bool:
    try:
        status = link.stat()
        if (status.st_dev, status.st_ino) != wanted:
            return False
        flags = (link.parents[1] / "fdinfo" / link.name).read_text(encoding="ascii").split("flags:", 1)[1].split()[0]
    except (OSError, IndexError, ValueError):  # closed a moment ago, or another user's
        return False
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
