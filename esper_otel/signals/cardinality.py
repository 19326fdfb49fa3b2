"""Number of Prometheus series that a metric can have, and the budget for it.

Series are counted for one rank in one A/B group, since every metric of an event has the attributes ``group_id`` and
``rank``; a histogram counts as its buckets, ``+Inf``, sum and count. Two numbers matter:

* *planned*: with the environments, slots and devices of :data:`PLANNED`. Sizes of servers follow from it.
* *bound*: with every attribute at its declared bound. It is the most that a runaway producer can cost.

:func:`excess` compares both with :data:`BUDGET`; a test calls it, so that an attribute cannot slip in unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from esper_otel.events.declare import Instrument
from esper_otel.signals.attributes import ATTRIBUTES, BASE_ATTRIBUTES
from esper_otel.signals.hardware import GPU, HARDWARE_SIGNALS
from esper_otel.signals.registry import Signal

Factors = tuple[tuple[str, int], ...]
"""Attributes with the number of their values; the product is the number of a metric's points."""

PLANNED: Final[Mapping[str, int]] = {
    "env_id": 16,
    "slot": 4,
    "device": 1,
    "model": 2,
    "optimizer": 1,
    "tag": 32,
    "phase": 8,
    "sensor": 8,
    "gpu_unit": 16,
}
"""Values of the open attributes that no vocabulary lists, on the rank that capacity is planned for."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """Maximum number of series for one rank of one group.

    Attributes:
        metric: planned series of one metric.
        rank: planned series of all metrics.
        metric_bound: series of one metric with every attribute at its bound.
        rank_bound: series of all metrics with every attribute at its bound.
    """

    metric: int
    rank: int
    metric_bound: int
    rank_bound: int


BUDGET: Final = Budget(metric=600, rank=5_600, metric_bound=600_300, rank_bound=2_050_000)
"""``kasmina.seed_state`` sets the first and third: environments × slots × stages. The sums leave a tenth for growth."""


class Cardinality(msgspec.Struct, frozen=True, kw_only=True):
    """Number of series of one metric for one rank and group.

    Attributes:
        name: the metric.
        points: series of one combination of attribute values: 1, or those of a histogram.
        planned: attribute sizes on the planned rank.
        bound: attribute sizes at their bounds.
    """

    name: str
    points: int
    planned: Factors
    bound: Factors

    @property
    def planned_series(self) -> int:
        """Series on the planned rank."""
        return self.points * _product(self.planned)

    @property
    def bound_series(self) -> int:
        """Series when every attribute is at its bound."""
        return self.points * _product(self.bound)


def cardinality(signal: Signal, planned: Mapping[str, int] = PLANNED) -> Cardinality:
    """Count the series of ``signal``; ``planned`` gives the number of values of open attributes without vocabulary.

    Raises:
        KeyError: such an attribute is not in ``planned``.
    """
    attributes = [name for name in signal.attributes if name not in BASE_ATTRIBUTES]
    return Cardinality(
        name=signal.name,
        points=series_of_a_point(len(signal.bounds)) if signal.instrument is Instrument.HISTOGRAM else 1,
        planned=tuple((name, _planned(signal, name, planned)) for name in attributes),
        bound=tuple((name, _bound(signal, name)) for name in attributes),
    )


def cardinalities(signals: Iterable[Signal], planned: Mapping[str, int] = PLANNED) -> dict[str, Cardinality]:
    """Every metric by name; of several events that feed one metric the most costly counts."""
    found: dict[str, Cardinality] = {}
    for signal in signals:
        one = cardinality(signal, planned)
        if signal.name not in found or found[signal.name].bound_series < one.bound_series:
            found[signal.name] = one
    return found


def excess(signals: Iterable[Signal], budget: Budget = BUDGET) -> list[str]:
    """One message for each metric, and each sum, that exceeds ``budget``."""
    found = cardinalities(signals).values()
    problems = []
    for one in found:
        problems += _beyond(one.name, one.planned_series, budget.metric, "planned", _times(one.points, one.planned))
        problems += _beyond(one.name, one.bound_series, budget.metric_bound, "at most", _times(one.points, one.bound))
    total, bound = sum(one.planned_series for one in found), sum(one.bound_series for one in found)
    problems += _beyond("all metrics", total, budget.rank, "planned", "their sum")
    problems += _beyond("all metrics", bound, budget.rank_bound, "at most", "their sum")
    return problems


def series_of_a_gpu(planned: Mapping[str, int] = PLANNED) -> int:
    """Series that a relay adds for each GPU it samples; the attributes that identify the GPU multiply nothing."""
    total = 0
    for signal in HARDWARE_SIGNALS:
        if signal.attributes[: len(GPU)] == GPU:
            rest = [ATTRIBUTES[name] for name in signal.attributes[len(GPU) :]]
            total += math.prod(len(one.values) if one.values else planned[one.name] for one in rest)
    return total


def series_of_a_point(bounds: int) -> int:
    """Series of a histogram with ``bounds`` upper bounds: a bucket for each, ``+Inf``, sum and count."""
    return bounds + 3


def _planned(signal: Signal, name: str, planned: Mapping[str, int]) -> int:
    declared = ATTRIBUTES[name]
    if _is_current_name(signal, name):
        return 1
    return len(declared.values) if declared.values else planned[name]


def _bound(signal: Signal, name: str) -> int:
    declared = ATTRIBUTES[name]
    if _is_current_name(signal, name):
        return 1
    if name in {attribute for _, attribute in signal.attribute_fields}:
        return declared.limit + 2  # what is beyond the bound is 'other', what the event leaves out is empty
    return declared.limit + 1 if name == signal.key else declared.limit


def _is_current_name(signal: Signal, name: str) -> bool:
    """True if ``name`` is the current name of a state: of an open set the others are not exported."""
    is_own = signal.instrument is Instrument.STATE and name == signal.attributes[-1]
    return is_own and not ATTRIBUTES[name].is_closed


def _product(factors: Factors) -> int:
    return math.prod(size for _, size in factors)


def _times(points: int, factors: Factors) -> str:
    sizes = [f"{size} {name}" for name, size in factors]
    return " × ".join([*sizes, f"{points} series of a histogram"] if points > 1 else sizes)


def _beyond(name: str, series: int, allowed: int, manner: str, why: str) -> list[str]:
    if series <= allowed:
        return []
    advice = (
        "leave an attribute out, or raise BUDGET in esper_otel/signals/cardinality.py and docs/guides/scale.md with it"
    )
    return [f"{name}: {series:,} series a rank {manner} ({why}) where {allowed:,} are allowed; {advice}"]
