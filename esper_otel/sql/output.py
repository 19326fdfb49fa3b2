"""Printing the rows of a query, piece by piece, as a table, JSON or CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import IO, Any, Final

import duckdb
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from esper_otel.terminal import printable

TABLE_ROWS: Final = 1000
"""Rows that a table shows: it is laid out as a whole, and people read no more."""

_PIECE: Final = 1000


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def write(result: duckdb.DuckDBPyConnection, output: Format, stream: IO[str]) -> None:
    """Print what ``result`` has to give. JSON and CSV of any length take constant memory."""
    _WRITERS[output](result, stream)


def _names(result: duckdb.DuckDBPyConnection) -> list[str]:
    return [column[0] for column in result.description or ()]


def _rows(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while piece := result.fetchmany(_PIECE):
        yield from piece


def _write_table(result: duckdb.DuckDBPyConnection, stream: IO[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for name in _names(result):
        table.add_column(printable(name), overflow="fold")
    rows = _rows(result)
    for row in islice(rows, TABLE_ROWS):
        table.add_row(*(printable(_text(value)) for value in row))
    console = Console(file=stream, markup=False, emoji=False, highlight=False)
    console.print(table)
    if next(rows, None) is not None:
        console.print(f"the first {TABLE_ROWS} rows; --format csv or json prints all of them")


def _write_json(result: duckdb.DuckDBPyConnection, stream: IO[str]) -> None:
    names = _names(result)
    separator = "["
    for row in _rows(result):
        fields = dict(zip(names, map(plain, row), strict=True))
        stream.write(f"{separator}\n{msgspec.json.encode(fields).decode()}")
        separator = ","
    stream.write("[]\n" if separator == "[" else "\n]\n")


def _write_csv(result: duckdb.DuckDBPyConnection, stream: IO[str]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_names(result))
    for row in _rows(result):
        writer.writerow([None if value is None else _text(value) for value in row])


_WRITERS: Final[dict[Format, Callable[[duckdb.DuckDBPyConnection, IO[str]], None]]] = {
    Format.TABLE: _write_table,
    Format.JSON: _write_json,
    Format.CSV: _write_csv,
}


def plain(value: Any) -> Any:
    """``value`` as JSON types: times as ISO 8601 in UTC, non-finite numbers by name, as in the log."""
    if isinstance(value, float):
        return value if math.isfinite(value) else _nonfinite(value)
    if isinstance(value, datetime):
        return value.isoformat() + "Z"
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value if isinstance(value, int | str | None) else str(value)


def _nonfinite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _text(value: Any) -> str:
    value = plain(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
