"""The tables of docs/guides/migration.md, written between their markers from the contract.

The old side is every line and field that esper-lite can write (``upstream_fields.json`` beside the dialect). The code
that reads them says where each of them goes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.esper_lite.dialect.recipes import CONSUMED, RECIPES, Part
from esper_otel.esper_lite.dialect.spelling import PLACEHOLDER, Target, spelling_of
from esper_otel.events import EVENT_TYPES, Event
from esper_otel.signals.registry import SIGNALS, Signal, declared_fields
from esper_otel.sql import VIEWS
from esper_otel.sql.views.columns import map_value
from esper_otel.sql.views.view import view_name

PAGE: Final = Path("docs") / "guides" / "migration.md"
OLD_FIELDS: Final = Path("esper_otel") / "esper_lite" / "dialect" / "upstream_fields.json"

Payloads = dict[str, dict[str, Any]]


class Place(msgspec.Struct, frozen=True):
    """Position of an old field: a field of an event, or of the struct in a map's entries."""

    cls: type[Event]
    field: str
    inner: str | None = None


class Moved(msgspec.Struct, frozen=True):
    """Old names in one place, as a line spells them; ``prefix`` is the enclosing object, with its dot."""

    place: Place
    prefix: str
    names: list[str]


def generated(root: Path) -> dict[Path, str]:
    """The page with fresh tables, by its path.

    Raises:
        KeyError: esper-lite has a field that no event knows.
        ValueError: a marker is missing in the page.
    """
    payloads = {key: value for key, value in json.loads((root / OLD_FIELDS).read_bytes()).items() if key in RECIPES}
    text = (root / PAGE).read_text(encoding="utf-8")
    for name, table in (("events", events()), ("views", views()), ("fields", fields(payloads))):
        text = _put(text, name, table)
    return {root / PAGE: text}


def _put(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- {name}: written by 'make generate' -->", f"<!-- end of {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{PAGE} must have {begin!r} and {end!r} once each")
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n\n{table}\n{end}{rest.partition(end)[2]}"


def events() -> str:
    """Old event names, and what each becomes."""
    lines = ["| old event | new event | OpenTelemetry event | SQL view |", "|---|---|---|---|"]
    for key, recipe in RECIPES.items():
        if key not in EVENT_TYPES:
            for part in recipe:
                inside = f" (its `{part.nested}`)" if part.nested else ""
                lines.append(f"| {_line_name(key)}{inside} | {_names(part.cls)} |")
    renamed = {part.cls for key, recipe in RECIPES.items() if key not in EVENT_TYPES for part in recipe}
    kept = [name for name, cls in EVENT_TYPES.items() if cls not in renamed]
    return "\n".join(lines) + f"\n\nOne name in every mode: {', '.join(f'`{name}`' for name in kept)}.\n"


def views() -> str:
    """Deprecated names of views."""
    lines = ["| old view | new view |", "|---|---|"]
    lines += [f"| `{view.name}` | `{view.replaced_by}` |" for view in VIEWS.values() if view.replaced_by]
    return "\n".join(lines) + "\n"


def fields(payloads: Payloads) -> str:
    """Every old field, by the line that contains it."""
    parts = []
    for key, payload in sorted(payloads.items()):
        found = moved(key, payload)
        new = dict.fromkeys(row.place.cls.event_type for row in found)
        parts += [
            f"### {key.replace(':', ', kind ')} → {', '.join(new)}",
            "",
            "| old field | field | metric → Prometheus | SQL |",
            "|---|---|---|---|",
            *(_row(row, with_event=len(new) > 1) for row in found),
            "",
        ]
    return "\n".join(parts)


def moved(key: str, payload: dict[str, Any]) -> list[Moved]:
    """New position of each field of an old line, in the line's order.

    Raises:
        KeyError: no event knows a field.
    """
    rows: dict[tuple[Place, str], Moved] = {}
    for place, prefix, name in _places(key, payload):
        rows.setdefault((place, prefix), Moved(place, prefix, [])).names.append(name)
    return list(rows.values())


def _places(key: str, payload: dict[str, Any]) -> Iterator[tuple[Place, str, str]]:
    main, *others = RECIPES[key]
    nested = {part.nested: part for part in others if part.nested}
    for name, value in payload.items():
        if name in nested and isinstance(value, dict):
            for inner, _ in spelling_of(nested[name].cls).entries(value):
                yield Place(nested[name].cls, _target(key, inner, nested[name]).field), f"{name}.", inner
        elif name not in CONSUMED:
            yield from _plain_places(key, name, value, (main, *others))


def _plain_places(key: str, name: str, value: Any, parts: tuple[Part, ...]) -> Iterator[tuple[Place, str, str]]:
    for flat, inner_value in spelling_of(parts[0].cls).entries({name: value}):
        part = next((part for part in parts if spelling_of(part.cls).find(flat)), parts[0])
        field = _target(key, flat, part).field
        struct = map_value(part.cls, field)
        if isinstance(struct, str) or struct is None or not isinstance(inner_value, dict):
            yield Place(part.cls, field), "", flat
            continue
        for inner in next(iter(inner_value.values())):
            target = spelling_of(struct).find(inner)
            if target is None:
                raise KeyError(f"{key}: no event has a field for {flat}.….{inner}")
            yield Place(part.cls, field, target.field), f"{flat}.<{_key_of(part.cls, field)}>.", inner


def _target(key: str, name: str, part: Part) -> Target:
    target = spelling_of(part.cls).find(name)
    if target is None:
        raise KeyError(f"{key}: no event has a field for {name}")
    return target


def _key_of(cls: type[Event], field: str) -> str:
    return declared_fields(cls)[field][1].key or "key"


def _row(row: Moved, *, with_event: bool) -> str:
    place = row.place
    field = place.field if place.inner is None else f"{place.field}.<{_key_of(place.cls, place.field)}>.{place.inner}"
    shown = f"`{field}`" + (f" of {place.cls.event_type}" if with_event else "")
    metrics = "<br>".join(f"`{signal.name}` → `{signal.prometheus_name}`" for signal in signals_of(place))
    return f"| {_old_names(row)} | {shown} | {metrics} | {'<br>'.join(f'`{column}`' for column in columns_of(place))} |"


def _old_names(row: Moved) -> str:
    """The old names, those that differ by a key alone as one pattern."""
    pattern = spelling_of(row.place.cls).written.get(row.place.field, "")
    if len(row.names) > 1 and PLACEHOLDER in pattern and pattern != PLACEHOLDER:
        head, tail = pattern.split(PLACEHOLDER)
        rest = [name for name in row.names if not re.fullmatch(f"{re.escape(head)}.+{re.escape(tail)}", name)]
        names = [pattern.replace(PLACEHOLDER, f"<{_key_of(row.place.cls, row.place.field)}>"), *rest]
    else:
        names = row.names
    return ", ".join(f"`{row.prefix}{name}`" for name in names)


def signals_of(place: Place) -> list[Signal]:
    """The metrics that a field feeds."""
    path = (place.field,) if place.inner is None else (place.field, "*", place.inner)
    return [signal for signal in SIGNALS if signal.event is place.cls and signal.path[: len(path)] == path]


def columns_of(place: Place) -> list[str]:
    """The columns that hold a field: in the event's view, and in the view with a row per key."""
    view, key = view_name(place.cls), _key_of(place.cls, place.field)
    by_key = f"{view}_by_{key}"
    spread = [by_key] if by_key in VIEWS else []
    if place.inner is not None:
        return [f"{name}.{place.inner}" for name in spread]
    held = {name: {column.name for column in VIEWS[name].columns} for name in (view, *spread)}
    return [f"{name}.{place.field}" for name, columns in held.items() if place.field in columns]


def _names(cls: type[Event]) -> str:
    return f"`{cls.event_type}` | `{cls.otel_name}` | `{view_name(cls)}`"


def _line_name(key: str) -> str:
    event_type, _, kind = key.partition(":")
    return f"`{event_type}`" + (f", kind `{kind}`" if kind else "")
