"""What one line of the log does to the metric state, whoever reads it: a relay or a backfill."""

from __future__ import annotations

from esper_otel.relay.ingest import Ingested
from esper_otel.relay.metrics import MetricState
from esper_otel.signals import own


def account(state: MetricState, line: Ingested) -> None:
    """Count the line and let its events act on ``state``. Never raises."""
    state.add(own.RECORDS)
    if line.reason is not None:
        state.add(own.REJECTED, (state.limits.bound("reason", line.reason),))
    record = line.record
    if record is None:
        return
    for event in line.events:
        state.apply(event, record.group_id, record.rank, record.timestamp_ns)
        if record.nonfinite:
            state.note_nonfinite(event)
    if not (line.unknown_fields or line.mistyped):
        return
    for signal, names in ((own.UNKNOWN_FIELDS, line.unknown_fields), (own.MISTYPED_FIELDS, line.mistyped)):
        if names:
            state.add(signal, (state.limits.bound("event_type", record.event_type),), len(names))
