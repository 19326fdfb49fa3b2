"""The metric state of a run: events go in, families come out, and all of it survives a restart.

The state is our own and not the SDK's because it must be stored with the position in the log: only then does a relay
that was killed neither lose nor count twice. It is handed to OpenTelemetry's and Prometheus' own exporters.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from esper_otel.events import EventDeclared, TrainingStarted
from esper_otel.events.declare import Event, Instrument
from esper_otel.relay.metrics.accumulators import Accumulators, Points, from_pairs, to_pairs
from esper_otel.relay.metrics.attribute_limits import AttributeLimits
from esper_otel.relay.metrics.bound_plans import Act, BoundPlans
from esper_otel.relay.metrics.families import AttributeValues, Family
from esper_otel.relay.metrics.last_values import LastValues
from esper_otel.relay.metrics.plans import compile_plans
from esper_otel.relay.metrics.zeros import NEVER_OF_ESPER_LITE, that_begin_with, that_begin_with_esper_lites
from esper_otel.signals import custom, own
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
        """An empty state; the first event of a class creates counters at 0, for its group and rank."""
        self.limits = AttributeLimits()
        self.own: dict[str, dict[AttributeValues, float]] = {}
        self.started_ns = 0
        self.last_ns = 0
        plans = self._plans = compile_plans()
        self._sums = Accumulators()
        self._last = LastValues(plans, self.limits)
        self._bound_plans = BoundPlans(plans, self.limits, self._sums, self._last)
        self._bound: dict[tuple[str, int, type[Event]], _Bound] = {}

    def apply(self, event: Event, group_id: str, rank: int, timestamp_ns: int, *, is_foreign: bool = False) -> None:
        """Apply one event to the metrics. ``timestamp_ns`` is its Unix time; ``is_foreign``: esper-lite wrote it."""
        bound = self._bound.get((group_id, rank, type(event)))
        if bound is None:
            bound = self._bind(group_id, rank, type(event), is_foreign=is_foreign)
        scope, counted, actions = bound
        if not self.started_ns:
            self.started_ns = timestamp_ns
        if timestamp_ns > self.last_ns:
            self.last_ns = timestamp_ns
        self.add(own.EVENTS, counted)
        for act in actions:
            act(event, timestamp_ns)
        if type(event) is EventDeclared:
            self._sums.create_zeros(scope, custom.signals_of(event.declared))
        elif type(event) is TrainingStarted:
            self._configure(scope[0], event)

    def _configure(self, group: str, event: TrainingStarted) -> None:
        """Keep what a group began with; what it began with before a resume is over."""
        said = tuple(self.limits.bound(name, getattr(event, name)) for name in own.CONFIGURED)
        others = {key: one for key, one in self.own.get(own.RUN_INFO.name, {}).items() if key[0] != group}
        self.own[own.RUN_INFO.name] = others | {(group, *said): 1.0}

    def _bind(self, group_id: str, rank: int, event_class: type[Event], *, is_foreign: bool) -> _Bound:
        if len(self._bound) >= MAX_BOUND:
            self._bound.clear()
        scope = (self.limits.bound("group_id", group_id), self.limits.bound("rank", rank))
        if event_class not in self._plans and (signals := custom.signals_of(event_class.event_type)):
            self._plans.update(compile_plans(signals))
        if is_foreign:
            self._sums.create_zeros(scope, that_begin_with_esper_lites(event_class), NEVER_OF_ESPER_LITE)
        else:
            self._sums.create_zeros(scope, that_begin_with(event_class))
        actions = self._bound_plans.bind(event_class, scope)
        bound = self._bound[group_id, rank, event_class] = (scope, (*scope, event_class.event_type), actions)
        return bound

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
        """Every family with its points. ``now_ns`` ends the last minute."""
        gauges = self._last.points()
        families = []
        for signal in (*_DISTINCT, *custom.signals()):
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
            "custom": [[event.declared, event.declaration] for event in custom.learned()],
            "started_ns": self.started_ns,
            "last_ns": self.last_ns,
            "limits": self.limits.snapshot(),
            "own": to_pairs(self.own),
            "sums": self._sums.snapshot(),
            "last": self._last.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot that was stored as JSON.

        Raises:
            msgspec.ValidationError, KeyError: the snapshot is of another version.
        """
        self.started_ns, self.last_ns = state["started_ns"], state["last_ns"]
        self.limits.restore(state["limits"])
        self._bound_plans.forget()
        self._bound.clear()
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
        has_sum=signal.has_sum,
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
