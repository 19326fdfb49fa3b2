"""Statements that create a database and its views, wherever the rows of the tables under the views come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from esper_otel.sql.catalogue import VIEWS, in_order
from esper_otel.sql.views.clickhouse import literal, type_of
from esper_otel.sql.views.columns import Column, quoted
from esper_otel.sql.views.tables import Table
from esper_otel.sql.views.view import View

_DATABASE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def create_database(database: str) -> Iterator[str]:
    """Statements that create and choose ``database``.

    Raises:
        ValueError: it is no plain name.
    """
    if not _DATABASE.fullmatch(database):
        raise ValueError(f"{database!r} is no name of a database: letters, digits and _ are")
    yield f"CREATE DATABASE IF NOT EXISTS {database}"
    yield f"USE {database}"


def create_views(stored: Callable[[Table], str]) -> Iterator[str]:
    """Statements that create every view; ``stored`` makes the SQL of the rows of a table."""
    for view in in_order(list(VIEWS)):
        yield create_view(view.name, view.columns, _selected(view, stored), view.description)


def create_view(name: str, columns: Iterable[Column], sql: str, description: str) -> str:
    """The statement that creates one view; without ``columns`` they are those of ``sql``."""
    declared = ", ".join(map(_declared, columns))
    head = f"{quoted(name)} ({declared})" if declared else quoted(name)
    return f"CREATE OR REPLACE VIEW {head} AS {sql} COMMENT {literal(description)}"


def script(statements: Iterable[str]) -> str:
    """The statements as one text for ``clickhouse client``."""
    return "".join(f"{statement};\n" for statement in statements)


def _declared(column: Column) -> str:
    return f"{quoted(column.name)} {type_of(column.type)} COMMENT {literal(' '.join(column.description.split()))}"


def _selected(view: View, stored: Callable[[Table], str]) -> str:
    columns = ", ".join(quoted(column.name) for column in view.columns)
    body = view.clickhouse.format(**{table.name: f"({stored(table)})" for table in view.tables})
    return f"SELECT {columns} FROM ({body})"
