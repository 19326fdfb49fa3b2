"""From lines of a log to events, each line accounted for."""

from __future__ import annotations

from typing import Any

import msgspec

from esper_otel.events import Event
from esper_otel.log.duplicates import DUPLICATE, Duplicates
from esper_otel.log.envelope import BadLine, Record
from esper_otel.upstream.adapt import adapt
from esper_otel.upstream.arms import Arms


class Ingested(msgspec.Struct, frozen=True):
    """What one line turned out to be.

    Attributes:
        record: the line's envelope, None for a line that is none.
        events: its events; empty when there is a reason.
        reason: why there is none: of a bad line, ``duplicate``, ``unknown_event_type`` or ``undecodable``.
    """

    record: Record | None
    events: tuple[Event, ...] = ()
    reason: str | None = None
    unknown_fields: tuple[str, ...] = ()
    mistyped: tuple[str, ...] = ()


class Ingest:
    """Turns what a reader yields into events, each event once."""

    def __init__(self, state: Any = None) -> None:
        """Go on from ``state`` of an earlier one when there is one."""
        self._duplicates = Duplicates(state)
        self._arms = Arms(state.get("arms") if state else None)

    @property
    def state(self) -> Any:
        """To be stored with the reader's positions; plain JSON."""
        return {**self._duplicates.state, "arms": self._arms.state}

    def take(self, item: Record | BadLine) -> Ingested:
        """Account for one line. Never raises."""
        if isinstance(item, BadLine):
            return Ingested(None, reason=item.reason.value)
        if self._duplicates.is_repeated(item):
            return Ingested(item, reason=DUPLICATE)
        record = self._arms.attributed(item)
        adapted = adapt(record)
        return Ingested(record, adapted.events, adapted.reason, adapted.unknown_fields, adapted.mistyped)
