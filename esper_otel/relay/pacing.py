"""Pauses of the relay's loop, which a scrape cuts short: it shows what was written before it."""

from __future__ import annotations

import threading
from typing import Final

IDLE_S: Final = 0.05
"""Pause when the log has nothing new: half of the time from emit to scrape, at no measurable cost."""

FRESH_S: Final = 0.2
"""How long a scrape waits for the lines that are on disk."""


class Flag:
    """A :class:`threading.Event` that a signal handler may set while its own thread waits for it or clears it.

    The lock of an event is not reentrant: such a handler would wait for itself for ever.
    """

    def __init__(self) -> None:
        """Not set."""
        self._changed = threading.Condition(threading.RLock())
        self._is_set = False

    def is_set(self) -> bool:
        """True once it was set."""
        return self._is_set

    def set(self) -> None:
        """Set it and let those go on who wait."""
        with self._changed:
            self._is_set = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Take it back."""
        with self._changed:
            self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, for at most ``timeout`` s; returns whether it is."""
        with self._changed:
            if not self._is_set:
                self._changed.wait(timeout)
            return self._is_set


class Pacing:
    """A loop that steps and pauses, and threads that wait for its next step."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._wake = Flag()
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

    def pause(self, stop: Flag) -> None:
        """Wait for ``IDLE_S``, unless somebody waits for a step or ``stop`` is set."""
        if self._asked == self._answered:
            self._wake.clear()
            if not stop.is_set():
                self._wake.wait(IDLE_S)
