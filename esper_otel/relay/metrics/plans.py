"""Effects of each event on the metrics, compiled once per event class from the registry.

Counters, histograms and violations act when the event arrives. Last values do not: the event itself is kept and its
fields are read at collection time, so the cost of an event does not grow with the number of its gauges. Fields of a
dearer tier are measured every N batches only, and some maps hold another part of their keys in each event; of both the
last measured value is kept instead of the last event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from esper_otel.events.declare import Event, Instrument, Tier
from esper_otel.events.vocabulary import PARTIAL_KEYS
from esper_otel.signals.registry import SIGNALS, Signal

Values = Iterator[tuple[str, Any]]
Reader = Callable[[Event], Values]
"""Yields (map key or '', raw value) for every measured value of a signal in an event."""


def reader_of(path: tuple[str, ...]) -> Reader:
    """Reader of a signal's values in an event."""
    if not path:
        return _once
    if len(path) == 1:
        return _field_reader(path[0])
    if path[1:] == ("*",):
        return _map_reader(path[0])
    return _struct_map_reader(path[0], path[2])


def _once(_: Event) -> Values:
    yield "", 1


def _field_reader(name: str) -> Reader:
    def read(event: Event) -> Values:
        value = getattr(event, name)
        if value is not None:
            yield "", value

    return read


def _map_reader(name: str) -> Reader:
    def read(event: Event) -> Values:
        entries = getattr(event, name)
        if entries:
            for key, value in entries.items():
                if isinstance(value, tuple):
                    yield from ((key, one) for one in value)
                elif value is not None:
                    yield key, value

    return read


def _struct_map_reader(name: str, inner: str) -> Reader:
    def read(event: Event) -> Values:
        entries = getattr(event, name)
        if entries:
            for key, entry in entries.items():
                value = getattr(entry, inner)
                if value is not None:
                    yield key, value

    return read


class Projected(msgspec.Struct, frozen=True):
    """A signal with the way to read it."""

    signal: Signal
    read: Reader
    fields: tuple[str, ...]
    """Event fields whose values are attributes, in the order of the signal's attributes."""

    names: tuple[str, ...]
    """The attributes' names for those fields."""


class Plan(msgspec.Struct, frozen=True):
    """All effects of one event class."""

    immediate: tuple[Projected, ...]
    held: tuple[Projected, ...]
    latest: dict[tuple[str, ...], tuple[Projected, ...]]
    """Signals read from the latest event, grouped by the fields that are their attributes."""


_LATEST = {Instrument.GAUGE, Instrument.STATE, Instrument.TIMESTAMP}


def _plan(signals: list[Projected]) -> Plan:
    immediate, held = [], []
    latest: dict[tuple[str, ...], list[Projected]] = {}
    for projected in signals:
        if projected.signal.instrument not in _LATEST:
            immediate.append(projected)
        elif projected.signal.tier is Tier.LOW and projected.signal.key not in PARTIAL_KEYS:
            latest.setdefault(projected.fields, []).append(projected)
        else:
            held.append(projected)
    return Plan(tuple(immediate), tuple(held), {fields: tuple(group) for fields, group in latest.items()})


def compile_plans(signals: tuple[Signal, ...] = SIGNALS) -> dict[type[Event], Plan]:
    """The plan of every event class that feeds a metric."""
    grouped: dict[type[Event], list[Projected]] = {}
    for signal in signals:
        projected = Projected(
            signal,
            reader_of(signal.path),
            tuple(field for field, _ in signal.attribute_fields),
            tuple(name for _, name in signal.attribute_fields),
        )
        grouped.setdefault(signal.event, []).append(projected)
    return {event: _plan(group) for event, group in grouped.items()}
