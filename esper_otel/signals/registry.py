"""The registry of signals, derived and checked from the declarations on the events.

A :class:`Signal` is one metric with everything a consumer needs: the path of its value, its attributes, unit,
bounds and Prometheus name. Building the registry checks every rule of the contract, so that a bad declaration fails
at import and not during an incident.
"""

import math
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Any, Final

import msgspec

from esper_otel.events import EVENT_TYPES
from esper_otel.events.declare import Domain, Event, Field, Instrument, Metric, Threshold, Tier
from esper_otel.signals.attributes import ATTRIBUTES, BASE_ATTRIBUTES, attribute_of
from esper_otel.signals.names import problems_of_name, prometheus_name

LOWEST_BOUND: Final = 1e-4
HIGHEST_BOUND: Final = 999_999.0

_OWN_ATTRIBUTE: Final = {
    Instrument.VIOLATIONS: "severity",
    Instrument.NONFINITE: "kind",
}


class SignalError(TypeError):
    """A declaration breaks a rule of the contract."""


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """One metric.

    Attributes:
        path: position of the value in the event: ``("pre_clip_grad_norm",)``, ``("head_entropy", "*")`` for every
            entry of a map, ``("seeds", "*", "alpha")`` for a field of every struct in a map, ``()`` for the event.
        attribute_fields: event fields that become attributes, with the attribute's name.
        key: attribute that a map's keys are values of.
        attributes: all attributes, base ones included, in order.
        has_sum: False for a histogram whose observations may be negative.
        threshold: limits that a counter of violations counts by.
        limits: limits of healthy values of the field, in the unit of the metric.
    """

    name: str
    prometheus_name: str
    domain: str
    event: type[Event]
    path: tuple[str, ...]
    instrument: Instrument
    unit: str
    scale: float
    tier: Tier
    description: str
    attribute_fields: tuple[tuple[str, str], ...]
    key: str | None
    attributes: tuple[str, ...]
    bounds: tuple[float, ...]
    has_sum: bool = True
    threshold: Threshold | None
    limits: Threshold | None

    @property
    def field(self) -> str:
        """Dotted path, as the catalogue shows it; empty for the event itself."""
        return ".".join(part for part in self.path if part != "*")


class EventField(msgspec.Struct, frozen=True, kw_only=True):
    """A declared field of an event or of a struct inside one."""

    path: tuple[str, ...]
    annotation: Any
    declaration: Field
    key: str | None


@cache
def declared_fields(cls: type[msgspec.Struct]) -> Mapping[str, tuple[Any, Field]]:
    """Type and declaration of every field of an event or nested struct.

    Raises:
        SignalError: a field has no declaration or no description.
    """
    fields: dict[str, tuple[Any, Field]] = {}
    hints = typing.get_type_hints(cls, include_extras=True)
    for name in cls.__struct_fields__:
        declarations = [item for item in getattr(hints[name], "__metadata__", ()) if isinstance(item, Field)]
        if len(declarations) != 1:
            raise SignalError(f"{cls.__name__}.{name}: declare it with Annotated[…, note('what it means')]")
        if not declarations[0].description.strip():
            raise SignalError(f"{cls.__name__}.{name}: the description is missing")
        fields[name] = (hints[name].__origin__, declarations[0])
    return fields


def walk(event: type[Event]) -> Iterator[EventField]:
    """Every declared field of an event, those of nested structs included, depth first."""
    for name, (annotation, declaration) in declared_fields(event).items():
        yield EventField(path=(name,), annotation=annotation, declaration=declaration, key=declaration.key)
        nested = _struct_in_map(annotation)
        if nested is not None:
            for inner, (inner_annotation, inner_declaration) in declared_fields(nested).items():
                yield EventField(
                    path=(name, "*", inner),
                    annotation=inner_annotation,
                    declaration=inner_declaration,
                    key=declaration.key,
                )


def _struct_in_map(annotation: Any) -> type[msgspec.Struct] | None:
    for option in typing.get_args(annotation) or (annotation,):
        if typing.get_origin(option) is dict:
            value = typing.get_args(option)[1]
            if isinstance(value, type) and issubclass(value, msgspec.Struct):
                return value
    return None


def _is_map(annotation: Any) -> bool:
    return any(typing.get_origin(option) is dict for option in (typing.get_args(annotation) or (annotation,)))


def build(event_types: dict[str, type[Event]], *, open_attributes: frozenset[str] = frozenset()) -> tuple[Signal, ...]:
    """Derive every signal of ``event_types``.

    ``open_attributes`` are allowed beside the declared ones, with the bound of
    :func:`~esper_otel.signals.attributes.bound_of`.

    Raises:
        SignalError: a declaration breaks a rule; the message names the event, the field and what would be right.
    """
    signals: list[Signal] = []
    owners: dict[str, tuple[Metric, str]] = {}
    for event in event_types.values():
        for signal, metric in _signals_of(event):
            where = f"{event.__name__}.{signal.field}" if signal.path else event.__name__
            _check(signal, where, open_attributes)
            if signal.name in owners and not (metric.shared and metric == owners[signal.name][0]):
                raise SignalError(f"{where}: metric {signal.name!r} is already declared by {owners[signal.name][1]}")
            owners.setdefault(signal.name, (metric, where))
            signals.append(signal)
    _check_namespaces(owners)
    return tuple(signals)


def _check_namespaces(owners: dict[str, tuple[Metric, str]]) -> None:
    for name, after in pairwise(sorted(owners)):  # a dot comes before everything else that a name may have
        if after.startswith(f"{name}."):
            where = owners[name][1]
            raise SignalError(f"{where}: metric {name!r} is also the namespace of {after!r}; rename one of them")


def _signals_of(event: type[Event]) -> Iterator[tuple[Signal, Metric]]:
    for metric in event.metrics:
        yield _signal(event, (), metric, tier=Tier.LOW, key=None, fallback=""), metric
    for field in walk(event):
        path = (*field.path, "*") if len(field.path) == 1 and _is_map(field.annotation) else field.path
        limits = _limits(field.declaration, f"{event.__name__}.{'.'.join(field.path)}")
        for metric in field.declaration.metrics:
            yield (
                _signal(
                    event,
                    path,
                    metric,
                    tier=field.declaration.tier,
                    key=field.key,
                    fallback=field.declaration.description,
                    limits=limits,
                ),
                metric,
            )


def _signal(
    event: type[Event],
    path: tuple[str, ...],
    metric: Metric,
    *,
    tier: Tier,
    key: str | None,
    fallback: str,
    limits: Threshold | None = None,
) -> Signal:
    name = metric.name or f"{event.domain}.{path[0] if path else ''}"
    attribute_fields = tuple((f, attribute_of(f, event.event_type)) for f in (*event.attributes, *metric.attributes))
    own = _OWN_ATTRIBUTE.get(metric.instrument)
    if metric.instrument is Instrument.STATE and path:
        own = attribute_of(path[-1], event.event_type)
    attributes = (
        *BASE_ATTRIBUTES,
        *(a for _, a in attribute_fields),
        *((key,) if key else ()),
        *((own,) if own else ()),
    )
    return Signal(
        name=name,
        prometheus_name=prometheus_name(name, metric.unit, metric.instrument.otel),
        domain=name.split(".", 1)[0],
        event=event,
        path=path,
        instrument=metric.instrument,
        unit=metric.unit,
        scale=metric.scale,
        tier=tier,
        description=metric.description or fallback,
        attribute_fields=attribute_fields,
        key=key,
        attributes=attributes,
        bounds=metric.bounds,
        has_sum=not metric.is_signed,
        threshold=metric.threshold,
        limits=limits and limits.scaled(metric.scale),
    )


def _limits(declaration: Field, where: str) -> Threshold | None:
    """Limits of a field: those that its violations are counted by, or its own."""
    counted = [metric.threshold for metric in declaration.metrics if metric.threshold is not None]
    if counted and declaration.limits is not None:
        raise SignalError(f"{where}: give limits in violations() or in limits=, not in both")
    return counted[0] if counted else declaration.limits


def _check(signal: Signal, where: str, open_attributes: frozenset[str]) -> None:
    problems = problems_of_name(signal.name, signal.unit)
    if signal.domain not in set(Domain):
        problems.append(f"the name must start with one of {', '.join(Domain)}")
    if not signal.description.strip():
        problems.append("the description is missing")
    problems.extend(
        f"attribute {a!r} is not bounded; declare it in signals/attributes.py"
        for a in signal.attributes
        if a not in ATTRIBUTES and a not in open_attributes
    )
    if len(set(signal.attributes)) != len(signal.attributes):
        problems.append(f"duplicate attribute: {', '.join(signal.attributes)}")
    if "*" in signal.path and signal.key is None:
        problems.append("a map needs key=, the bounded attribute that its keys are values of")
    problems.extend(_check_instrument(signal))
    if problems:
        raise SignalError(f"{where}: metric {signal.name!r}: {'; '.join(problems)}")


def _check_instrument(signal: Signal) -> list[str]:
    problems = []
    if signal.instrument is Instrument.HISTOGRAM:
        problems.extend(_check_bounds(signal.bounds))
    elif signal.bounds:
        problems.append("only a histogram has bounds")
    elif not signal.has_sum:
        problems.append("only a histogram can be signed")
    if (signal.instrument is Instrument.VIOLATIONS) != (signal.threshold is not None):
        problems.append("violations() needs a threshold, and only it")
    if not signal.path and signal.instrument not in {Instrument.COUNTER, Instrument.TIMESTAMP}:
        problems.append("an event itself can only be counted or give its time")
    return problems


def _check_bounds(bounds: tuple[float, ...]) -> list[str]:
    if not bounds:
        return ["a histogram needs its own bounds"]
    problems = []
    if any(not isinstance(b, float) or not math.isfinite(b) for b in bounds):
        problems.append("bounds must be finite floats")
    elif any(not LOWEST_BOUND <= b <= HIGHEST_BOUND for b in bounds):
        problems.append(f"bounds must lie in [{LOWEST_BOUND}, {HIGHEST_BOUND:.0f}]")
    if list(bounds) != sorted(set(bounds)):
        problems.append("bounds must ascend")
    return problems


SIGNALS: Final = build(EVENT_TYPES)
"""Every metric of the contract. Importing this module checks them all."""
