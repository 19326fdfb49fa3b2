"""Every event as an OpenTelemetry log event, for Loki's event log.

A log event is made as the bytes of its protobuf message (``LogRecord`` of opentelemetry-proto 1.x), ready to be sent:
there are as many of them as there are events, and the SDK's objects on the way would cost ten times as much.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Final

from opentelemetry._logs import SeverityNumber

from esper_otel.events import Event
from esper_otel.log.envelope import Record
from esper_otel.relay.encoding.attribute_plans import AttributePlans
from esper_otel.relay.encoding.attribute_tables import SingleValues
from esper_otel.relay.encoding.attributes import AttributeValue, attribute_value, cut_text
from esper_otel.relay.encoding.wire import Heads, attribute, delimited, key_field, text_attribute_head, text_head
from esper_otel.relay.otlp.environment import is_sampled
from esper_otel.relay.traces.state import SpanRef
from esper_otel.signals import log_events as named

MAX_RAW_BYTES: Final = 16_384
MAX_ATTRIBUTES: Final = 96
"""Most attributes of a log event. Loki takes 128 by default and refuses the whole event beyond; the resource, the
collector's Kubernetes attributes, severity, trace, scope and times are counted there too."""

MAX_KNOWN: Final = 1_024
"""Different identities (group, slot, seed …) whose bytes are remembered."""

SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}

_TIMES: Final = struct.Struct("<cQcQ")  # time_unix_nano = 1, observed_time_unix_nano = 11, both fixed64
_BODY_HEADS: Final = Heads(partial(text_head, b"\x2a"))  # body = 5
_EVENT_ID_HEADS: Final = Heads(partial(text_attribute_head, key_field(named.EVENT_ID)))
_SAMPLED_FLAG: Final = b"\x45\x01\x00\x00\x00"  # flags = 8, fixed32: the trace is sampled


class LogEventProjector:
    """Turns records into log events of one run."""

    def __init__(self, run_id: str, share_of_traces: float = 1.0) -> None:
        """Project a run; ``run_id`` is that of records that do not name one.

        Log events of traces that are not among ``share_of_traces`` say that theirs was not sampled.
        """
        self._run_id = run_id
        self._share = share_of_traces
        self._plans = AttributePlans()
        self._epochs = SingleValues(named.EPOCH)
        self._identities: dict[tuple[object, ...], tuple[bytes, int]] = {}
        self._heads: dict[tuple[str, str], bytes] = {}

    def project(
        self,
        record: Record,
        events: tuple[Event, ...],
        context: SpanRef,
        reason: str | None = None,
        observed_ns: int | None = None,
    ) -> list[bytes]:
        """One ``LogRecord`` for each event of the record, or one ``esper.unknown`` that holds the raw payload.

        Args:
            record: the line of the log.
            events: what was made of it; events of one record share ``esper.event.id``.
            context: trace and span id that the log events name; (0, 0) names none.
            reason: why no event could be made.
            observed_ns: when the relay saw it, Unix ns; now when None.
        """
        observed_ns = time.time_ns() if observed_ns is None else observed_ns
        identity, count = self._identity(record)
        if not events:
            body = cut_text(record.data.decode("utf-8", "replace"), MAX_RAW_BYTES)
            attributes: Sequence[bytes] = (attribute(named.UNKNOWN_REASON, reason or "no_event"),)
            return [self._log(record, named.UNKNOWN_EVENT, body, (identity, attributes), context, observed_ns)]
        room = MAX_ATTRIBUTES - count
        logs = []
        for event in events:
            attributes, summary = self._plans.encode(event, room)
            body = cut_text(record.message) if record.message else summary
            logs.append(self._log(record, event.otel_name, body, (identity, attributes), context, observed_ns))
        return logs

    def _identity(self, record: Record) -> tuple[Sequence[bytes], int]:
        """The attributes that identify the event, in parts, and their number."""
        key = (record.event_type, record.run_id, record.rank, record.group_id, record.seed_id, record.slot_id)
        known = self._identities.get(key)
        if known is None:
            known = self._rarely_new(record)
            if len(self._identities) >= MAX_KNOWN:
                self._identities.clear()
            self._identities[key] = known
        encoded, count = known
        event_id = cut_text(record.event_id).encode("utf-8", "replace")
        head = _EVENT_ID_HEADS[len(event_id)]
        if record.epoch is None:
            return (encoded, head, event_id), count + 1
        return (encoded, head, event_id, self._epochs[record.epoch]), count + 2

    def _rarely_new(self, record: Record) -> tuple[bytes, int]:
        found: dict[str, AttributeValue | None] = {
            named.EVENT_TYPE: cut_text(record.event_type),
            named.RUN_ID: cut_text(record.run_id or self._run_id),
            named.RANK: attribute_value(record.rank),
            named.GROUP_ID: cut_text(record.group_id),
            named.SEED_ID: None if record.seed_id is None else cut_text(record.seed_id),
            named.SLOT_ID: None if record.slot_id is None else cut_text(record.slot_id),
        }
        present = [attribute(name, value) for name, value in found.items() if value is not None]
        return b"".join(present), len(present)

    def _log(
        self,
        record: Record,
        name: str,
        body: str,
        attributes: tuple[Sequence[bytes], Sequence[bytes]],
        context: SpanRef,
        observed_ns: int,
    ) -> bytes:
        head = self._heads.get((record.severity, name))
        if head is None:
            head = _head(record.severity, name)
            if len(self._heads) < MAX_KNOWN:
                self._heads[record.severity, name] = head
        times = _TIMES.pack(b"\x09", max(record.timestamp_ns, 0), b"\x59", observed_ns)
        text = body.encode("utf-8", "replace")
        identity, own = attributes
        return b"".join((times, head, _BODY_HEADS[len(text)], text, *identity, *own, _context(context, self._share)))


def _head(severity: str, name: str) -> bytes:
    """Severity number (2) and text (3) and the name of the event (12)."""
    number = SEVERITIES.get(severity, SeverityNumber.UNSPECIFIED).value
    text = cut_text(severity.upper()).encode("utf-8", "replace")
    return b"\x10" + bytes((number,)) + delimited(b"\x1a", text) + delimited(b"\x62", name.encode())


@lru_cache(MAX_KNOWN)
def _context(ref: SpanRef, share: float) -> bytes:
    """Flags (8), trace id (9) and span id (10); nothing where there is no trace."""
    if ref[0] == 0:
        return b""
    return (
        (_SAMPLED_FLAG if is_sampled(ref[0], share) else b"")
        + b"\x4a\x10"
        + ref[0].to_bytes(16)
        + b"\x52\x08"
        + ref[1].to_bytes(8)
    )
