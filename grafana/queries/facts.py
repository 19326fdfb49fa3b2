"""Facts about a signal from the registry and the tables of limits and alerts, by its OpenTelemetry name."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert
from esper_otel.alerts.promql import BY_NAME
from esper_otel.signals import Signal
from esper_otel.signals.own import OwnSignal

BY_PROMETHEUS_NAME: Final = {signal.prometheus_name: name for name, signal in BY_NAME.items()}

GRAFANA_UNIT: Final = {
    "": "short",
    "1": "percentunit",
    "s": "s",
    "By": "bytes",
    "By/s": "binBps",
    "J": "joule",
    "W": "watt",
    "Cel": "celsius",
    "Hz": "hertz",
}
"""Grafana's name of a unit; a counted thing (``{update}``) is a plain number."""

_SHARE_WORDS: Final = ("fraction", "utilization", "coverage")


def signal_of(name: str) -> Signal | OwnSignal:
    """The signal called ``name``.

    Raises:
        KeyError: the registry has none.
    """
    if name not in BY_NAME:
        raise KeyError(f"the registry has no metric {name!r}")
    return BY_NAME[name]


def unit_of(name: str) -> str:
    """Grafana's unit of a signal: that of the registry, per cent for a share of 1."""
    signal = signal_of(name)
    if name.rsplit(".", 1)[-1].rsplit("_", 1)[-1] in _SHARE_WORDS and signal.unit == "":
        return "percentunit"
    return GRAFANA_UNIT.get(signal.unit, "short")


def words_of(name: str) -> str:
    """Legend of a signal: the last part of its name as words."""
    return name.split(".", 1)[1].replace(".", " ").replace("_", " ")


def alerts_on(asked: frozenset[str], domain: str) -> tuple[Alert, ...]:
    """Alerts of ``domain`` that use one of the signals and foreign metrics ``asked``."""
    return tuple(alert for alert in ALERTS if alert.domain == domain and asked & asked_by(alert.expr))


@cache
def asked_by(expression: str) -> frozenset[str]:
    """Signals, and metrics of the collector, that a PromQL expression uses."""
    return signals_in(expression) | frozenset(re.findall(r"\botelcol_\w+", expression))


def signals_in(expression: str) -> frozenset[str]:
    """Names of the signals that a PromQL expression uses."""
    found = set()
    for word in "".join(letter if letter.isalnum() or letter in "_:" else " " for letter in expression).split():
        for candidate in (word, *(word.removesuffix(part) for part in ("_bucket", "_sum", "_count"))):
            if candidate in BY_PROMETHEUS_NAME:
                found.add(BY_PROMETHEUS_NAME[candidate])
    return frozenset(found)
