"""Accumulated metrics: counters, running totals, histograms and the maxima of the last minute, as plain numbers."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Container, Iterable
from typing import Any, Final

import msgspec

from esper_otel.events.declare import Instrument
from esper_otel.events.vocabulary import TRANSITIONS
from esper_otel.relay.metrics.families import AttributeValues, HistogramPoint
from esper_otel.signals.attributes import bound_of
from esper_otel.signals.registry import Signal

MAXIMUM_WINDOW_NS: Final = 60_000_000_000
"""Window of a MAXIMUM: at least four scrape intervals of 15 s, so that every reader sees the same value."""

ZERO_COMBINATIONS: Final = 64
"""A counter is created at 0 for every combination of its attributes' values, up to this many."""

LARGEST_TERM: Final = 1e300
"""What a larger number adds to a sum: 100 million of them still make a finite one, which a checkpoint can hold."""

Points = dict[AttributeValues, float | HistogramPoint]
Action = Callable[[Signal, AttributeValues, Any, int], None]


def finite(value: Any, scale: float = 1.0) -> float | None:
    """``value`` as a finite float times ``scale``, or None: the one gate in front of every number that is exported."""
    try:
        number = float(value) * scale
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _term(number: float) -> float:
    return number if -LARGEST_TERM <= number <= LARGEST_TERM else math.copysign(LARGEST_TERM, number)


def _copy(point: HistogramPoint) -> HistogramPoint:
    """Immutable copy of a point: it is written out while further observations arrive."""
    return HistogramPoint(counts=point.counts.copy(), sum=point.sum, count=point.count)


class Running(msgspec.Struct):
    """A total that its producer keeps and may start again from 0."""

    last: float = 0.0
    before: float = 0.0


class Accumulators:
    """Every instrument whose value depends on more than the last event."""

    def __init__(self) -> None:
        """Start without counts."""
        self._counters: dict[str, dict[AttributeValues, float]] = {}
        self._totals: dict[str, dict[AttributeValues, Running]] = {}
        self._histograms: dict[str, dict[AttributeValues, HistogramPoint]] = {}
        self._maxima: dict[str, dict[AttributeValues, deque[tuple[int, float]]]] = {}
        self.actions: dict[Instrument, Action] = {
            Instrument.COUNTER: self._count,
            Instrument.TOTAL: self._total,
            Instrument.HISTOGRAM: self._record,
            Instrument.MAXIMUM: self._maximum,
            Instrument.VIOLATIONS: self._violation,
            Instrument.NONFINITE: self._nonfinite,
        }

    def create_zeros(
        self, scope: AttributeValues, signals: Iterable[Signal], never: Container[AttributeValues] = ()
    ) -> None:
        """Create those of ``signals`` that are counters with known attribute values, at 0, for a group and rank.

        ``never``: values that the producer never sends.
        """
        for signal in signals:
            if signal.instrument in {Instrument.COUNTER, Instrument.VIOLATIONS, Instrument.NONFINITE}:
                for rest in zero_combinations(signal.attributes[len(scope) :]):
                    if rest not in never:
                        self._counters.setdefault(signal.name, {}).setdefault((*scope, *rest), 0.0)

    def points(self, signal: Signal, now_ns: int) -> Points:
        """Points of one metric; ``now_ns`` ends the last minute."""
        match signal.instrument:
            case Instrument.HISTOGRAM:
                return {v: _copy(point) for v, point in self._histograms.get(signal.name, {}).items()}
            case Instrument.MAXIMUM:
                return self._window_maxima(signal.name, now_ns)
            case Instrument.TOTAL:
                return {v: r.before + r.last for v, r in self._totals.get(signal.name, {}).items()}
            case _:
                return dict(self._counters.get(signal.name, {}))

    def _count(self, signal: Signal, values: AttributeValues, value: Any, _: int) -> None:
        number = finite(value, signal.scale)
        if number is not None and number >= 0:
            self.add(signal, values, _term(number))

    def _violation(self, signal: Signal, values: AttributeValues, value: Any, _: int) -> None:
        number = finite(value)
        severity = signal.threshold.severity_of(number) if signal.threshold and number is not None else None
        self._exist(signal, values, "critical", "warning")
        if severity is not None:
            self.add(signal, (*values, severity.value), 1.0)

    def _nonfinite(self, signal: Signal, values: AttributeValues, value: Any, _: int) -> None:
        self._exist(signal, values, "nan", "inf")
        if isinstance(value, float) and not math.isfinite(value):
            self.add(signal, (*values, "nan" if math.isnan(value) else "inf"), 1.0)

    def _exist(self, signal: Signal, values: AttributeValues, *last: str) -> None:
        """Create counters at 0 with the first healthy value: of an open attribute nothing creates them before."""
        if (*values, last[0]) not in self._counters.get(signal.name, ()):
            points = self._counters.setdefault(signal.name, {})
            for one in last:
                points.setdefault((*values, one), 0.0)

    def add(self, signal: Signal, values: AttributeValues, amount: float) -> None:
        """Add to a counter; ``amount`` is finite and not negative."""
        try:
            self._counters[signal.name][values] += amount
        except KeyError:
            self._counters.setdefault(signal.name, {})[values] = amount

    def _total(self, signal: Signal, values: AttributeValues, value: Any, _: int) -> None:
        number = finite(value, signal.scale)
        if number is None or number < 0:
            return
        running = self._totals.setdefault(signal.name, {}).setdefault(values, Running())
        if number < running.last:
            running.before += running.last
        running.last = _term(number)

    def _record(self, signal: Signal, values: AttributeValues, value: Any, _: int) -> None:
        number = finite(value, signal.scale)
        if number is None:
            return
        points = self._histograms.setdefault(signal.name, {})
        point = points.get(values)
        if point is None:
            point = points[values] = HistogramPoint(counts=[0] * (len(signal.bounds) + 1))
        point.counts[bisect_left(signal.bounds, number)] += 1
        if signal.has_sum and number > 0:
            point.sum += _term(number)
        point.count += 1

    def _maximum(self, signal: Signal, values: AttributeValues, value: Any, timestamp_ns: int) -> None:
        number = finite(value, signal.scale)
        if number is None:
            return
        # A falling queue: what is older and smaller than a newer value can never be the maximum again.
        window = self._maxima.setdefault(signal.name, {}).setdefault(values, deque())
        while window and window[-1][1] <= number:
            window.pop()
        window.append((timestamp_ns, number))
        while window[0][0] < timestamp_ns - MAXIMUM_WINDOW_NS:
            window.popleft()

    def _window_maxima(self, name: str, now_ns: int) -> Points:
        found: Points = {}
        for values, window in self._maxima.get(name, {}).items():
            # What lies far ahead was recorded before the clock was set back.
            recent = [number for at, number in window if abs(at - now_ns) <= MAXIMUM_WINDOW_NS]
            if recent:
                found[values] = max(recent)
        return found

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return {
            "counters": to_pairs(self._counters),
            "totals": to_pairs(self._totals),
            "histograms": to_pairs(self._histograms),
            "maxima": {n: [[v, list(w)] for v, w in p.items()] for n, p in self._maxima.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot.

        Raises:
            msgspec.ValidationError, KeyError: it is of another version.
        """
        self._counters = from_pairs(state["counters"], float)
        self._totals = from_pairs(state["totals"], Running)
        self._histograms = from_pairs(state["histograms"], HistogramPoint)
        self._maxima = {
            name: {tuple(values): deque((at, number) for at, number in window) for values, window in points}
            for name, points in state["maxima"].items()
        }


def zero_combinations(attributes: tuple[str, ...]) -> list[AttributeValues]:
    """The attribute values at which a counter exists before its first event; empty if they are unknown."""
    if attributes == ("from_stage", "to_stage"):
        return list(TRANSITIONS)
    declared = [bound_of(name).values for name in attributes]
    if not all(declared):
        return []
    combinations = list(itertools.islice(itertools.product(*declared), ZERO_COMBINATIONS + 1))
    return combinations if len(combinations) <= ZERO_COMBINATIONS else []


def to_pairs(metrics: dict[str, dict[AttributeValues, Any]]) -> dict[str, list[list[Any]]]:
    """Points by attribute values as JSON can hold them: tuples are no keys there."""
    return {
        name: [[values, msgspec.to_builtins(point)] for values, point in points.items()]
        for name, points in metrics.items()
    }


def from_pairs(state: dict[str, list[list[Any]]], kind: type[Any]) -> dict[str, dict[AttributeValues, Any]]:
    """The inverse of :func:`to_pairs`."""
    return {
        name: {tuple(values): msgspec.convert(point, kind) for values, point in points}
        for name, points in state.items()
    }
