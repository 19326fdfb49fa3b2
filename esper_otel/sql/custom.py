"""Views of users' own events, from the declarations in the logs."""

from __future__ import annotations

import json
import re
from typing import Final

import duckdb

from esper_otel.events.declare import Event
from esper_otel.signals.declaration import class_of, parse
from esper_otel.signals.registry import SignalError
from esper_otel.sql.catalogue import VIEWS
from esper_otel.sql.views.columns import LEADING, TRAILING, fields_of, literal, quoted
from esper_otel.sql.views.view import first_sentence

SOURCES: Final = ("event_declared", "raw_events")
"""Views that the views of users' own events are made of."""

_READ: Final = re.compile(r'\b(?<!distinct )(?:from|join)\s+"?([a-z_]\w*)"?(?!\w|\s*\()', re.IGNORECASE)
_EXTRACT: Final = re.compile(r"\bextract\s*\([^()]*\)", re.IGNORECASE)
_NAMED: Final = re.compile(r'([a-z_]\w*)"?\s+as\s*(?:(?:not\s+)?materialized\s*)?\(', re.IGNORECASE)


def may_need(query: str) -> bool:
    """Return True if ``query`` reads a name that is neither a view of the contract nor one of its own."""
    own = {name.lower() for name in _NAMED.findall(query)}
    read = {name.lower() for name in _READ.findall(_EXTRACT.sub("", query))}
    return not read <= VIEWS.keys() | own


def view_of(event_type: str) -> str:
    """Name of the view of an event type, quoted."""
    return quoted(event_type.lower())


def declared_types(connection: duckdb.DuckDBPyConnection) -> list[type[Event]]:
    """The last class of each event type that the logs declare, where it has a view."""
    return [classes[-1] for classes in _declared(connection).values()]


def create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Create a view for each event type that the logs declare, named like the type in lower case.

    Where runs declare a type differently, the view has the columns of all; the first declaration of a column counts.
    """
    for event_type, classes in _declared(connection).items():
        name = view_of(event_type)
        connection.execute(f"CREATE VIEW {name} AS {_definition(event_type, classes)}")
        connection.execute(f"COMMENT ON VIEW {name} IS {literal(first_sentence(classes[0]))}")


def _declared(connection: duckdb.DuckDBPyConnection) -> dict[str, list[type[Event]]]:
    found: dict[str, list[type[Event]]] = {}
    rows = connection.execute("SELECT declaration FROM event_declared GROUP BY ALL ORDER BY min(timestamp)").fetchall()
    for (text,) in rows:
        try:
            cls, _ = class_of(parse(text or ""))
        except SignalError:
            continue  # event_declared shows it
        if cls.event_type.lower() not in VIEWS:
            found.setdefault(cls.event_type, []).append(cls)
    return found


def _definition(event_type: str, classes: list[type[Event]]) -> str:
    types: dict[str, str] = {}
    for column in (column for cls in classes for column in fields_of(cls)):
        types.setdefault(column.name, column.type)
    envelope = [[column.name for column in columns if column.name not in types] for columns in (LEADING, TRAILING)]
    chosen = [
        *map(quoted, envelope[0]),
        *(f"fields.{quoted(name)} AS {quoted(name)}" for name in types),
        *map(quoted, envelope[1]),
    ]
    shape = literal(json.dumps(types)) if types else "'{}'"
    fields = f"json_transform(data, {shape}) AS fields" if types else "NULL AS fields"
    return (
        f"SELECT {', '.join(chosen)} FROM (SELECT *, {fields} FROM raw_events WHERE event_type = {literal(event_type)})"
    )
