"""Queued events, and the legacy lines they may also produce."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from esper_otel.events.declare import Event


@runtime_checkable
class ForeignEvent(Protocol):
    """An event of another producer, kept in that producer's own format."""

    @property
    def event_type(self) -> str:
        """Name of its type."""

    def line(self, run_id: str, rank: int, seq: int) -> tuple[bytes, tuple[str, ...]]:
        """Its line with our run, rank and number, newline included; fields that were dropped, as ``field: why``."""


Queued = tuple[Event | ForeignEvent, int, str, str | None, str | None]
"""An event on its way: itself, Unix time in ns, group, severity, message. A foreign one has its own of the latter."""


class LegacyLines(Protocol):
    """The lines that an event becomes while names migrate (:mod:`esper_otel.esper_lite.dialect.legacy`)."""

    def lines(self, event: Event) -> list[tuple[str, Any]]:
        """Event types and payloads to write for ``event``, none if it is held back."""

    def flush(self) -> list[tuple[str, Any, Event]]:
        """Return the lines held back, with the events that they came from."""
