"""The limit of an alert for people: its numbers with their units, from the expression and the fields that it reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import Final

from esper_otel.alerts.alert import Alert
from esper_otel.events.declare import Instrument
from esper_otel.signals import SIGNALS, Signal
from esper_otel.signals.own import OWN_SIGNALS

_CLAUSES: Final = re.compile(r"\b(?:and|unless)\b")
_COMPARED: Final = re.compile(r"(>=|<=|>|<)\s*([\d.]+(?:\s*\*\s*[\d.]+)*)(\s*\*)?")
_METRIC: Final = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b(?=[\[{)\s]|$)(?!\s*\()")
_WORDS: Final = {">": "above", "<": "below", ">=": "at least", "<=": "at most"}
_UNITS: Final = {signal.prometheus_name: signal.unit for signal in SIGNALS} | {
    signal.prometheus_name: signal.unit for signal in OWN_SIGNALS
}
_WINDOWS: Final = {"m": "min", "h": "h"}
_SCALED: Final = {"s": (("h", 3600), ("min", 60)), "By": (("GiB", 1024**3), ("MiB", 1024**2))}
_SIGNS: Final = {"s": "s", "By": "bytes", "Cel": "°C"}


def limit_text(alert: Alert) -> str:
    """One sentence with every number that decides; empty for a state, which has none."""
    parts = [*_of_fields(alert), *_of_expression(alert.expr)]
    if " offset " in alert.expr and alert.counter:
        parts.append("one is enough")
    return f"Limit: {'; '.join(dict.fromkeys(parts))}." if parts else ""


def _of_fields(alert: Alert) -> Iterator[str]:
    """Limits that a counter of violations counts by, in the unit of the field."""
    for signal in SIGNALS:
        if signal.instrument is Instrument.VIOLATIONS and signal.threshold and signal.prometheus_name in alert.expr:
            severity = "critical" if f'{signal.prometheus_name}{{severity="critical"}}' in alert.expr else "warning"
            for side in ("above", "below"):
                level = signal.threshold.levels.get(f"{severity}_{side}")
                if level is not None:
                    yield f"`{signal.path[-1]}` {side} {level:g}{_field_unit(signal)}"


def _field_unit(signal: Signal) -> str:
    others = {other.unit for other in SIGNALS if (other.event, other.path) == (signal.event, signal.path)}
    units = [unit for unit in others if unit and not unit.startswith("{")]
    return f" {units[0]}" if units else ""


def _of_expression(expression: str) -> Iterator[str]:
    """Every comparison with a number, clause by clause."""
    for clause in _CLAUSES.split(" ".join(expression.split())):
        for compared in _COMPARED.finditer(clause):
            number = prod(map(float, compared[2].split("*")))
            if number:  # '> 0' is "there is one"
                left, right = clause[: compared.start()], clause[compared.end() :]
                value = f"{number:g} × {_asked(right)}" if compared[3] else _value(number, left)
                yield f"{_asked(left)} {_WORDS[compared[1]]} {value}"


def _asked(text: str) -> str:
    """The metrics of one side of a comparison, with their window."""
    asked = " / ".join(f"`{name}`" for name in _names(text))
    if "time() -" in text:
        asked = f"time since {asked}"
    elif " offset " in text and " - " in text:
        asked = f"growth of {asked}"
    bucket, window = re.search(r'le="([\d.]+)"', text), re.search(r"\[(\d+)(\w)\]", text)
    up_to = f" up to {bucket[1]}" if bucket else ""
    return asked + up_to + (f" in {window[1]} {_WINDOWS[window[2]]}" if window else "")


def _names(text: str) -> list[str]:
    """Metrics in a part of an expression, without labels and functions."""
    plain = re.sub(r"\b(?:by|on) \([^)]*\)|\{[^}]*\}", "", text)
    found = [name for name in _METRIC.findall(plain) if name in _UNITS or _base(name) in _UNITS or "otelcol" in name]
    return list(dict.fromkeys(found))


def _base(name: str) -> str:
    return re.sub(r"_(?:bucket|sum|count)$", "", name)


def _value(number: float, left: str) -> str:
    name = _names(left)[0]
    unit = _UNITS.get(name, "")
    if "/" in left or "rate(" in left or name.endswith(("utilization", "fraction")):
        return f"{number * 100:g} %"
    for scaled, size in _SCALED.get(unit, ()):
        if number >= size:
            return f"{number / size:g} {scaled}"
    return f"{number:g} {_SIGNS.get(unit, '')}".strip()
