"""Names and series of the metrics in summary mode, in which the ranks and environments of a relay are one.

Counters, histograms and states are added up under their own name. A gauge of more than :data:`MANY` ranks or
environments becomes its minimum, median and maximum and the numbers of the worst rank and environment, under names of
their own: a query for the gauge, which may add up or average, finds nothing instead of a wrong number. The worst is a
value and no attribute, since an attribute that changes makes a new series each time.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final

from esper_otel.signals.cardinality import PLANNED, cardinalities
from esper_otel.signals.names import prometheus_name
from esper_otel.signals.own import OwnSignal
from esper_otel.signals.registry import Signal

PARTS: Final = ("rank", "env_id")
"""Attributes that tell many alike parts of a run apart, by their number. A slot has a place in its host and stays."""

MANY: Final = 4
"""Ranks or environments up to which a gauge stays whole: its summary would have as many series."""

STATISTICS: Final = {"min": "Smallest", "median": "Median", "max": "Largest"}
"""Suffix of the name, and word of the description."""

WORST: Final = {"rank": "worst_rank", "env_id": "worst_env"}
"""Suffix of the name of the number of the worst one."""

NOUNS: Final = {"rank": "rank", "env_id": "environment"}


def folded(attributes: Collection[str], instrument: str, numbers: Mapping[str, int]) -> tuple[str, ...]:
    """The attributes of a metric that its summary is over; ``numbers``: known ranks and environments."""
    least = MANY if instrument == "gauge" else 1
    return tuple(part for part in PARTS if part in attributes and numbers.get(part, 0) > least)


def may_be_summarised(signal: Signal | OwnSignal) -> bool:
    """Return True for a gauge that a relay of many ranks or environments exports as a summary."""
    is_gauge = isinstance(signal, Signal) and signal.instrument.otel == "gauge"
    return is_gauge and not set(PARTS).isdisjoint(signal.attributes)


@lru_cache(8_192)
def summary_names(name: str, unit: str, suffix: str) -> tuple[str, str, str]:
    """Name, unit and Prometheus name of a part of a gauge's summary; a ratio's unit belongs to its name's end."""
    own = "" if unit == "1" or suffix in WORST.values() else unit
    return f"{name}_{suffix}", own, prometheus_name(f"{name}_{suffix}", own, "gauge")


def summary_series(
    signals: Iterable[Signal], whole: Collection[str], planned: Mapping[str, int] = PLANNED, ranks: int = 1
) -> dict[str, int]:
    """Planned series of a relay of ``ranks`` ranks in summary mode, by metric.

    ``whole``: metrics that are not summarised. ``planned``: as in :func:`esper_otel.signals.cardinality.cardinality`.
    """
    declared = list(signals)
    by_name = {signal.name: signal for signal in declared}
    sizes = {**planned, "rank": ranks}
    found: dict[str, int] = {}
    for name, one in cardinalities(declared, planned).items():
        signal = by_name[name]
        parts = () if name in whole else folded(signal.attributes, signal.instrument.otel, sizes)
        found[name] = ranks * one.planned_series // math.prod(sizes[part] for part in parts)
        if parts and signal.instrument.otel == "gauge":
            found[name] *= len(STATISTICS) + len(parts)
    return found
