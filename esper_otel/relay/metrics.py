"""The metric state of a run: events go in, families come out, and all of it survives a restart.

The state is our own and not the SDK's because it must be stored with the position in the log: only then does a relay
that was killed neither lose nor count twice. It is handed to OpenTelemetry's and Prometheus' own exporters.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from esper_otel.events.declare import Domain, Event, Instrument
from esper_otel.relay.accumulators import Accumulators, Points, from_pairs, to_pairs
from esper_otel.relay.bound_plans import Act, BoundPlans
from esper_otel.relay.families import AttributeValues, Family
from esper_otel.relay.last_values import LastValues
from esper_otel.relay.limits import AttributeLimits
from esper_otel.relay.projection import compile_plans
from esper_otel.signals import own
from esper_otel.signals.registry import SIGNALS, Signal

MAX_BOUND: Final = 20_000
"""Groups and ranks times classes of events whose actions are remembered."""

_Bound = tuple[tuple[str, str], AttributeValues, tuple[Act, ...]]
"""Scope of an event, the attributes under which it is counted, and what it does."""

_LAST_VALUES = {Instrument.GAUGE, Instrument.STATE, Instrument.TIMESTAMP}


class MetricState:
    """All metrics of a run.

    Attributes:
        limits: the bounds of the attributes.
        own: points of the relay's own metrics by name.
        started_ns: time of the first event, Unix ns; 0 before it.
        last_ns: time of the newest event, Unix ns.
    """

    def __init__(self) -> None:
        """An empty state; the first event of a group and rank creates its counters at 0."""
        self.limits = AttributeLimits()
        self.own: dict[str, dict[AttributeValues, float]] = {}
        self.started_ns = 0
        self.last_ns = 0
        plans = compile_plans()
        self._sums = Accumulators()
        self._last = LastValues(plans, self.limits)
        self._bound_plans = BoundPlans(plans, self.limits, self._sums, self._last)
        self._scopes: set[tuple[str, str]] = set()
        self._bound: dict[tuple[str, int, type[Event]], _Bound] = {}

    def apply(self, event: Event, group_id: str, rank: int, timestamp_ns: int) -> None:
        """Let one event act on the metrics. ``timestamp_ns`` is its Unix time."""
        bound = self._bound.get((group_id, rank, type(event))) or self._bind(group_id, rank, type(event))
        scope, counted, actions = bound
        if scope not in self._scopes:
            self._create_zeros(event, scope)
        if not self.started_ns:
            self.started_ns = timestamp_ns
        if timestamp_ns > self.last_ns:
            self.last_ns = timestamp_ns
        self.add(own.EVENTS, counted)
        for act in actions:
            act(event, timestamp_ns)

    def _bind(self, group_id: str, rank: int, event_class: type[Event]) -> _Bound:
        if len(self._bound) >= MAX_BOUND:
            self._bound.clear()
        scope = (self.limits.bound("group_id", group_id), self.limits.bound("rank", rank))
        actions = self._bound_plans.bind(event_class, scope)
        bound = self._bound[group_id, rank, event_class] = (scope, (*scope, event_class.event_type), actions)
        return bound

    def _create_zeros(self, event: Event, scope: tuple[str, str]) -> None:
        """Counters begin at 0. What a run that names its groups says of itself as a whole begins no group's."""
        is_about_run = event.domain is Domain.ESPER and any(rank == scope[1] for _, rank in self._scopes)
        if not is_about_run:
            self._scopes.add(scope)
        self._sums.create_zeros(scope, Domain.ESPER if is_about_run else None)

    def add(self, signal: own.OwnSignal, values: AttributeValues = (), amount: float = 1.0) -> None:
        """Add to one of the relay's own counters."""
        try:
            self.own[signal.name][values] += amount
        except KeyError:
            self.own.setdefault(signal.name, {})[values] = amount

    def note_nonfinite(self, event: Event) -> None:
        """Count the NaN and infinite values of an event that is known to hold some."""
        for name in event.__struct_fields__:
            bad = _nonfinite_values(getattr(event, name))
            if bad:
                self.add(own.NONFINITE, (event.event_type, self.limits.bound("field", name)), bad)

    def collect(self, now_ns: int) -> list[Family]:
        """Every family with its points. ``now_ns`` decides what the last minute is."""
        gauges = self._last.points()
        families = []
        for signal in _DISTINCT:
            points: Points
            if signal.instrument in _LAST_VALUES:
                points = dict(gauges.get(signal.name, {}))
            else:
                points = self._sums.points(signal, now_ns)
            if points:
                families.append(_family(signal, points))
        self.own[own.FOLDED.name] = {(name,): float(count) for name, count in self.limits.folded.items()}
        for own_signal in own.OWN_SIGNALS:
            if self.own.get(own_signal.name):
                families.append(_own_family(own_signal, dict(self.own[own_signal.name])))
        return families

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain JSON; :meth:`restore` takes it back."""
        return {
            "started_ns": self.started_ns,
            "last_ns": self.last_ns,
            "limits": self.limits.snapshot(),
            "scopes": sorted(self._scopes),
            "own": to_pairs(self.own),
            "sums": self._sums.snapshot(),
            "last": self._last.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot, as it comes back from JSON.

        Raises:
            msgspec.ValidationError, KeyError: the snapshot is of another version.
        """
        self.started_ns, self.last_ns = state["started_ns"], state["last_ns"]
        self.limits.restore(state["limits"])
        self._bound_plans.forget()
        self._bound.clear()
        self._scopes = {(group, rank) for group, rank in state["scopes"]}
        self.own = from_pairs(state["own"], float)
        self._sums.restore(state["sums"])
        self._last.restore(state["last"])


_DISTINCT = tuple({signal.name: signal for signal in SIGNALS}.values())
"""One signal for each metric: several events may feed one."""


def _nonfinite_values(value: Any) -> int:
    if isinstance(value, float):
        return int(not math.isfinite(value))
    if isinstance(value, dict):
        return sum(_nonfinite_values(entry) for entry in value.values())
    if isinstance(value, tuple | list):
        return sum(_nonfinite_values(entry) for entry in value)
    if isinstance(value, msgspec.Struct):
        return sum(_nonfinite_values(getattr(value, name)) for name in value.__struct_fields__)
    return 0


def _family(signal: Signal, points: Points) -> Family:
    return Family(
        name=signal.name,
        prometheus_name=signal.prometheus_name,
        instrument=signal.instrument.otel,
        unit=signal.unit,
        description=signal.description,
        attributes=signal.attributes,
        bounds=signal.bounds,
        points=points,
    )


def _own_family(signal: own.OwnSignal, points: Points) -> Family:
    return Family(
        name=signal.name,
        prometheus_name=signal.prometheus_name,
        instrument=signal.instrument,
        unit=signal.unit,
        description=signal.description,
        attributes=signal.attributes,
        points=points,
    )
