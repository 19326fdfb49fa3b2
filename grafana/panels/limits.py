"""Limits of values that only panels compute, and those of signals, which are declared on the fields."""

from __future__ import annotations

from typing import Final

from esper_otel.alerts.promql import threshold
from esper_otel.events.declare import Threshold
from esper_otel.events.limits import STABILITY, above, below
from grafana.queries.facts import signal_of

SUSPICIONS: Final = Threshold(warning_above=0.5, reason="A suspicion is to be looked at, and is no proof.")
FRAGMENTATION: Final = above(0.2, 0.3, STABILITY)
SIGN: Final = below(None, 0.0, "Colour of the sign.")


def limits_of(name: str) -> Threshold | None:
    """Limits beyond which a signal is not healthy."""
    return signal_of(name).limits


HEAD_ENTROPY: Final = threshold("tamiyo.head_entropy")
"""Limits of the lowest entropy of all heads."""
