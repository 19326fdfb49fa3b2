"""Every event as an OpenTelemetry log event: what Loki shows as the event log.

The SDK's log API still lives under an underscore in OpenTelemetry for Python; this module and the exporters are the
only ones that import it.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from esper_otel.events import Event
from esper_otel.log.envelope import Record
from esper_otel.relay.event_attributes import (
    MAX_ATTRIBUTES,
    AttributeValue,
    attribute_value,
    cut_text,
    event_attributes,
)
from esper_otel.relay.spans_build import SCOPE
from esper_otel.relay.spans_state import SpanRef

UNKNOWN_EVENT: Final = "esper.unknown"
MAX_RAW_BYTES: Final = 16_384
SUMMARY_FIELDS: Final = 5
"""How many fields the summary of an event without a message shows."""

SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}


class LogEventProjector:
    """Turns records into log events of one run."""

    def __init__(self, run_id: str, resource: Resource) -> None:
        """Project a run; ``run_id`` is that of records that do not name one."""
        self._run_id = run_id
        self._resource = resource

    def project(
        self,
        record: Record,
        events: tuple[Event, ...],
        context: SpanRef,
        reason: str | None = None,
        observed_ns: int | None = None,
    ) -> list[ReadableLogRecord]:
        """One log event for each event of the record, or one ``esper.unknown`` that holds the raw payload.

        Args:
            record: the line of the log.
            events: what was made of it; events of one record share ``esper.event.id``.
            context: trace and span id that the log events name; (0, 0) names none.
            reason: why no event could be made.
            observed_ns: when the relay saw it, Unix ns; now when None.
        """
        observed_ns = time.time_ns() if observed_ns is None else observed_ns
        identity = self._identity(record)
        span_context = _context(context)
        if not events:
            identity["esper.unknown.reason"] = reason or "no_event"
            body = cut_text(record.data.decode("utf-8", "replace"), MAX_RAW_BYTES)
            return [self._log(record, UNKNOWN_EVENT, body, identity, span_context, observed_ns)]
        room = MAX_ATTRIBUTES - len(identity)
        logs = []
        for event in events:
            attributes = event_attributes(event, limit=room)
            body = cut_text(record.message) or _summary(event)
            logs.append(self._log(record, event.otel_name, body, identity | attributes, span_context, observed_ns))
        return logs

    def _identity(self, record: Record) -> dict[str, AttributeValue]:
        known: dict[str, AttributeValue | None] = {
            "esper.event.id": cut_text(record.event_id),
            "esper.event.type": cut_text(record.event_type),
            "esper.run.id": cut_text(record.run_id or self._run_id),
            "esper.rank": attribute_value(record.rank),
            "esper.group.id": cut_text(record.group_id),
            "esper.epoch": None if record.epoch is None else attribute_value(record.epoch),
            "esper.seed.id": None if record.seed_id is None else cut_text(record.seed_id),
            "esper.slot.id": None if record.slot_id is None else cut_text(record.slot_id),
        }
        return {key: value for key, value in known.items() if value is not None}

    def _log(
        self,
        record: Record,
        name: str,
        body: str,
        attributes: dict[str, AttributeValue],
        context: Context | None,
        observed_ns: int,
    ) -> ReadableLogRecord:
        log = LogRecord(
            timestamp=record.timestamp_ns,
            observed_timestamp=observed_ns,
            context=context,
            severity_text=cut_text(record.severity.upper()),
            severity_number=SEVERITIES.get(record.severity, SeverityNumber.UNSPECIFIED),
            body=body,
            attributes=attributes,
            event_name=name,
        )
        return ReadableLogRecord(log, self._resource, SCOPE)


def _context(ref: SpanRef) -> Context | None:
    if ref[0] == 0:
        return None
    span_context = SpanContext(ref[0], ref[1], is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(span_context), Context())


def _summary(event: Event) -> str:
    """The event's name and its first measured single values, for people."""
    values = (
        (name, value) for name, value in msgspec.structs.asdict(event).items() if isinstance(value, (str, int, float))
    )
    shown = [f"{name}={value:.6g}" if isinstance(value, float) else f"{name}={value}" for name, value in values]
    return cut_text(" ".join([event.otel_name, *shown[:SUMMARY_FIELDS]]))
