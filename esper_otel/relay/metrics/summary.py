"""Summary mode: the ranks and environments of a relay as one, but for the metrics that alerts ask for.

At thousands of ranks nobody looks at a thousand series of each. What is summarised is in the log and in the archive,
and in the state of the metrics too: a relay that starts again may export everything.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Final

import msgspec

from esper_otel.alerts.needed import NEEDED
from esper_otel.alerts.promql import BY_NAME
from esper_otel.relay.metrics.families import AttributeValues, Exemplar, Family, HistogramPoint
from esper_otel.relay.options import ALL, SUMMARY
from esper_otel.signals.summary import NOUNS, STATISTICS, WORST, folded, summary_names

VARIABLE: Final = "ESPER_OTEL_METRICS"

Pick = Callable[[AttributeValues], AttributeValues]
"""Some of the attribute values of a point."""

_Point = float | HistogramPoint


def metrics_option(option: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """``all`` or ``summary``; what the command line leaves out, a variable tells.

    Raises:
        ValueError: there is no such choice.
    """
    chosen = (option or environment.get(VARIABLE, "")).strip().lower() or ALL
    if chosen not in (ALL, SUMMARY):
        raise ValueError(f"--metrics ({VARIABLE}): expected {ALL} or {SUMMARY}, not {chosen[:80]!r}")
    return chosen


def summarised(families: list[Family], numbers: Mapping[str, int]) -> tuple[list[Family], int]:
    """The summary of ``families``, and the number of their points that are not in it.

    ``numbers``: known ranks and environments, by attribute.
    """
    names = {family.name for family in families}
    found: list[Family] = []
    replaced = 0
    for family in families:
        parts = () if family.name in NEEDED else folded(family.attributes, family.instrument, numbers)
        summary = [*_summary(family, parts)] if parts else [family]
        if len(summary) > 1 and not names.isdisjoint(one.name for one in summary):  # names of a user's own
            summary, parts = [family], ()
        replaced += len(family.points) if parts else 0
        found += summary
    return found, replaced


def _summary(family: Family, parts: tuple[str, ...]) -> Iterator[Family]:
    stays = tuple(name for name in family.attributes if name not in parts)
    rest_of = _pick(family.attributes, stays)
    if family.instrument == "gauge":
        yield from _statistics(family, stays, parts, rest_of)
        return
    sums: dict[AttributeValues, _Point] = {}
    exemplars: defaultdict[AttributeValues, dict[int, Exemplar]] = defaultdict(dict)
    for values, point in family.points.items():
        rest = rest_of(values)
        sums[rest] = _plus(sums[rest], point) if rest in sums else point
        if family.exemplars:
            exemplars[rest] |= family.exemplars.get(values, {})
    kept = {rest: found for rest, found in exemplars.items() if found}
    yield msgspec.structs.replace(family, attributes=stays, points=sums, exemplars=kept)


def _pick(attributes: tuple[str, ...], chosen: tuple[str, ...]) -> Pick:
    places = [attributes.index(name) for name in chosen]
    if len(places) > 1:
        return itemgetter(*places)
    return lambda values: tuple(values[place] for place in places)


def _plus(one: _Point, other: _Point) -> _Point:
    if isinstance(one, HistogramPoint) and isinstance(other, HistogramPoint):
        counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
        return HistogramPoint(counts=counts, sum=one.sum + other.sum, count=one.count + other.count)
    assert isinstance(one, float)
    assert isinstance(other, float)
    return one + other


def _statistics(family: Family, stays: tuple[str, ...], parts: tuple[str, ...], rest_of: Pick) -> Iterator[Family]:
    groups: defaultdict[AttributeValues, list[tuple[float, AttributeValues]]] = defaultdict(list)
    own_of = _pick(family.attributes, parts)
    for values, point in family.points.items():
        assert isinstance(point, int | float)
        groups[rest_of(values)].append((point, own_of(values)))
    for group in groups.values():
        group.sort()
    over = " and ".join(f"{NOUNS[part]}s" for part in parts)
    columns: dict[str, dict[AttributeValues, float]] = {
        "min": {rest: group[0][0] for rest, group in groups.items()},
        "median": {rest: _median(group) for rest, group in groups.items()},
        "max": {rest: group[-1][0] for rest, group in groups.items()},
    }
    for suffix, words in STATISTICS.items():
        yield _named(family, suffix, stays, columns[suffix], f"{words} over the {over}: {family.description}")
    worst = {rest: _worst(family.name, group) for rest, group in groups.items()}
    for index, part in enumerate(parts):
        numbers = {rest: float(one[index]) for rest, one in worst.items() if one[index].isdecimal()}
        if numbers:
            words = f"Number of the worst {NOUNS[part]}: {family.description}"
            yield _named(family, WORST[part], stays, numbers, words)


def _median(group: list[tuple[float, AttributeValues]]) -> float:
    return group[(len(group) - 1) // 2][0] / 2 + group[len(group) // 2][0] / 2  # each half: their sum may be infinite


def _worst(name: str, group: list[tuple[float, AttributeValues]]) -> AttributeValues:
    side = _worst_side(name)
    if side == "":
        median = _median(group)
        side = "max" if group[-1][0] / 2 - median / 2 >= median / 2 - group[0][0] / 2 else "min"
    return group[-1 if side == "max" else 0][1]


@lru_cache(1_024)
def _worst_side(name: str) -> str:
    """``max`` or ``min`` where the metric has limits on that side alone; else empty, and the farthest is the worst."""
    signal = BY_NAME.get(name)
    limits = signal.limits if signal is not None else None
    sides = {key.rpartition("_")[2] for key in limits.levels} if limits is not None else set()
    return {"above": "max", "below": "min"}[sides.pop()] if len(sides) == 1 else ""


def _named(
    family: Family, suffix: str, attributes: tuple[str, ...], points: Mapping[AttributeValues, float], description: str
) -> Family:
    name, unit, prometheus = summary_names(family.name, family.unit, suffix)
    return Family(
        name=name,
        prometheus_name=prometheus,
        instrument="gauge",
        unit=unit,
        description=description,
        attributes=attributes,
        points=dict(points),
    )
