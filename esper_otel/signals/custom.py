"""Users' own events: the decorator for their classes, and the classes that logs declared to this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from esper_otel.events import EventDeclared
from esper_otel.events.declare import Domain, Event, Metric, Severity
from esper_otel.events.declare import declares as _declares
from esper_otel.signals.declaration import class_of, declaration_of, parse
from esper_otel.signals.registry import Signal, SignalError

MAX_CLASSES: Final = 100
"""Event types that one process learns from logs."""

E = TypeVar("E", bound=Event)


def declares(
    event_type: str,
    *,
    domain: Domain,
    severity: Severity = Severity.INFO,
    attributes: tuple[str, ...] = (),
    metrics: tuple[Metric, ...] = (),
) -> Callable[[type[E]], type[E]]:
    """Declare an event of your own: a class decorator, as for the events of the contract.

    Example::

        @declares("SIMIC_CURRICULUM", domain=Domain.SIMIC, attributes=("task",))
        class Curriculum(Event, frozen=True, kw_only=True):
            '''The curriculum chose a task.'''

            task: Annotated[str | None, note("Name of the task.")] = None
            hardness: Annotated[float | None, note("Hardness, 0 to 1.", gauge("simic.curriculum.hardness"))] = None

    Args:
        event_type: name in the log, upper-case words.
        domain: what it is about; names of its metrics begin with it.
        severity: default severity.
        attributes: fields that are attributes of every metric of the event: few, with few values each.
        metrics: instruments fed by the event itself; a counter counts events.

    Raises:
        SignalError: the declaration breaks a rule; the message names class and field and what would be right.
        TypeError: an event of the contract has that name.
    """

    def register(cls: type[E]) -> type[E]:
        declared = _declares(event_type, domain=domain, severity=severity, attributes=attributes, metrics=metrics)(cls)
        declaration_of(declared)
        return declared

    return register


class _Learned(msgspec.Struct):
    text: str
    cls: type[Event]
    signals: tuple[Signal, ...]
    decoder: msgspec.json.Decoder[Event]


_LEARNED: Final[dict[str, _Learned]] = {}


def learn(event: EventDeclared) -> type[Event]:
    """Take over the class that a log declares; the newest declaration of an event type counts.

    Raises:
        SignalError: the declaration breaks a rule, changes a metric or has that of another type, or there are too many.
    """
    known = _LEARNED.get(event.declared)
    if known is not None and known.text == event.declaration:
        return known.cls
    declaration = parse(event.declaration)
    if declaration.event_type != event.declared:
        raise SignalError(f"{event.declared[:100]}: the declaration is one of {declaration.event_type[:100]}")
    cls, signals = class_of(declaration)
    if known is None and len(_LEARNED) >= MAX_CLASSES:
        raise SignalError(
            f"{event.declared}: this process knows {MAX_CLASSES} event types from logs, and takes no more"
        )
    taken = {signal.prometheus_name: signal for known in _LEARNED.values() for signal in known.signals}
    for signal in signals:
        other = taken.get(signal.prometheus_name)
        if other is not None and (other.event.event_type != event.declared or _shape(other) != _shape(signal)):
            raise SignalError(
                f"{event.declared}: metric {signal.name!r} is one of {other.event.event_type}, or was declared"
                " otherwise; give the new one another name"
            )
    _LEARNED[event.declared] = _Learned(event.declaration, cls, signals, msgspec.json.Decoder(cls))
    return cls


def learned() -> list[EventDeclared]:
    """Everything that was learned, to be learned again by :func:`learn`."""
    return [EventDeclared(declared=name, declaration=known.text) for name, known in _LEARNED.items()]


def forget() -> None:
    """Forget everything, for tests and for readers of other logs."""
    _LEARNED.clear()


def class_named(event_type: str) -> type[Event] | None:
    """The class of an event type that a log declared; None if there is none."""
    known = _LEARNED.get(event_type)
    return known.cls if known is not None else None


def decoder_of(event_type: str) -> msgspec.json.Decoder[Event] | None:
    """Decoder of the payloads of such a type."""
    known = _LEARNED.get(event_type)
    return known.decoder if known is not None else None


def signals_of(event_type: str) -> tuple[Signal, ...]:
    """The signals of such a type."""
    known = _LEARNED.get(event_type)
    return known.signals if known is not None else ()


def signals() -> Iterable[Signal]:
    """The signals of all such types."""
    return [signal for known in _LEARNED.values() for signal in known.signals]


def named(name: str) -> Signal | None:
    """The metric ``name`` of such a type; None if there is none."""
    return next((signal for signal in signals() if signal.name == name), None)


def has_attribute(name: str) -> bool:
    """Return True if a metric of such a type has the attribute ``name``."""
    return any(name in signal.attributes for signal in signals())


def _shape(signal: Signal) -> tuple[object, ...]:
    return signal.name, signal.instrument, signal.unit, signal.attributes, signal.bounds
