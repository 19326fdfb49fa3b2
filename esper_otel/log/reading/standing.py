"""State of a run for readers other than the relay: from the writer's lock first, then from stored state."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import is_free, note_in

RUNNING: Final = "running"
STOPPED: Final = "died, or was stopped without an end event"
STALLED_S: Final = 300.0
"""A running process that emits nothing but heartbeats for so long is stalled."""

UNASKED: Final = "running, by run.json; its lock cannot be asked here"

SILENCE_S: Final = 15.0
"""Three heartbeats at the usual interval: a trainer that goes on writing is never taken for dead for a lock alone."""


def proving_silence_s(content: Mapping[str, Any], otherwise_s: float) -> float:
    """Silence that no living trainer of this manifest keeps; ``otherwise_s`` where it writes no heartbeats."""
    heartbeat_s = content.get("heartbeat_s")
    if not isinstance(heartbeat_s, int | float):  # of an earlier version
        return SILENCE_S
    return max(SILENCE_S, 3 * heartbeat_s if heartbeat_s > 0 else otherwise_s)


def is_held(directory: Path | None) -> bool:
    """Return True if a living process owns the run, whatever its log and ``run.json`` say of an earlier end."""
    return directory is not None and is_free(Series(directory, 0).lock_path) is False


def _is_gone(directory: Path, rank: int, content: Mapping[str, Any]) -> bool:
    """Return True if the process of a rank is certainly gone; a lock that nobody here can ask proves nothing.

    Some network file systems show a lock as free that a process of another machine holds: silence has to prove it.
    """
    series = Series(directory, rank)
    if is_free(series.lock_path) is not True:
        return False
    return note_in(series.lock_path).is_here is not False or _is_silent(series, content)


def _is_silent(series: Series, content: Mapping[str, Any]) -> bool:
    try:
        quiet_s = time.time() - series.active.stat().st_mtime
    except OSError:
        return True
    return quiet_s > proving_silence_s(content, STALLED_S)


def end_beside(directory: Path, ranks: Iterable[int], content: Mapping[str, Any]) -> str | None:
    """The worst end of ranks whose processes are gone, as each noted it in its lock; one that noted none died.

    A full disk refuses the line that says how a run ended, but not the note. None where a process may live.
    """
    ends = []
    for rank in ranks:
        if not _is_gone(directory, rank, content):
            return None
        noted = note_in(Series(directory, rank).lock_path).outcome or RUN_OUTCOMES[-1]
        ends.append(noted if noted in RUN_OUTCOMES else "failed")
    return max(ends, key=RUN_OUTCOMES.index, default=None)


def standing(directory: Path | None, content: Mapping[str, Any]) -> str | None:
    """State of a run whose log has no end; None if it is unknown.

    Args:
        directory: the run; None for a lone file.
        content: its manifest.
    """
    free = is_free(Series(directory, 0).lock_path) if directory is not None else True
    if free is False:
        return RUNNING
    stored = content.get("status")
    if stored != RUNNING:
        return str(stored) if stored is not None else None
    if directory is None:
        return STOPPED
    ended = end_beside(directory, [0], content)
    return STOPPED if ended == RUN_OUTCOMES[-1] else ended or UNASKED
