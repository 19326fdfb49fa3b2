"""What waits for the writer, and what it may become besides its own line."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from esper_otel.events.declare import Event


@runtime_checkable
class ForeignEvent(Protocol):
    """An event of another producer, which is kept in that producer's own words."""

    @property
    def event_type(self) -> str:
        """Name of its type."""

    def line(self, run_id: str, rank: int, seq: int) -> tuple[bytes, tuple[str, ...]]:
        """Its line with our run, rank and number in it, newline included; what could not be kept, ``field: why``."""


Queued = tuple[Event | ForeignEvent, int, str, str | None, str | None]
"""An event on its way: itself, Unix time in ns, group, severity, message. A foreign one has its own of the latter."""


class LegacyLines(Protocol):
    """The lines that an event becomes while names migrate (:mod:`esper_otel.upstream.legacy`)."""

    def lines(self, event: Event) -> list[tuple[str, Any]]:
        """Event types and payloads to write for ``event``, none when it is held back."""

    def flush(self) -> list[tuple[str, Any, Event]]:
        """What was held back, with the event that it came from."""
