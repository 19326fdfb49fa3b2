"""Result of a collection: metric families with their points, independent of any library.

The scrape endpoint and the OTLP exporter both translate these, so a number cannot differ between the two.
"""

from __future__ import annotations

import msgspec

AttributeValues = tuple[str, ...]
"""Values of a family's attributes in the family's order; an empty string stands for an absent attribute."""


class HistogramPoint(msgspec.Struct):
    """A distribution: ``counts`` per bucket (one more than there are bounds, not cumulative), sum and count.

    The sum never falls: an observation below 0 adds nothing to it.
    """

    counts: list[int]
    sum: float = 0.0
    count: int = 0


class Exemplar(msgspec.Struct, frozen=True):
    """One value in a bucket of a histogram, with its time (Unix ns) and the span that it belongs to."""

    value: float
    timestamp_ns: int
    trace_id: int
    span_id: int


BucketExemplars = dict[AttributeValues, dict[int, Exemplar]]
"""Exemplar by attribute values and by the index of its bucket."""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """One metric with all its points.

    Attributes:
        instrument: gauge, counter, updowncounter or histogram.
        bounds: upper bounds of a histogram's buckets.
        has_sum: whether a histogram's sum may be shown; not where observations may be negative.
        points: value by attribute values; floats are finite.
        exemplars: of a histogram, at most one for each bucket.
    """

    name: str
    prometheus_name: str
    instrument: str
    unit: str
    description: str
    attributes: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    has_sum: bool = True
    points: dict[AttributeValues, float | HistogramPoint]
    exemplars: BucketExemplars = {}
