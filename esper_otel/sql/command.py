"""The commands ``sql``, ``views`` and ``compact``."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import duckdb
import typer
from rich.console import Console
from rich.table import Table

from esper_otel.sql import catalogue, output
from esper_otel.sql.bounded import bounded_memory
from esper_otel.sql.compact import compact as compact_run
from esper_otel.sql.connect import MEMORY_LIMIT, connect
from esper_otel.sql.select import QueryError, check, near_names, out_of_memory, select
from esper_otel.terminal import printable

Memory = Annotated[str, typer.Option("--memory-limit", help="Memory that DuckDB may take, for instance 512MB.")]


class ViewsFormat(StrEnum):
    """How the views are listed."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def sql(
    arguments: Annotated[
        list[str],
        typer.Argument(metavar="RUN... QUERY", help="Run directories or log files (also .gz, .zst), then the query."),
    ],
    form: Annotated[output.Format, typer.Option("--format", help="table, json or csv.")] = output.Format.TABLE,
    memory_limit: Memory = MEMORY_LIMIT,
) -> None:
    """Ask one run or many: a query over the views that 'esper-otel views' lists. Nothing is written.

    Exit status 2: the query or a run is not right; the message says what would be.
    """
    *runs, query = arguments
    if not runs:
        _fail(f"give one or more runs and then the query, not only {query!r}")
    try:
        with duckdb.connect() as parser:
            check(parser, query)
        wanted = catalogue.views_in(query) or None
        with connect(runs, memory_limit, views=wanted) as connection, bounded_memory(connection):
            output.write(select(connection, query), form, sys.stdout)
    except (QueryError, OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _fail(out_of_memory(str(error)))


def views(
    name: Annotated[str | None, typer.Argument(help="One view, for its columns.")] = None,
    form: Annotated[ViewsFormat, typer.Option("--format", help="table, json or markdown.")] = ViewsFormat.TABLE,
) -> None:
    """List the views, or the columns of one of them."""
    if name is not None and name not in catalogue.VIEWS:
        near = near_names(name)
        _fail(f"there is no view {name!r}" + (f"; near names: {', '.join(near)}" if near else ""))
    rows = [row for row in catalogue.rows() if name in (None, row["view"])]
    if form is ViewsFormat.JSON:
        print(json.dumps(rows, indent=2))
    elif form is ViewsFormat.MARKDOWN:
        print(catalogue.markdown(), end="")
    elif name is None:
        _print_views()
    else:
        _print_columns(name)


def compact(
    run: Annotated[Path, typer.Argument(help="Run directory, log file (also .gz, .zst) or telemetry directory.")],
    directory: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to; RUN/parquet unless said otherwise.")
    ] = None,
    memory_limit: Memory = MEMORY_LIMIT,
) -> None:
    """Write a run as Parquet, which the views read at once. The log stays; run it again to add what came since."""
    try:
        done = compact_run(run, directory, memory_limit)
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _fail(str(error))
    print(f"{done.directory}: {done.lines:,} lines, {done.new_lines:,} of them new, {done.size_bytes / 2**20:,.1f} MiB")


def _print_views() -> None:
    table = Table("view", "columns", "a row is")
    for view in catalogue.VIEWS.values():
        table.add_row(view.name, str(len(view.columns)), view.description)
    Console().print(table)


def _print_columns(name: str) -> None:
    view = catalogue.VIEWS[name]
    table = Table("column", "type", "meaning", title=f"{view.name}: {view.description}")
    for column in view.columns:
        table.add_row(column.name, column.type, column.description)
    Console(markup=False).print(table)


def _fail(message: str) -> None:
    print(f"esper-otel: {printable(message)}", file=sys.stderr)
    raise typer.Exit(2)
