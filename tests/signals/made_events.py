"""Event classes that the contract does not know, to declare things rightly and wrongly."""

from __future__ import annotations

from typing import Annotated, Any, cast

import msgspec
import pytest

from esper_otel.events import Domain, Event
from esper_otel.events.declare import Metric, note
from esper_otel.signals.registry import Signal, SignalError, build

NOTE = "A value."


def event(
    *fields: tuple[str, Any],
    metrics: tuple[Metric, ...] = (),
    attributes: tuple[str, ...] = (),
    event_type: str = "TAMIYO_MADE",
) -> type[Event]:
    """An event class that the contract does not know."""
    fields_without_value = [(name, annotation, None) for name, annotation in fields]
    cls = cast(
        "type[Event]", msgspec.defstruct("Made", fields_without_value, bases=(Event,), frozen=True, kw_only=True)
    )
    cls.event_type, cls.domain = event_type, Domain.TAMIYO
    cls.metrics, cls.attributes = metrics, attributes
    return cls


def value(*metrics: Metric, description: str = NOTE, key: str | None = None, of: Any = float) -> tuple[str, Any]:
    return "value", Annotated[of | None, note(description, *metrics, key=key)]


def built(*classes: type[Event]) -> tuple[Signal, ...]:
    return build({f"MADE_{number}": cls for number, cls in enumerate(classes)})


def refusal(*classes: type[Event]) -> str:
    with pytest.raises(SignalError) as raised:
        built(*classes)
    return str(raised.value)
