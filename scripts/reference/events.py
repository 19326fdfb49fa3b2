"""Reference of the events, from their declarations."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import msgspec

from esper_otel.events import EVENT_TYPES, Event
from esper_otel.events.declare import Field, Metric
from esper_otel.signals.catalogue import limits_text
from esper_otel.signals.registry import declared_fields
from esper_otel.sql.catalogue import VIEWS, tables_under
from esper_otel.sql.views.tables import table_of
from esper_otel.sql.views.view import view_name
from scripts.reference.tables import table

TITLES: Final = ("field", "type", "unit", "meaning", "limits", "metrics", "tier", "esper-lite")
_SCALED: Final = {("s", 1e-3): "ms", ("By", 2.0**30): "GiB", ("1", 1e-2): "%"}
"""Unit of a field whose metric has another one, by that unit and the factor."""

INTRODUCTION: Final = """\
# Events

Generated from the declarations in `esper_otel/events` by `make generate`; do not edit.

An event is a frozen `msgspec.Struct`, imported from `esper_otel.events`. A field may be left out unless its type says
"required": a value that was not measured is absent, never 0. The [log format](log-format.md) says how a line
holds an event.

* **type**: in Python; "map" is an object in the log. **unit**: of the field itself; empty for a number without a unit,
  and where no metric reads the field and its meaning names the unit.
* **limits**: beyond which a value is not healthy, in the unit of the field; [signals](signals.md) has the reasons.
* **metrics**: what the relay derives from the field; each is described in [signals](signals.md). A field without
  metrics is in spans, log records and SQL.
* **tier**: the cost of measuring it. `low`: known on the host anyway. `medium`: one more transfer or pass, every few
  rounds. `high`: a whole traversal, on demand.
* **esper-lite**: other names under which older logs spell it.
* **SQL**: the [view](views.md) with a row per event, then the views that are made of it, and esper-lite's old names."""


def markdown() -> str:
    """The page ``docs/reference/events.md``."""
    lines = [INTRODUCTION]
    ordered = sorted(EVENT_TYPES.values(), key=lambda event: event.domain.value)
    for domain, events in groupby(ordered, key=lambda event: event.domain.value):
        lines += ["", f"## {domain}"]
        for event in events:
            lines += _section(event)
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(event: type[Event]) -> Iterator[str]:
    yield from ("", f"### {event.event_type}", "")
    yield f"`esper_otel.events.{event.__name__}`. {_summary(event)}"
    yield from ("", " · ".join(_facts(event)))
    rows = list(_rows(event, ""))
    if rows:
        yield from table(TITLES, rows)[:-1]


def _facts(event: type[Event]) -> Iterator[str]:
    yield f"severity `{event.severity.value}`"
    yield f"OpenTelemetry event `{event.otel_name}`"
    yield "SQL " + ", ".join(f"[`{name}`](views.md#{name})" for name in _views(event))
    if event.legacy_type:
        kind = f" of kind `{event.legacy_kind}`" if event.legacy_kind else ""
        yield f"esper-lite `{event.legacy_type}`{kind}"
    if event.attributes:
        yield "attributes of its metrics " + ", ".join(f"`{name}`" for name in event.attributes)
    if event.metrics:
        yield "metrics of the event itself " + _metrics(event.domain.value, "", event.metrics)


def _rows(cls: type[msgspec.Struct], prefix: str, domain: str = "") -> Iterator[tuple[str, ...]]:
    domain = domain or str(getattr(cls, "domain", ""))
    for name, (annotation, declaration) in declared_fields(cls).items():
        field = prefix + name
        yield (
            f"`{field}`",
            type_name(annotation) + ("" if type(None) in typing.get_args(annotation) else ", required"),
            _unit(declaration),
            declaration.description,
            _limits(declaration),
            _metrics(domain, name, declaration.metrics),
            declaration.tier.value,
            ", ".join(f"`{alias}`" for alias in declaration.aliases),
        )
        for nested in _nested(annotation):
            yield from _rows(nested, f"{field}.*.", domain)


def type_name(annotation: Any) -> str:
    """A type as the page writes it, without the None that every field allows."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(option) for option in arguments if option is not types.NoneType)
    if origin is dict:
        return f"map of {type_name(arguments[1])}"
    if origin is tuple:
        inner = [type_name(option) for option in arguments if option is not ...]
        return f"list of {inner[0]}" if ... in arguments else f"({', '.join(inner)})"
    return "any" if annotation is Any else str(getattr(annotation, "__name__", annotation))


def _nested(annotation: Any) -> Iterator[type[msgspec.Struct]]:
    for option in (annotation, *typing.get_args(annotation)):
        if isinstance(option, type) and typing.get_origin(option) is None and issubclass(option, msgspec.Struct):
            yield option
        elif option is not annotation:
            yield from _nested(option)


def _unit(declaration: Field) -> str:
    units = {_SCALED.get((metric.unit, metric.scale), metric.unit) for metric in declaration.metrics if metric.unit}
    return ", ".join(sorted(unit for unit in units if not unit.startswith("{")))


def _limits(declaration: Field) -> str:
    counted = next((metric.threshold for metric in declaration.metrics if metric.threshold), declaration.limits)
    return limits_text(counted.levels) if counted else ""


def _views(event: type[Event]) -> Iterator[str]:
    table = table_of(event).name
    first = view_name(event)
    yield from (first, *(name for name in VIEWS if name != first and table in tables_under([name])))


def _metrics(domain: str, field: str, metrics: tuple[Metric, ...]) -> str:
    return ", ".join(f"`{metric.name or f'{domain}.{field}'}` ({metric.instrument.value})" for metric in metrics)


def _summary(event: type[Event]) -> str:
    return " ".join((event.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")
