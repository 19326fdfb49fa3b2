"""Messages between the server and its worker: JSON in the frames of :mod:`esper_otel.sql.staging.workers`."""

from __future__ import annotations

from typing import Any

import msgspec


class Statement(msgspec.Struct, frozen=True):
    """One query.

    Attributes:
        sql: a read-only statement.
        max_rows: rows of its answer, at most.
        max_bytes: size of its answer as JSON, at most; the first row is always in it.
    """

    sql: str
    max_rows: int
    max_bytes: int


class Question(msgspec.Struct, frozen=True):
    """Queries to some runs, or their diagnosis or comparison.

    Attributes:
        runs: paths of the runs.
        views: the views that the statements use.
        statements: the queries by the name of their answer.
        memory_limit: DuckDB's limit.
        limit_s: seconds after which the worker ends itself, s.
        about: ``rows`` for the statements, else ``diagnosis``, ``goodput`` or ``findings`` of the first run, or
            ``comparison`` of the runs.
        split: for a comparison, number of the runs, from the first on, that are its side A.
    """

    runs: list[str]
    views: list[str]
    statements: dict[str, Statement]
    memory_limit: str
    limit_s: int
    about: str = "rows"
    split: int = 0


class Rows(msgspec.Struct, frozen=True):
    """Result of one statement.

    Attributes:
        columns: their names.
        rows: values in the columns' order, as JSON types.
        more: why there are fewer rows than the query has, None when all are here.
    """

    columns: list[str]
    rows: list[list[Any]]
    more: str | None = None


class Answer(msgspec.Struct, frozen=True):
    """Answer of the worker: results by name, a text as JSON, or the error in the question."""

    results: dict[str, Rows] = {}
    text: str = ""
    error: str | None = None
