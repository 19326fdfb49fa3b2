"""Running a query of somebody else: one statement, which reads."""

from __future__ import annotations

import difflib
import re
from typing import Final

import duckdb

from esper_otel.sql.catalogue import VIEWS

_READS: Final = frozenset({"SELECT", "EXPLAIN"})


class QueryError(ValueError):
    """A query cannot be run; the text says why, for the person who wrote it."""


def select(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.DuckDBPyConnection:
    """Run ``query`` and return the connection, to fetch from.

    Raises:
        QueryError: it is not one statement that reads (SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, EXPLAIN), or
            DuckDB refuses it.
    """
    check(connection, query)
    try:
        return connection.execute(query)
    except duckdb.Error as error:
        raise QueryError(_explained(str(error))) from None


def check(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuse what is not one statement that reads.

    Raises:
        QueryError: it is not.
    """
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise QueryError(str(error)) from None
    kinds = [statement.type.name for statement in statements]
    if len(kinds) != 1 or kinds[0] not in _READS:
        said = "nothing" if not kinds else ", ".join(kinds)
        raise QueryError(f"the query must be one statement that reads (SELECT, WITH, DESCRIBE …), not {said}")
    inner = re.match(r"\s*EXPLAIN\s+(?:ANALYZE\s+|\([^)]*\)\s*)?", query, re.IGNORECASE)
    if inner and kinds[0] == "EXPLAIN":
        check(connection, query[inner.end() :])


def near_names(name: str) -> list[str]:
    """Views whose names are like ``name``, best first."""
    return difflib.get_close_matches(name.lower(), VIEWS, n=3, cutoff=0.5)


def out_of_memory(message: str) -> str:
    """``message`` of DuckDB; where it is one about memory, without advice on settings, which are locked."""
    said, _, _ = message.partition("\n\nPossible solutions:")
    if not said.startswith("Out of Memory Error"):
        return message
    return f"{said}: ask for less, or start with a larger --memory-limit"


def _explained(message: str) -> str:
    missing = re.search(r"Table with name (\S+) does not exist", message)
    if missing is None:
        return message
    near = near_names(missing[1])
    hint = f"near names: {', '.join(near)}" if near else "'esper-otel views' lists them"
    return f"there is no view {missing[1]!r}; {hint}"
