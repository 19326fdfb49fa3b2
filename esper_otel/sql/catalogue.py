"""Every view, in listing order, and the data that views read."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from esper_otel.events import EVENT_TYPES
from esper_otel.sql.views.columns import Column
from esper_otel.sql.views.designed import designed_views
from esper_otel.sql.views.old_names import renamed_views, with_old_columns
from esper_otel.sql.views.view import View, event_views, map_views, view_name

_KEEPS_OLD_COLUMNS: Final = frozenset({"decisions", "rewards"})
"""Views that esper-lite has under the same name, with columns for what is a map here."""


def _build() -> dict[str, View]:
    classes = {view_name(cls): cls for cls in EVENT_TYPES.values()}
    events = [
        with_old_columns(view, classes[view.name]) if view.name in _KEEPS_OLD_COLUMNS else view
        for view in event_views()
    ]
    views = [*designed_views(), *events, *map_views(), *renamed_views()]
    return {view.name: view for view in views}


VIEWS: Final[dict[str, View]] = _build()
"""Every view by its name."""


def in_order(names: Collection[str]) -> list[View]:
    """The views ``names`` and those they read, each after its sources."""
    ordered: dict[str, View] = {}

    def add(name: str) -> None:
        view = VIEWS[name]
        for needed in view.views:
            add(needed)
        ordered.setdefault(name, view)

    for name in names:
        add(name)
    return list(ordered.values())


def tables_under(names: Collection[str]) -> frozenset[str]:
    """Names of the tables that the views ``names`` read."""
    return frozenset(table.name for view in in_order(names) for table in view.tables)


def views_in(sql: str) -> list[str]:
    """Views that ``sql`` may mention: every name that occurs in it as a word."""
    words = set(re.findall(r"\w+", sql.lower()))
    return [name for name in VIEWS if name in words]


def rows() -> list[dict[str, object]]:
    """The catalogue as plain data: name, description, deprecation and columns of each view."""
    return [
        {
            "view": view.name,
            "description": view.description,
            "replaced_by": view.replaced_by,
            "columns": [
                {"name": column.name, "type": column.type, "description": column.description} for column in view.columns
            ],
        }
        for view in VIEWS.values()
    ]


def markdown() -> str:
    """The catalogue as the page ``docs/reference/views.md``, with every column."""
    lines = [
        "# SQL views",
        "",
        "Written by `esper-otel views --format markdown`; do not edit. `esper-otel views VIEW` shows one view.",
        "",
        "| view | a row is |",
        "|---|---|",
        *(f"| [`{view.name}`](#{view.name}) | {view.description} |" for view in VIEWS.values()),
    ]
    for view in VIEWS.values():
        lines += ["", f"## {view.name}", "", view.description, "", "| column | type | meaning |", "|---|---|---|"]
        lines += [_column_row(column) for column in view.columns]
    return "\n".join(lines) + "\n"


def _column_row(column: Column) -> str:
    meaning = " ".join(column.description.split()).replace("|", "\\|")
    return f"| `{column.name}` | {column.type} | {meaning} |"
