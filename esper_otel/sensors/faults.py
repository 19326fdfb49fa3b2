"""Handling of sensors that cannot measure: one line on the console, a count, and never an exception."""

from __future__ import annotations

import threading
from typing import Final

from esper_otel.events import SensorFault
from esper_otel.text.terminal import write_line_within

SAY_S: Final = 0.05
"""Longest wait of training for a message to be printed: standard error may be a pipe that nobody reads."""

DETAIL_LENGTH: Final = 300
"""Maximum length of a cause: CUDA's error texts fill a page."""


class Faults:
    """Counts failures of sensors by sensor and reason; each pair is reported once. Thread-safe."""

    def __init__(self) -> None:
        """Start without faults."""
        self.counts: dict[tuple[str, str], int] = {}
        self._pending: dict[tuple[str, str], tuple[int, str]] = {}
        self._lock = threading.Lock()

    def note(self, sensor: str, reason: str, detail: str) -> None:
        """Count one fault. ``detail`` describes it; its first line is printed the first time."""
        first_line = detail.strip().splitlines()[0][:DETAIL_LENGTH] if detail.strip() else reason
        key = (sensor, reason)
        with self._lock:
            is_new = key not in self.counts
            self.counts[key] = self.counts.get(key, 0) + 1
            count, first = self._pending.get(key, (0, first_line))
            self._pending[key] = (count + 1, first)
        if is_new:
            write_line_within(f"esper_otel: sensor {sensor} unavailable ({reason}): {first_line}", SAY_S)

    def drain(self) -> list[SensorFault]:
        """The faults since the last call, as events."""
        with self._lock:
            pending, self._pending = self._pending, {}
        return [
            SensorFault(sensor=sensor, reason=reason, count=count, detail=detail)
            for (sensor, reason), (count, detail) in pending.items()
        ]
