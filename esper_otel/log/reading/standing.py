"""State of a run for readers other than the relay: from the writer's lock first, then from stored state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import is_free

RUNNING: Final = "running"
STOPPED: Final = "died, or was stopped without an end event"
STALLED_S: Final = 300.0
"""A running process that emits nothing but heartbeats for so long is stalled."""

UNASKED: Final = "running, by run.json; only its owner can ask its lock"


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
    if stored == RUNNING:
        return STOPPED if free else UNASKED
    return str(stored) if stored is not None else None
