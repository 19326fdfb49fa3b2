"""From lines of a log to events, each line accounted for."""

from __future__ import annotations

from typing import Any

import msgspec

from esper_otel.events import Event
from esper_otel.log.duplicates import DUPLICATE, Duplicates
from esper_otel.log.envelope import BadLine, Reason, Record
from esper_otel.relay.console import say_once
from esper_otel.upstream.adapt import adapt, with_envelope
from esper_otel.upstream.arms import Arms


class Ingested(msgspec.Struct, frozen=True, gc=False):
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

    def greatest_seq(self, rank: int) -> int:
        """The greatest number of an event of ``rank`` that was taken; 0 for none."""
        return self._duplicates.greatest_seq(rank)

    def take(self, item: Record | BadLine) -> Ingested:
        """Account for one line. Never raises. Lines that were read and then lost are said once in a process."""
        if isinstance(item, BadLine):
            if item.reason is Reason.TRUNCATED:
                _tell_loss(item)
            return Ingested(None, reason=item.reason.value)
        if self._duplicates.is_repeated(item):
            return Ingested(item, reason=DUPLICATE)
        if item.event is not None:  # a line of ours with nothing odd about it
            return Ingested(item, (with_envelope(item.event, item),))
        record = self._arms.attributed(item)
        adapted = adapt(record)
        return Ingested(record, adapted.events, adapted.reason, adapted.unknown_fields, adapted.mistyped)


def _tell_loss(gap: BadLine) -> None:
    say_once(
        f"{gap.source} {gap.segment} {gap.offset}",  # where the log was cut is the same for whoever reads it
        f"{gap.source} lost lines, as after a power loss: {gap.excerpt}. What was counted and sent of them stays so; "
        f"reading goes on behind what is left, at byte {gap.offset} of segment {gap.segment}",
    )
