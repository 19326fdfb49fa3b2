"""Printing of query results, piece by piece, as a table, JSON or CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from enum import StrEnum
from itertools import islice
from typing import IO, Any, Final

import duckdb
import msgspec
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from esper_otel.sql.plain import plain
from esper_otel.text.terminal import printable

TABLE_ROWS: Final = 1000
"""Maximum number of rows of a table: it is laid out as a whole, and people read no more."""

UNBROKEN: Final = 30
"""Letters of a value that a table never breaks, such as a time; longer ones are folded in their column."""

_PIECE: Final = 1000


class Format(StrEnum):
    """Output format of rows."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def write(result: duckdb.DuckDBPyConnection, output: Format, stream: IO[str]) -> None:
    """Print the rows of ``result``. JSON and CSV of any length take constant memory."""
    _WRITERS[output](result, stream)


def _names(result: duckdb.DuckDBPyConnection) -> list[str]:
    return [column[0] for column in result.description or ()]


def _rows(result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while piece := result.fetchmany(_PIECE):
        yield from piece


def _write_table(result: duckdb.DuckDBPyConnection, stream: IO[str]) -> None:
    names = [printable(name) for name in _names(result)]
    rows = _rows(result)
    found = [[printable(_text(value)) for value in row] for row in islice(rows, TABLE_ROWS)]
    console = Console(file=stream, markup=False, emoji=False, highlight=False)
    if found and _needed_width(names, found) > console.width:
        _print_records(console, names, found)
    else:
        _print_table(console, names, found)
    if next(rows, None) is not None:
        console.print(f"the first {TABLE_ROWS} rows; --format csv or json prints all of them")


def _needed_width(names: list[str], found: list[list[str]]) -> int:
    """Width of a table in which no value of up to :data:`UNBROKEN` letters is broken."""
    widths = [max(map(cell_len, column)) for column in zip(names, *found, strict=True)]
    return sum(min(width, UNBROKEN) + 3 for width in widths)


def _print_table(console: Console, names: list[str], found: list[list[str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for name in names:
        table.add_column(name, overflow="fold")
    for row in found:
        table.add_row(*row)
    console.print(table)


def _print_records(console: Console, names: list[str], found: list[list[str]]) -> None:
    """One line for each value of a row, as a table of these columns does not fit."""
    for number, row in enumerate(found, start=1):
        console.print(f"row {number}")
        record = Table.grid(padding=(0, 2))
        record.add_column(no_wrap=True)
        record.add_column(overflow="fold")
        for name, value in zip(names, row, strict=True):
            if value:
                record.add_row(f"  {name}", value)
        console.print(record)
    if not all(map(all, found)):
        console.print("Columns without a value are left out; --format csv prints all of them.")


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


def _text(value: Any) -> str:
    value = plain(value)
    if value is None:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
