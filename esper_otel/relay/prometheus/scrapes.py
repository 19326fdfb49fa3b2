"""Scrapes by address, and since when nobody has missed a value."""

from __future__ import annotations

import threading
from typing import Final

RECENT_S: Final = 60.0
"""Time for which somebody who scraped is expected to do it again: an interval is 15 s by default, rarely above 60 s."""

MOST_SCRAPERS: Final = 64
"""Addresses that are remembered; each costs some bytes, and anybody may ask."""


class Scrapes:
    """The last complete scrape of each address. Thread-safe."""

    def __init__(self) -> None:
        """Start without a scrape."""
        self._lock = threading.Lock()
        self._begun_at: dict[str, float] = {}

    def note(self, address: str, begun_at: float) -> None:
        """Note a scrape from ``address`` whose values were collected after ``begun_at``, monotonic, and sent."""
        with self._lock:
            self._begun_at.pop(address, None)  # what stands last is the newest
            self._begun_at[address] = begun_at
            if len(self._begun_at) > MOST_SCRAPERS:
                del self._begun_at[next(iter(self._begun_at))]

    def is_complete_since(self, moment: float) -> bool:
        """Return True if somebody has scraped since ``moment``, as has everybody who did shortly before."""
        with self._lock:
            last = [begun_at for begun_at in self._begun_at.values() if begun_at > moment - RECENT_S]
        return bool(last) and min(last) >= moment
