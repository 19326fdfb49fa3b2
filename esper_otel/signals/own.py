"""Metrics of the relay about itself and the run, which no event carries.

They obey the same rules as the events' signals and appear in the same catalogue.
"""

from typing import Final

from esper_otel.signals.attributes import ATTRIBUTES
from esper_otel.signals.hardware import HARDWARE_SIGNALS
from esper_otel.signals.names import problems_of_name
from esper_otel.signals.own_signal import OwnSignal
from esper_otel.signals.own_signal import own_signal as _own

RUN_STATUS: Final = _own(
    "esper.run.status", "updowncounter", "", "1 for the current state of the run, 0 for the others.", "esper.run.state"
)
CONFIGURED: Final = ("task", "reward_mode", "seed", "n_envs", "lr", "clip_ratio", "entropy_coef", "gamma")
"""Fields of the start of training that tell runs apart: the attributes of :data:`RUN_INFO`, behind the group."""

RUN_INFO: Final = _own(
    "esper.run.info",
    "gauge",
    "",
    "1; its attributes are what a group began its training with.",
    "group_id",
    *CONFIGURED,
)
EVENTS: Final = _own(
    "esper.events", "counter", "{event}", "Events projected, by type.", "group_id", "rank", "event_type"
)
RECORDS: Final = _own("esper.telemetry.records", "counter", "{record}", "Lines read from the event log.")
REJECTED: Final = _own(
    "esper.telemetry.rejected_records", "counter", "{record}", "Rejected lines, by reason.", "reason"
)
UNKNOWN_FIELDS: Final = _own(
    "esper.telemetry.unknown_fields", "counter", "{field}", "Fields unknown to the contract.", "event_type"
)
MISTYPED_FIELDS: Final = _own(
    "esper.telemetry.mistyped_fields", "counter", "{field}", "Fields whose value had the wrong type.", "event_type"
)
NONFINITE: Final = _own(
    "esper.telemetry.nonfinite", "counter", "{value}", "Values that were NaN or infinite.", "event_type", "field"
)
FOLDED: Final = _own(
    "esper.telemetry.folded_values",
    "counter",
    "{value}",
    "Attribute values beyond an attribute's bound, exported as 'other'.",
    "field",
)
LAG: Final = _own(
    "esper.relay.lag", "gauge", "s", "Age of the latest projected event while more data waits to be read."
)
UNREAD: Final = _own("esper.relay.unread", "gauge", "By", "Bytes of the event log not yet projected.")
READ_ERRORS: Final = _own(
    "esper.relay.read_errors", "counter", "{error}", "Failed reads of the event log, all retried."
)
LAST_RECORD: Final = _own("esper.relay.last_record.timestamp", "gauge", "s", "Unix time of the latest projected event.")
EXPORTED: Final = _own(
    "esper.relay.exported",
    "counter",
    "{item}",
    "Spans, log events and metric points delivered by OTLP, and lines of the log in the archive.",
    "signal",
)
EXPORT_FAILURES: Final = _own(
    "esper.relay.export_failures",
    "counter",
    "{failure}",
    "OTLP exports, batches of rows for W&B, and steps of the archive, that failed and were retried.",
    "signal",
)
REFUSED: Final = _own(
    "esper.relay.refused",
    "counter",
    "{item}",
    "Spans, log events and metric points that the OTLP receiver rejected permanently.",
    "signal",
)
UNDELIVERED: Final = _own(
    "esper.relay.undelivered",
    "gauge",
    "By",
    "Bytes of the event log whose spans or log events are not yet delivered, or not yet archived, by signal.",
    "signal",
)
LEFT_OUT: Final = _own(
    "esper.relay.left_out",
    "counter",
    "{item}",
    "Log events that ESPER_OTEL_LOGS left out, and points of metrics that ESPER_OTEL_METRICS=summary replaced in"
    " scrapes and exports; their events are in the log. Absent where all are sent.",
    "signal",
)
CUT_SPANS: Final = _own(
    "esper.relay.cut_spans", "counter", "{span}", "Spans dropped because their trace was full (1,000 spans)."
)

OWN_SIGNALS: Final = (
    RUN_STATUS,
    RUN_INFO,
    EVENTS,
    RECORDS,
    REJECTED,
    UNKNOWN_FIELDS,
    MISTYPED_FIELDS,
    NONFINITE,
    FOLDED,
    LAG,
    UNREAD,
    READ_ERRORS,
    LAST_RECORD,
    EXPORTED,
    EXPORT_FAILURES,
    REFUSED,
    UNDELIVERED,
    LEFT_OUT,
    CUT_SPANS,
    *HARDWARE_SIGNALS,
)

__all__ = ["OWN_SIGNALS", "OwnSignal"]

for _signal in OWN_SIGNALS:
    _problems = problems_of_name(_signal.name, _signal.unit) + [a for a in _signal.attributes if a not in ATTRIBUTES]
    if _problems:
        raise TypeError(f"{_signal.name}: {'; '.join(_problems)}")
