"""End of a relay on a signal: at once, or in order, after the end of the run.

A sidecar is told to end when its pod is deleted, while the trainer still writes its last checkpoint or has just written
it. In order means: the run ends or its time for that is up, the last values are scraped, the rest is delivered.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from esper_otel.relay.console import say
from esper_otel.relay.options import Options
from esper_otel.relay.pacing import Flag

HURRIED_S: Final = 5.0
"""Longest delivery of the rest when the relay was told to end at once."""


class Ending:
    """Progress of the end of a relay that was told to end.

    Attributes:
        now: end now.
        is_given_up: the end of the run is waited for no longer.
    """

    def __init__(self, options: Options, wake: Callable[[], object]) -> None:
        """Start without a signal. ``wake`` ends a pause of the relay's loop."""
        self.now = Flag()
        self._wake = wake
        self.is_given_up = False
        self._options = options
        self._leave = Flag()
        self._told_at: float | None = None
        self._is_said = False
        self._drained_at = 0.0

    @property
    def is_told(self) -> bool:
        """True if the relay was told to end, either way."""
        return self._told_at is not None or self.now.is_set()

    def at_once(self) -> None:
        """End soon: current work is delivered, the position stored. Safe in a signal handler, as are the next two."""
        self.now.set()
        self._leave.set()
        self._wake()

    def in_order(self) -> None:
        """End after the run and after a last scrape; what is left is delivered."""
        self._told_at = self._told_at or time.monotonic()
        self._wake()

    def after_delivery(self) -> None:
        """Stop serving after the end of the run; the rest is still delivered."""
        self._leave.set()
        self._wake()

    def gives_up(self, *, knows_end: bool, has_more: bool) -> bool:
        """Return True if the end of the run is waited for no longer.

        Args:
            knows_end: whether the log or its locks will show the end; those of a log that is not ours do not.
            has_more: whether lines were there to be read just now.
        """
        if self._told_at is None:
            return False
        grace_s = self._options.grace_s
        if not self._is_said:
            self._is_said = True
            say(f"told to end: after the run, within {grace_s:g} s; a second SIGTERM ends this relay at once")
        if not knows_end and not has_more:
            self.is_given_up = True
        elif time.monotonic() - self._told_at > grace_s:
            say(f"the run goes on {grace_s:g} s after this relay was told to end; it is followed no longer")
            self.is_given_up = True
        return self.is_given_up

    def drained(self) -> None:
        """Note that metrics have their last values from now on."""
        self._drained_at = time.monotonic()

    def resumed(self) -> None:
        """Note that the run goes on after all."""
        if not self.now.is_set():
            self._leave.clear()

    def is_leaving(self, is_scraped_since: Callable[[float], bool]) -> bool:
        """Return True if metrics need not be served any longer.

        ``is_scraped_since``: whether everybody who scrapes has done so since that monotonic time.
        """
        if self._leave.is_set() or self._told_at is None:
            return self._leave.is_set()
        asked_at = max(self._told_at, self._drained_at)
        return time.monotonic() - asked_at >= self._options.last_scrape_s or is_scraped_since(self._drained_at)

    def in_words(self, reason: str, url: str) -> str:
        """Text on why and how long metrics are served after the end; ``reason`` is that of a relay without a signal."""
        linger_s = self._options.linger_s
        if self._told_at is None:
            return f"{reason}; {url} is served for another {linger_s:g} s"
        reason = "this relay ends before the run" if self.is_given_up else reason
        most_s = min(linger_s, self._options.last_scrape_s)
        return f"{reason}; {url} is served until it was scraped once more, for {most_s:g} s at most"

    @property
    def delivery_s(self) -> float:
        """Time for the delivery of what is left; 0 where that had its time before, or none is given any more."""
        return min(self._options.drain_s, HURRIED_S) if self.now.is_set() and self._told_at is None else 0.0
