"""Pauses of the relay's loop, which a scrape cuts short: it shows what was written before it."""

from __future__ import annotations

import threading
from typing import Final

IDLE_S: Final = 0.05
"""Pause when the log has nothing new: half of the time from emit to scrape, at no measurable cost."""

FRESH_S: Final = 0.2
"""How long a scrape waits for the lines that are on disk."""


class Pacing:
    """A loop that steps and pauses, and threads that wait for its next step."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._wake = threading.Event()
        self._stepped = threading.Condition()
        self._asked = self._answered = 0

    def wake(self) -> None:
        """End a pause of the loop."""
        self._wake.set()

    def wait_for_step(self) -> None:
        """Return when the loop has made a whole step from now on, at the latest after ``FRESH_S``."""
        with self._stepped:
            self._asked += 1
            mine = self._asked
            self._wake.set()
            self._stepped.wait_for(lambda: self._answered >= mine, FRESH_S)

    def begin_step(self) -> int:
        """Return what :meth:`end_step` takes."""
        return self._asked

    def end_step(self, begun: int) -> None:
        """Let those go on who asked before the step began."""
        if begun != self._answered:
            with self._stepped:
                self._answered = begun
                self._stepped.notify_all()

    def pause(self, stop: threading.Event) -> None:
        """Wait for ``IDLE_S``, unless somebody waits for a step or ``stop`` is set."""
        if self._asked == self._answered:
            self._wake.clear()
            if not stop.is_set():
                self._wake.wait(IDLE_S)
