"""Effect of one line of the log on the metric state, for relay and backfill."""

from __future__ import annotations

from esper_otel.esper_lite.dialect.entropies import over_steps_with_a_choice
from esper_otel.relay.ingest import Ingested
from esper_otel.relay.metrics.state import MetricState
from esper_otel.signals import own


def account(state: MetricState, line: Ingested) -> None:
    """Count the line and apply its events to ``state``. Never raises."""
    state.add(own.RECORDS)
    if line.reason is not None:
        state.add(own.REJECTED, (state.limits.bound("reason", line.reason),))
    record = line.record
    if record is None:
        return
    is_foreign = record.schema_version is None
    for event in line.events:
        applied = over_steps_with_a_choice(event) if is_foreign else event
        state.apply(applied, record.group_id, record.rank, record.timestamp_ns, is_foreign=is_foreign)
        if record.nonfinite:
            state.note_nonfinite(event)
    if not (line.unknown_fields or line.mistyped):
        return
    for signal, names in ((own.UNKNOWN_FIELDS, line.unknown_fields), (own.MISTYPED_FIELDS, line.mistyped)):
        if names:
            state.add(signal, (state.limits.bound("event_type", record.event_type),), len(names))
