"""Counters and histograms as deltas since the last delivery, for back ends that accept nothing else.

What was delivered is remembered, also over a restart of the relay, so that a delivery that fails is contained in the
next one and a relay that starts again neither sends anything twice nor leaves anything out. Only a relay that is killed
between a delivery and the storing of it sends that interval once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from esper_otel.relay.metrics.accumulators import from_pairs, to_pairs
from esper_otel.relay.metrics.families import AttributeValues, Family, HistogramPoint
from esper_otel.signals import own
from esper_otel.signals.hardware import HARDWARE_SIGNALS

CUMULATIVE: Final = frozenset({"gauge", "updowncounter"})
"""Instruments whose current value is sent in both cases."""

_FROM_LOG: Final = frozenset(
    signal.name
    for signal in (
        own.EVENTS,
        own.RECORDS,
        own.REJECTED,
        own.UNKNOWN_FIELDS,
        own.MISTYPED_FIELDS,
        own.NONFINITE,
        own.FOLDED,
    )
)
_OF_DRIVER: Final = frozenset(signal.name for signal in HARDWARE_SIGNALS)
_OF_PROCESS: Final = frozenset(signal.name for signal in own.OWN_SIGNALS) - _FROM_LOG
"""Counters that start at 0 with each relay; those of the driver started long before."""

Totals = dict[str, dict[AttributeValues, HistogramPoint]]
"""Totals by metric and attribute values; a counter is a histogram without buckets."""


class Interval(msgspec.Struct, frozen=True):
    """Contents of one delivery.

    Attributes:
        families: counters and histograms with what was added, the others as they are.
        totals: what is delivered when this is.
        start_ns: Unix time of the delivery before it.
        end_ns: Unix time at which the values are true.
    """

    families: list[Family]
    totals: Totals
    start_ns: int
    end_ns: int


class Deltas:
    """The totals that were delivered."""

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        """Continue from an earlier relay's :attr:`state`.

        Raises:
            msgspec.ValidationError, KeyError, TypeError: it is none.
        """
        self._delivered: Totals = from_pairs(state["totals"], HistogramPoint) if state else {}
        self._until_ns: int = state["until_ns"] if state else 0

    @property
    def state(self) -> dict[str, Any]:
        """To be stored; plain JSON. Counters of this process are left out: the next one begins at 0."""
        kept = {name: points for name, points in self._delivered.items() if name not in _OF_PROCESS}
        return {"totals": to_pairs(kept), "until_ns": self._until_ns}

    def interval(self, families: Iterable[Family], *, began_ns: int, now_ns: int) -> Interval:
        """Everything since the last delivery; ``began_ns`` is the time of the run's first event."""
        totals: Totals = {}
        added = [self._added(family, totals) for family in families]
        start_ns = min(self._until_ns or began_ns, now_ns)
        return Interval([family for family in added if family.points], totals, start_ns, now_ns)

    def deliver(self, interval: Interval) -> None:
        """Record that ``interval`` was accepted, or never will be."""
        for name, points in interval.totals.items():
            self._delivered.setdefault(name, {}).update(points)
        self._until_ns = max(self._until_ns, interval.end_ns)  # a replay that starts over goes back in time

    def _added(self, family: Family, totals: Totals) -> Family:
        if family.instrument in CUMULATIVE:
            return family
        delivered = self._delivered.get(family.name, {})
        points: dict[AttributeValues, float | HistogramPoint] = {}
        for values, value in family.points.items():
            total = value if isinstance(value, HistogramPoint) else HistogramPoint(counts=[], sum=value)
            added = self._difference(family.name, total, delivered.get(values))
            if added is not None:
                totals.setdefault(family.name, {})[values] = total
                points[values] = added if isinstance(value, HistogramPoint) else added.sum
        return msgspec.structs.replace(family, points=points)

    def _difference(self, name: str, total: HistogramPoint, before: HistogramPoint | None) -> HistogramPoint | None:
        """Increase since ``before``; None for no increase, and below the totals of an earlier relay."""
        if before is None:
            return HistogramPoint(counts=[0] * len(total.counts)) if name in _OF_DRIVER else total
        if len(before.counts) != len(total.counts):  # other bounds: an upgrade
            return total
        added = HistogramPoint(
            counts=[now - then for now, then in zip(total.counts, before.counts, strict=True)],
            sum=total.sum - before.sum,
            count=total.count - before.count,
        )
        if added.sum < 0 or min(added.counts, default=0) < 0:
            return total if name in _OF_PROCESS else None
        return added if added.sum or added.count else None
