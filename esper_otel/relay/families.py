"""What a collection yields: metric families with their points, in no library's types.

The scrape endpoint and the OTLP exporter both translate these, so a number cannot differ between the two.
"""

from __future__ import annotations

import msgspec

AttributeValues = tuple[str, ...]
"""Values of a family's attributes in the family's order; an empty string stands for an absent attribute."""


class HistogramPoint(msgspec.Struct):
    """A distribution: ``counts`` per bucket (one more than there are bounds, not cumulative), sum and count."""

    counts: list[int]
    sum: float = 0.0
    count: int = 0


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One metric with all its points.

    Attributes:
        instrument: gauge, counter, updowncounter or histogram.
        bounds: upper bounds of a histogram's buckets.
        points: value by attribute values; floats are finite.
    """

    name: str
    prometheus_name: str
    instrument: str
    unit: str
    description: str
    attributes: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    points: dict[AttributeValues, float | HistogramPoint]
