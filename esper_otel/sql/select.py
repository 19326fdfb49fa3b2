"""Running of other people's queries: one read-only statement."""

from __future__ import annotations

import difflib
import re
from typing import Final

import duckdb

from esper_otel.sql.catalogue import VIEWS
from esper_otel.sql.views.columns import literal, quoted

_READS: Final = frozenset({"SELECT", "EXPLAIN"})


class QueryError(ValueError):
    """A query cannot be run; the message tells its author why."""


def select(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyConnection:
    """Run ``query`` and return the connection, to fetch from.

    Raises:
        QueryError: it is not one read-only statement (SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, EXPLAIN), or
            DuckDB refuses it.
    """
    check(connection, query)
    try:
        result = connection.execute(query)
        return connection.execute(_in_utc(query, result)) if _has_zones(result) else result
    except duckdb.Error as error:
        raise QueryError(_explained(str(error))) from None


def check(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Reject anything but one read-only statement.

    Raises:
        QueryError: it is not.
    """
    try:
        query.encode()
        statements = connection.extract_statements(query)
    except (duckdb.Error, UnicodeEncodeError) as error:
        raise QueryError(str(error)) from None
    kinds = [statement.type.name for statement in statements]
    if len(kinds) != 1 or kinds[0] not in _READS:
        said = "nothing" if not kinds else ", ".join(kinds)
        raise QueryError(f"the query must be one read-only statement (SELECT, WITH, DESCRIBE …), not {said}")
    inner = re.match(r"\s*EXPLAIN\s+(?:ANALYZE\s+|\([^)]*\)\s*)?", query, re.IGNORECASE)
    if inner and kinds[0] == "EXPLAIN":
        check(connection, query[inner.end() :])


_ZONED: Final = "TIMESTAMP WITH TIME ZONE"
"""A type that DuckDB turns into Python's only by means of pytz. The views have none, but functions like ``now()``."""


def _types(result: duckdb.DuckDBPyConnection) -> list[str]:
    return [str(column[1]) for column in result.description or ()]


def _has_zones(result: duckdb.DuckDBPyConnection) -> bool:
    return any(_ZONED in type_ for type_ in _types(result))


def _in_utc(query: str, result: duckdb.DuckDBPyConnection) -> str:
    """``query`` with times without a zone, in UTC like all of ours."""
    columns = [quoted(column[0]) for column in result.description or ()]
    chosen = [
        f"c{number}::{type_.replace(_ZONED, 'TIMESTAMP')} AS {name}"
        for number, (name, type_) in enumerate(zip(columns, _types(result), strict=True))
    ]
    names = ", ".join(f"c{number}" for number in range(len(columns)))
    return f"SELECT {', '.join(chosen)} FROM query({literal(query)}) AS q({names})"


def near_names(name: str) -> list[str]:
    """Views with names similar to ``name``, best first."""
    return difflib.get_close_matches(name.lower(), VIEWS, n=3, cutoff=0.5)


def out_of_memory(message: str) -> str:
    """DuckDB's ``message``; without advice on settings, which are locked, if it is about memory."""
    said, _, _ = message.partition("\n\nPossible solutions:")
    if not said.startswith("Out of Memory Error"):
        return message
    return f"{said}: ask for less, or start with a larger --memory-limit"


_OLD_COLUMNS: Final = {
    "filename": "a row's log is run_dir and, in raw_events, source",
    "data": "its figures are columns here; the JSON text is raw_events.data, joined on event_id",
    "epoch": "it is inner_epoch or batch here; the envelope's number is raw_events.epoch, joined on event_id",
}
"""Columns of esper-lite's views that ours of the same name do not have, and what to ask for."""


def _explained(message: str) -> str:
    column = re.search(r'Referenced column "(\w+)" not found', message)
    if column is not None and column[1] in _OLD_COLUMNS:
        return f"no column {column[1]!r}, which esper-lite's view has: {_OLD_COLUMNS[column[1]]}"
    missing = re.search(r"Table with name (\S+) does not exist", message)
    if missing is None:
        return message
    near = near_names(missing[1])
    hint = f"similar names: {', '.join(near)}" if near else "'esper-otel views' lists them"
    return f"there is no view {missing[1]!r}; {hint}"
