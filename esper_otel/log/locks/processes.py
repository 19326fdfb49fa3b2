"""Other processes of this machine: start times and liveness."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def process_start(pid: int) -> int:
    """Start of ``pid`` in clock ticks since boot, to tell it from a later process of that number; 0 if unknown."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def is_alive(pid: int, start: int) -> bool:
    """Return True if the process ``pid`` that started at ``start`` is still running; a zombie is not."""
    with suppress(OSError):  # in a container whose first process we are, orphans become our children
        os.waitpid(pid, os.WNOHANG)
    fields = _stat(pid)
    if fields:
        return fields[0] not in {"Z", "X"} and int(fields[19]) == start
    if start:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def variables_at_start() -> frozenset[str] | None:
    """Names of the environment variables that this process was started with; None where that is not known."""
    try:
        given = Path("/proc/self/environ").read_bytes()
    except OSError:
        return None
    return frozenset(os.fsdecode(entry.partition(b"=")[0]) for entry in given.split(b"\0") if entry)


def _stat(pid: int) -> list[str]:
    """Fields of ``/proc/PID/stat`` from the state on; empty without such a process or without ``/proc``."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()
