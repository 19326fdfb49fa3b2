"""What the relay says about itself and about the run: metrics that no event carries.

They obey the same rules as the events' signals and appear in the same catalogue.
"""

from typing import Final

from esper_otel.signals.attributes import ATTRIBUTES
from esper_otel.signals.hardware import HARDWARE_SIGNALS
from esper_otel.signals.names import problems_of_name
from esper_otel.signals.own_signal import OwnSignal
from esper_otel.signals.own_signal import own_signal as _own

RUN_STATUS: Final = _own(
    "esper.run.status", "updowncounter", "", "1 for the state that the run is in, 0 for the others.", "esper.run.state"
)
EVENTS: Final = _own(
    "esper.events", "counter", "{event}", "Events projected, by type.", "group_id", "rank", "event_type"
)
RECORDS: Final = _own("esper.telemetry.records", "counter", "{record}", "Lines read from the event log.")
REJECTED: Final = _own(
    "esper.telemetry.rejected_records", "counter", "{record}", "Lines that became no event, by reason.", "reason"
)
UNKNOWN_FIELDS: Final = _own(
    "esper.telemetry.unknown_fields", "counter", "{field}", "Fields that the contract does not know.", "event_type"
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
    "esper.relay.lag", "gauge", "s", "Age of the newest projected event while more is waiting to be read."
)
UNREAD: Final = _own("esper.relay.unread", "gauge", "By", "Bytes of the event log that were not yet projected.")
LAST_RECORD: Final = _own(
    "esper.relay.last_record.timestamp", "gauge", "s", "Time of the newest projected event, Unix time."
)
EXPORTED: Final = _own(
    "esper.relay.exported", "counter", "{item}", "Spans, log events and metric points delivered by OTLP.", "signal"
)
EXPORT_FAILURES: Final = _own(
    "esper.relay.export_failures",
    "counter",
    "{failure}",
    "OTLP exports, and sets of rows for W&B, that failed and were tried again.",
    "signal",
)
REFUSED: Final = _own(
    "esper.relay.refused",
    "counter",
    "{item}",
    "Spans, log events and metric points that the OTLP receiver will never take.",
    "signal",
)
UNDELIVERED: Final = _own(
    "esper.relay.undelivered",
    "gauge",
    "By",
    "Bytes of the event log whose spans and log events were not yet delivered.",
)
CUT_SPANS: Final = _own(
    "esper.relay.cut_spans", "counter", "{span}", "Spans left out because their trace was full (1,000 spans)."
)

OWN_SIGNALS: Final = (
    RUN_STATUS,
    EVENTS,
    RECORDS,
    REJECTED,
    UNKNOWN_FIELDS,
    MISTYPED_FIELDS,
    NONFINITE,
    FOLDED,
    LAG,
    UNREAD,
    LAST_RECORD,
    EXPORTED,
    EXPORT_FAILURES,
    REFUSED,
    UNDELIVERED,
    CUT_SPANS,
    *HARDWARE_SIGNALS,
)

__all__ = ["OWN_SIGNALS", "OwnSignal"]

for _signal in OWN_SIGNALS:
    _problems = problems_of_name(_signal.name, _signal.unit) + [a for a in _signal.attributes if a not in ATTRIBUTES]
    if _problems:
        raise TypeError(f"{_signal.name}: {'; '.join(_problems)}")
