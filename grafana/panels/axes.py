"""Unit, limits and ends of an axis, as the signals of its queries have them."""

from __future__ import annotations

from typing import Final

from esper_otel.events.declare import Instrument, Threshold
from grafana.panels.limits import limits_of
from grafana.panels.panel import Query
from grafana.queries.facts import signal_of
from grafana.queries.promql import Prom

LEAST: Final = {"percentunit": 0.01, "cps": 0.1, "s": 0.001, "bytes": 1024.0, "binBps": 1024.0}
"""Smallest upper end of an axis by unit, where values are never negative; Grafana draws zeros on one up to 100."""

LEAST_COUNT: Final = 1.0
COUNTED: Final = {Instrument.COUNTER, Instrument.TOTAL, Instrument.VIOLATIONS, Instrument.NONFINITE, "counter"}


def least_top(unit: str, signals: frozenset[str]) -> float | None:
    """The smallest upper end of an axis from 0 for what is counted or a share; None where values may be negative."""
    if unit in LEAST or (signals and all(signal_of(name).instrument in COUNTED for name in signals)):
        return LEAST.get(unit, LEAST_COUNT)
    return None


def unit_of_all(queries: tuple[Query, ...]) -> str:
    """The unit that all queries have.

    Raises:
        ValueError: they have several.
    """
    units = {query.what.unit for query in queries if isinstance(query.what, Prom)}
    if units == {"percentunit", "short"}:  # shares among plain numbers read as 0 to 1
        return "short"
    if len(units) != 1:
        raise ValueError(f"name the unit: the queries have {', '.join(sorted(units))}")
    return units.pop()


def drawn_limits(wanted: str | Threshold | None, queries: tuple[Query, ...]) -> Threshold | None:
    """Limits as given, those of a signal, or for "" those of the only one.

    Raises:
        KeyError: the named signal has none.
    """
    if isinstance(wanted, Threshold) or wanted is None:
        return wanted
    if wanted:
        found = limits_of(wanted)
        if found is None:
            raise KeyError(f"signal {wanted!r} has no limits")
        return found
    signals = signals_of(queries)
    return limits_of(*signals) if len(signals) == 1 else None


def signals_of(queries: tuple[Query, ...]) -> frozenset[str]:
    """OpenTelemetry names of the signals that the queries ask Prometheus for."""
    return frozenset(name for query in queries if isinstance(query.what, Prom) for name in query.what.signals)
