"""Fields for Weights & Biases and their names: the groups of the plan's Appendix F, from the registry.

W&B has no labels, so attributes become part of the name: the plan writes ``tamiyo/head_slot_entropy``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from esper_otel.events import BatchCompleted, EpisodeOutcome, EpochCompleted, InfrastructureSnapshot, PolicyUpdate
from esper_otel.events.declare import Event, Instrument
from esper_otel.relay.metrics.attribute_limits import AttributeLimits
from esper_otel.relay.metrics.plans import Reader, reader_of
from esper_otel.signals.registry import SIGNALS, Signal, declared_fields

Row = dict[str, float | int]

GROUPS: Final[dict[type[Event], str]] = {
    PolicyUpdate: "tamiyo",
    EpochCompleted: "tolaria",
    BatchCompleted: "tolaria",
    EpisodeOutcome: "simic",
    InfrastructureSnapshot: "infra",
}
"""The group that the plan puts an event's fields in."""

EXACT: Final = 2**53
"""Whole numbers up to here are the same in every JSON reader."""


class Column(msgspec.Struct, frozen=True):
    """A field with its name in W&B; ``{key}`` stands for the key of a map."""

    name: str
    read: Reader
    key: str | None


def columns_of(event: type[Event]) -> tuple[Column, ...]:
    """Every field of ``event`` that feeds a metric with a number, in order of declaration."""
    by_path: dict[tuple[str, ...], list[Signal]] = {}
    for signal in SIGNALS:
        if signal.event is event and signal.path and len(signal.path) < 3 and signal.instrument is not Instrument.STATE:
            by_path.setdefault(signal.path, []).append(signal)
    return tuple(
        Column(f"{GROUPS[event]}/{_name(event, path, signals)}", reader_of(path), signals[0].key)
        for path, signals in by_path.items()
    )


def _name(event: type[Event], path: tuple[str, ...], signals: list[Signal]) -> str:
    """The metric's own name for a plain number; the field's where the metric has another unit than the field."""
    aliases = declared_fields(event)[path[0]][1].aliases
    if aliases and "{key}" in aliases[0]:
        return aliases[0]
    plain = [s for s in signals if s.instrument is Instrument.GAUGE and not s.unit and s.name.count(".") == 1]
    name = plain[0].name.partition(".")[2] if plain else path[0]
    return f"{name}/{{key}}" if len(path) == 2 else name


COLUMNS: Final = {event: columns_of(event) for event in GROUPS}
"""The columns of every event that is sent."""


def row_of(event: Event, limits: AttributeLimits) -> Row:
    """The numbers of ``event`` by column. What was not measured is not there; NaN and infinities are."""
    return dict(_cells(event, limits))


def _cells(event: Event, limits: AttributeLimits) -> Iterator[tuple[str, float | int]]:
    for column in COLUMNS[type(event)]:
        for key, value in column.read(event):
            number = _number(value)
            if number is not None:
                name = column.name if column.key is None else column.name.format(key=limits.bound(column.key, key))
                yield name, number


def _number(value: Any) -> float | int | None:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        return value if -EXACT <= value <= EXACT else _float(value)
    return value if isinstance(value, float) else None


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)
