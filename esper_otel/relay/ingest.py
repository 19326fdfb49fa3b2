"""Conversion of the lines of a log to events, each line accounted for."""

from __future__ import annotations

from typing import Any

import msgspec

from esper_otel.esper_lite.dialect.adapt import adapt, with_envelope
from esper_otel.esper_lite.dialect.arms import Arms
from esper_otel.events import Event, EventDeclared
from esper_otel.log.duplicates import DUPLICATE, Duplicates
from esper_otel.log.envelope import BadLine, Reason, Record
from esper_otel.relay.console import say_once
from esper_otel.signals import SignalError, custom


class Ingested(msgspec.Struct, frozen=True, gc=False):
    """Result of one line.

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
    """Converts a reader's lines to events, each event once."""

    def __init__(self, state: Any = None, own_id: str | None = None, *, tells_losses: bool = True) -> None:
        """Go on from ``state`` of an earlier one when there is one.

        ``own_id``: the run that all lines belong to, whatever they say: who may write to a run's directory may say
        anything about that run and nothing about another one. None takes their word.
        ``tells_losses``: whether stretches without an event are reported, once in a process for each cause.
        """
        self._own_id = own_id
        self._tells_losses = tells_losses
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
        """Account for one line. Never raises."""
        if isinstance(item, BadLine):
            if self._tells_losses:
                _tell_loss(item)
            return Ingested(None, reason=item.reason.value)
        if self._duplicates.is_repeated(item):
            return Ingested(item, reason=DUPLICATE)
        if self._own_id is not None and item.run_id != self._own_id and item.run_id is not None:
            item = _of_run(item, item.run_id, self._own_id)
        if item.event is not None:  # a line of ours with nothing odd about it
            _learn((item.event,))
            return Ingested(item, (with_envelope(item.event, item),))
        record = self._arms.attributed(item)
        adapted = adapt(record)
        _learn(adapted.events)
        return Ingested(record, adapted.events, adapted.reason, adapted.unknown_fields, adapted.mistyped)


def _learn(events: tuple[Event, ...]) -> None:
    """Learn the class that an event declares, so that the lines of that class can be read."""
    event = events[0] if events else None
    if type(event) is not EventDeclared:
        return
    try:
        custom.learn(event)
    except SignalError as error:
        say_once(
            f"declaration {event.declared[:100]}",
            f"the log declares an event that breaks a rule: {str(error)[:500]}. Events of that type are in the log, "
            "and count as unknown_event_type",
        )


def _tell_loss(gap: BadLine) -> None:
    place = f"byte {gap.offset} of segment {gap.segment}"
    if gap.reason is Reason.TRUNCATED:
        say_once(
            f"{gap.source} {gap.segment} {gap.offset}",  # where the log was cut is the same for whoever reads it
            f"{gap.source} lost lines, as after a power loss: {gap.excerpt}. What was counted and sent of them stays "
            f"so; reading goes on behind what is left, at {place}",
        )
        return
    say_once(
        f"{gap.source} {gap.reason}",
        f"{gap.source} holds what gives no event ({gap.reason}) at {place}: {gap.excerpt}. Reading goes on behind it; "
        f"esper_telemetry_rejected_records_total counts this and what may follow",
    )


def _of_run(record: Record, named: str, own_id: str) -> Record:
    """The record as one of the run that owns the directory: of a renamed run, or of a line with a false id."""
    say_once(
        f"another run {named}",
        f"lines of the log name another run, {named[:150]!r}; they count as lines of {own_id!r}, whose directory "
        "this is",
    )
    prefix = f"{named}-"
    event_id = record.event_id
    if event_id.startswith(prefix):
        event_id = f"{own_id}-{event_id.removeprefix(prefix)}"
    return msgspec.structs.replace(record, run_id=own_id, event_id=event_id)
