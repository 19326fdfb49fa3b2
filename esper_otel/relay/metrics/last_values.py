"""The last values: kept as their events and read at collection."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any, Final

import msgspec

from esper_otel.events import EVENT_TYPES
from esper_otel.events.declare import Event, Instrument
from esper_otel.relay.metrics.accumulators import finite, from_pairs, to_pairs
from esper_otel.relay.metrics.attribute_limits import AttributeLimits
from esper_otel.relay.metrics.families import AttributeValues
from esper_otel.relay.metrics.plans import Plan, Projected, compile_plans
from esper_otel.signals import custom
from esper_otel.signals.attributes import bound_of
from esper_otel.signals.registry import Signal

Gauges = dict[str, dict[AttributeValues, float]]
Latest = dict[AttributeValues, tuple[Event, int]]


class LastValues:
    """Gauges, states and timestamps.

    A value that is absent from the latest event, or not finite there, is not exported: showing the last good one
    would look healthy. Signals of a dearer tier are measured now and then, and some maps part by part; of them the last
    measured value is held.
    """

    def __init__(self, plans: dict[type[Event], Plan], limits: AttributeLimits) -> None:
        """``plans`` say which fields of an event are read, ``limits`` bound their attributes."""
        self._plans = plans
        self._limits = limits
        self._held: Gauges = {}
        self._latest: dict[tuple[type[Event], tuple[str, ...]], Latest] = {}

    def latest(self, event_class: type[Event], fields: tuple[str, ...]) -> Latest:
        """The cell of the latest event of a class, with its Unix time in ns, by its attributes ``fields``."""
        return self._latest.setdefault((event_class, fields), {})

    def hold(self, signal: Signal, values: AttributeValues, value: Any) -> None:
        """Keep a value until it is measured again."""
        points = self._held.setdefault(signal.name, {})
        number = finite(value, signal.scale)
        if number is None:
            points.pop(values, None)
        else:
            points[values] = number

    def points(self) -> Gauges:
        """Points of every metric by its name."""
        gauges: Gauges = {name: dict(points) for name, points in self._held.items()}
        for (event_class, fields), latest in self._latest.items():
            for projected in self._plans[event_class].latest[fields]:
                points = gauges.setdefault(projected.signal.name, {})
                signal, path = projected.signal, projected.signal.path
                if signal.instrument is Instrument.TIMESTAMP:
                    points.update({values: timestamp_ns / 1e9 for values, (_, timestamp_ns) in latest.items()})
                elif signal.instrument is Instrument.GAUGE and len(path) == 1:
                    _read_field(path[0], signal.scale, latest, points)
                else:
                    for values, (event, _) in latest.items():
                        self._read(projected, values, event, points)
        return gauges

    def _read(
        self, projected: Projected, values: AttributeValues, event: Event, points: dict[AttributeValues, float]
    ) -> None:
        signal = projected.signal
        for key, value in projected.read(event):
            if signal.instrument is Instrument.STATE:
                full = self._limits.with_key(signal.key, values, key)
                points.update({(*full, name): number for name, number in self._states(signal, value).items()})
            elif (number := finite(value, signal.scale)) is not None:
                points[self._limits.with_key(signal.key, values, key)] = number

    def _states(self, signal: Signal, value: Any) -> dict[str, float]:
        attribute = bound_of(signal.attributes[-1])
        current = self._limits.bound(attribute.name, value)
        names = attribute.values if attribute.is_closed else (current,)
        return {name: float(name == current) for name in names}

    def snapshot(self) -> dict[str, Any]:
        """Everything as plain JSON; non-finite values are dropped, since they are not exported either."""
        return {
            "held": to_pairs(self._held),
            "latest": [
                [event.event_type, fields, values, timestamp_ns, _finite_only(msgspec.to_builtins(event))]
                for (_, fields), latest in self._latest.items()
                for values, (event, timestamp_ns) in latest.items()
            ],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot.

        Raises:
            msgspec.ValidationError, KeyError: it is of another version.
        """
        self._held = from_pairs(state["held"], float)
        for event_type, fields, values, timestamp_ns, data in state["latest"]:
            cls = EVENT_TYPES.get(event_type) or custom.class_named(event_type)
            if cls is None:
                raise KeyError(event_type)
            event = msgspec.convert(data, cls)
            if cls not in self._plans:
                self._plans.update(compile_plans(custom.signals_of(event_type)))
            if tuple(fields) not in self._plans[cls].latest:
                continue  # held by now, since another version stored it
            self.latest(type(event), tuple(fields))[tuple(values)] = (event, timestamp_ns)


def _read_field(name: str, scale: float, latest: Latest, points: dict[AttributeValues, float]) -> None:
    """Read the most common kind of signal: one number of an event. A run with many environments has thousands."""
    read = attrgetter(name)
    for values, (event, _) in latest.items():
        value = read(event)
        if value is not None and (number := finite(value, scale)) is not None:
            points[values] = number


_LEFT_OUT: Final = object()


def _finite_only(value: Any) -> Any:
    """``value`` without the entries that JSON could not bring back; a list that holds one is left out as a whole."""
    if isinstance(value, float) and not math.isfinite(value):
        return _LEFT_OUT
    if isinstance(value, dict):
        kept = {key: _finite_only(entry) for key, entry in value.items()}
        return {key: entry for key, entry in kept.items() if entry is not _LEFT_OUT}
    if isinstance(value, list | tuple):
        entries = [_finite_only(entry) for entry in value]
        return _LEFT_OUT if any(entry is _LEFT_OUT for entry in entries) else entries
    return value
