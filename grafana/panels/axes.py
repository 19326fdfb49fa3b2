"""Ends of axes: without one, Grafana draws a line of zeros on an axis up to 100."""

from __future__ import annotations

from typing import Final

from esper_otel.events.declare import Instrument
from grafana.queries.facts import signal_of

LEAST: Final = {"percentunit": 0.01, "cps": 0.1, "s": 0.001, "bytes": 1024.0, "binBps": 1024.0}
"""Smallest upper end of an axis by unit, where values are never negative."""

LEAST_COUNT: Final = 1.0
COUNTED: Final = {Instrument.COUNTER, Instrument.TOTAL, Instrument.VIOLATIONS, Instrument.NONFINITE, "counter"}


def least_top(unit: str, signals: frozenset[str]) -> float | None:
    """The smallest upper end of an axis from 0 for what is counted or a share; None where values may be negative."""
    if unit in LEAST or (signals and all(signal_of(name).instrument in COUNTED for name in signals)):
        return LEAST.get(unit, LEAST_COUNT)
    return None
