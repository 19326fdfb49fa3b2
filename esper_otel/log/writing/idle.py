"""Sleep of the encoder's thread while no events come: a thread that wakes displaces what training has in the caches."""

from __future__ import annotations

import threading
import time
from typing import Final

from esper_otel.log.writing.queue import EventQueue

IDLE_AFTER_S: Final = 0.1
"""Events that come more often than this are looked for every 20 ms: waking a thread costs as much as some events."""

LONGEST_S: Final = 1.0
"""Losses that another thread counted are reported within this time."""


class Idle:
    """Wait of the encoder's thread for the next event."""

    def __init__(self, queue: EventQueue) -> None:
        """Have ``queue`` wake the thread."""
        self._queue = queue
        self._busy_at_s = time.monotonic()
        self._asleep = threading.Lock()  # released by one atomic call, for a signal handler may emit during another
        self._asleep.acquire()
        queue.wake = self.wake

    def note_event(self) -> None:
        """Stay awake for a while: an event was there."""
        self._busy_at_s = time.monotonic()

    def wake(self) -> None:
        """End the sleep. From any thread; no effect on one that is awake but that it does not sleep next."""
        try:
            self._asleep.release()
        except RuntimeError:
            return  # it was woken already

    def wait(self, longest_s: float) -> None:
        """Sleep until an event comes, at most ``longest_s`` and 1 s; not at all soon after one."""
        if time.monotonic() - self._busy_at_s < IDLE_AFTER_S:
            return
        self._queue.is_idle = True
        if not len(self._queue):
            self._asleep.acquire(timeout=min(max(longest_s, 0.0), LONGEST_S))
        self._queue.is_idle = False
