"""The metrics that the shipped alerts and recording rules ask for, read from their expressions and messages."""

import re
from collections.abc import Iterable
from typing import Final

from esper_otel.alerts import ALERTS
from esper_otel.alerts.promql import BY_NAME
from esper_otel.alerts.recording import RECORDING

_WORD: Final = re.compile(r"[a-z_][a-z0-9_]+")
_PARTS: Final = ("", "_bucket", "_sum", "_count")


def asked_by(texts: Iterable[str]) -> frozenset[str]:
    """OpenTelemetry names of the metrics that occur in ``texts`` under their Prometheus names."""
    words = set(_WORD.findall("\n".join(texts)))
    return frozenset(
        name for name, signal in BY_NAME.items() if not words.isdisjoint(signal.prometheus_name + p for p in _PARTS)
    )


NEEDED: Final = asked_by((*(text for alert in ALERTS for text in (alert.expr, alert.summary)), *RECORDING.values()))
"""Metrics that a relay exports whole whatever else it leaves out."""
