"""The SQL query over a run's log that shows the events behind an alert: from its row or its signals."""

import re
from typing import Final

from esper_otel.alerts.alert import Alert
from esper_otel.events.declare import Instrument, Severity
from esper_otel.signals import SIGNALS, Signal
from esper_otel.signals.names import prometheus_label
from esper_otel.sql.catalogue import VIEWS
from esper_otel.sql.views.columns import literal
from esper_otel.sql.views.view import view_name

ROWS: Final = 20
"""As many of the newest rows as fit on a screen."""

_WHO: Final = ("rank", "env_id", "batch", "batch_idx", "inner_epoch", "device", "head", "slot", "slot_id", "seed_id")
_WHY: Final = ("anomaly_type", "reason", "detail", "value", "threshold")
"""Columns that identify the subject of an event."""

_COMPARED: Final = {"=": "{} = {}", "!=": "{} <> {}", "=~": "regexp_full_match({}, {})"}
_COMPARED["!~"] = f"NOT {_COMPARED['=~']}"


def log_query(alert: Alert) -> str:
    """One SELECT for ``esper-otel sql``; empty when the log holds nothing about the alert."""
    if alert.sql is not None:
        return alert.sql
    signals = _asked_in_order(alert.expr)
    if not signals:
        return ""
    view = _view_of(signals[0])
    signals = [signal for signal in signals if _view_of(signal) == view]
    conditions = list(dict.fromkeys(filter(None, (_condition(signal, alert.expr) for signal in signals))))
    where = f" WHERE {' OR '.join(conditions)}" if conditions else ""
    return f"SELECT {', '.join(_columns(view, signals))} FROM {view}{where} ORDER BY timestamp DESC LIMIT {ROWS}"


def _asked_in_order(expression: str) -> list[Signal]:
    """Signals of events that an expression asks for: what is counted comes before what it is a share of."""
    found = []
    for word in re.findall(r"[a-zA-Z_:][\w:]*", expression):
        names = {word, *(word.removesuffix(part) for part in ("_bucket", "_sum", "_count"))}
        found += [signal for signal in SIGNALS if signal.prometheus_name in names and signal not in found]
    return found


def _view_of(signal: Signal) -> str:
    name = view_name(signal.event)
    return f"{name}_by_{signal.key}" if "*" in signal.path else name


def _field(signal: Signal) -> str:
    """The column of a signal's field; empty where the event itself counts."""
    named = [part for part in signal.path if part != "*"]
    return named[-1] if named else ""


def _columns(view: str, signals: list[Signal]) -> list[str]:
    there = {column.name for column in VIEWS[view].columns}
    fields = [field for signal in signals if (field := _field(signal))]
    grouped = [field for signal in signals for field, _ in signal.attribute_fields]
    asked = ["timestamp", *_WHO, *grouped, *fields, *_WHY]
    return [name for name in dict.fromkeys(asked) if name in there]


def _condition(signal: Signal, expression: str) -> str:
    """SQL condition for an event to count; empty if every event counts."""
    field, matchers = _field(signal), _matchers(signal, expression)
    if signal.instrument is Instrument.VIOLATIONS:
        return _violated(signal, field, matchers)
    if signal.instrument is Instrument.NONFINITE:
        return f"NOT isfinite({field})"
    if signal.instrument is Instrument.HISTOGRAM:
        return next((f"{field} <= {value}" for label, _, value in matchers if label == "le"), "")
    if field:
        return _raised(signal, field)
    by_label = {prometheus_label(name): column for column, name in signal.attribute_fields}
    chosen = [_COMPARED[how].format(by_label[label], literal(value)) for label, how, value in matchers]
    return " AND ".join(chosen)


def _violated(signal: Signal, field: str, matchers: list[tuple[str, str, str]]) -> str:
    assert signal.threshold is not None
    severity = Severity.CRITICAL if ("severity", "=", "critical") in matchers else Severity.WARNING
    sides = [(">", f"{severity.value}_above"), ("<", f"{severity.value}_below")]
    limits = [(sign, getattr(signal.threshold, name)) for sign, name in sides]
    return " OR ".join(f"{field} {sign} {value:g}" for sign, value in limits if value is not None)


def _raised(signal: Signal, field: str) -> str:
    """Condition for a flag that is set, or a count above 0; a gauge has none."""
    types = {column.name: column.type for column in VIEWS[_view_of(signal)].columns}
    if types[field] == "BOOLEAN":
        return field
    return f"{field} > 0" if signal.instrument in {Instrument.COUNTER, Instrument.TOTAL} else ""


def _matchers(signal: Signal, expression: str) -> list[tuple[str, str, str]]:
    """Label, operator and value of each matcher at the first mention of a signal."""
    braces = re.search(rf"\b{signal.prometheus_name}(?:_bucket)?{{([^}}]*)}}", expression)
    return re.findall(r'(\w+)(=~|!~|!=|=)"([^"]*)"', braces[1]) if braces else []
