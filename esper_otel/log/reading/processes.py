"""Boundary between one process of a rank and the next in its log, by their heartbeats."""

from __future__ import annotations

from typing import Final

FIRST_BEAT_S: Final = 1.0
"""Uptime below which a heartbeat may be the one that a process writes at once when it continues a log."""


def is_of_next_process(uptime_s: float, before_s: float, quiet_s: float) -> bool:
    """Return True if a heartbeat is the first of another process than that of the lines before it.

    Args:
        uptime_s: what it says.
        before_s: what the one before it said; negative without one.
        quiet_s: time from the line before it; negative without one. A process that was killed before its first
            heartbeat left lines alone: the next one began after the last of them.
    """
    return uptime_s < before_s or (uptime_s < FIRST_BEAT_S and quiet_s > uptime_s)
