"""Times of the heartbeats of a log."""

from __future__ import annotations

import time

from esper_otel.log.writing.idle import LONGEST_S


class Beats:
    """Heartbeats every few seconds, by a clock that may be set back when a machine is restored.

    Attributes:
        uptime_s: time from the start to the latest one.
    """

    def __init__(self, every_s: float, *, at_once: bool) -> None:
        """Start the clock.

        Args:
            every_s: seconds between two; 0 for none.
            at_once: whether the first one is due immediately.
        """
        self._every_s = every_s
        self._started_s = time.monotonic()
        self._latest_s = self._started_s - (every_s if at_once else 0.0)
        self.uptime_s = 0.0

    def next_s(self) -> float:
        """Time until the next one is due, s."""
        return self._latest_s + self._every_s - time.monotonic() if self._every_s else LONGEST_S

    def take(self) -> bool:
        """Return True if one is due now; the next is due after the usual time."""
        now = time.monotonic()
        if not self._every_s or 0 <= now - self._latest_s < self._every_s:
            return False
        self._latest_s = now
        self.uptime_s = now - self._started_s
        return True
