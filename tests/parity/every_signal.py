"""Every metric that a relay can export, as the families that it hands to its exporters, with a value of each."""

from __future__ import annotations

from esper_otel.relay.metrics.families import Family, HistogramPoint
from esper_otel.signals.attributes import ATTRIBUTES
from esper_otel.signals.own import OWN_SIGNALS, OwnSignal
from esper_otel.signals.registry import SIGNALS, Signal


def families() -> list[Family]:
    """One family for each metric of the catalogue; a metric that several events feed is there once."""
    signals: list[Signal | OwnSignal] = [*SIGNALS, *OWN_SIGNALS]
    by_name = {signal.name: signal for signal in signals}
    return [_family(signal) for signal in by_name.values()]


def _family(signal: Signal | OwnSignal) -> Family:
    bounds = () if isinstance(signal, OwnSignal) else signal.bounds
    values = tuple((*ATTRIBUTES[name].values, "0")[0] for name in signal.attributes)
    histogram = HistogramPoint(counts=[1] * (len(bounds) + 1), sum=1.5, count=len(bounds) + 1)
    return Family(
        name=signal.name,
        prometheus_name=signal.prometheus_name,
        instrument=signal.instrument if isinstance(signal, OwnSignal) else signal.instrument.otel,
        unit=signal.unit,
        description=signal.description,
        attributes=signal.attributes,
        bounds=bounds,
        has_sum=isinstance(signal, OwnSignal) or signal.has_sum,
        points={values: histogram if bounds else 1.5},
    )
