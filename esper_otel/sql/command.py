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

from esper_otel.archive.address import address_of, is_address
from esper_otel.log.envelope import told_losses
from esper_otel.runs.places import runs_below
from esper_otel.sql import catalogue, output
from esper_otel.sql.bounded import bounded_memory
from esper_otel.sql.compact import compact as compact_run
from esper_otel.sql.connect import MEMORY_LIMIT, connect
from esper_otel.sql.select import QueryError, check, near_names, out_of_memory, select
from esper_otel.text.terminal import printable

Memory = Annotated[str, typer.Option("--memory-limit", help="Memory limit of DuckDB, for example 512MB.")]


class ViewsFormat(StrEnum):
    """Format of the list of views."""

    TABLE = "table"
    JSON = "json"
    MARKDOWN = "markdown"


def sql(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN... QUERY", help="Run directories, log files (also .gz, .zst) or archived runs, then the query."
        ),
    ],
    form: Annotated[output.Format, typer.Option("--format", help="table, json or csv.")] = output.Format.TABLE,
    memory_limit: Memory = MEMORY_LIMIT,
    all_runs: Annotated[
        bool,
        typer.Option(
            "--all-runs", help="RUN is a directory of runs or an archive: ask all of them, not only the newest."
        ),
    ] = False,
) -> None:
    """Query one run or several over the views that 'esper-otel views' lists. Read-only.

    Exit status 2: the query or a run is invalid; the message says how to correct it.
    """
    *runs, query = arguments
    if not runs:
        _fail(f"expected one or more runs and then the query, got only {query!r}")
    try:
        with duckdb.connect() as parser:
            check(parser, query)
        asked = _all_runs(runs) if all_runs else runs
        with connect(asked, memory_limit, query=query, tell=_tell) as connection, bounded_memory(connection):
            output.write(select(connection, query), form, sys.stdout)
    except BrokenPipeError:
        raise  # the reader, as head, has enough: Typer ends the command without a word
    except (QueryError, OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _fail(out_of_memory(str(error)))


def views(
    name: Annotated[str | None, typer.Argument(help="List the columns of this view.")] = None,
    form: Annotated[ViewsFormat, typer.Option("--format", help="table, json or markdown.")] = ViewsFormat.TABLE,
) -> None:
    """List the views, or the columns of one of them."""
    if name is not None and name not in catalogue.VIEWS:
        near = near_names(name)
        _fail(f"there is no view {name!r}" + (f"; similar names: {', '.join(near)}" if near else ""))
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
    run: Annotated[
        Path,
        typer.Argument(help="Run directory, log file (also .gz, .zst), telemetry directory; or an archive of runs."),
    ],
    directory: Annotated[
        Path | None, typer.Option("-o", "--output", help="Output directory. Default: RUN/parquet.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="Archive on object storage instead: s3://, gs:// or az://BUCKET/PREFIX, file:///DIR."
        ),
    ] = None,
    memory_limit: Memory = MEMORY_LIMIT,
) -> None:
    """Write a run as Parquet, which the views read without parsing. Keeps the log; run it again to add new events.

    With --to the run goes into an archive of runs, from which all commands read it: 'esper-otel sql s3://bucket/prefix'.
    Credentials come from the standard variables, such as AWS_ACCESS_KEY_ID.
    'esper-otel compact s3://bucket/prefix' merges the files of small runs in an archive, so that queries over thousands
    of them open few; the archive keeps the files that it had.
    """
    if is_address(run):
        if to is not None or directory is not None:
            _fail("the files of an archive are merged in it: give neither --to nor -o")
        _merge(run, memory_limit)
        return
    if to is not None:
        if directory is not None:
            _fail("--to writes into an archive and -o into a directory; give one of them")
        _archive(run, to, memory_limit)
        return
    try:
        done = compact_run(run, directory, memory_limit)
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _fail(str(error))
    if done.lost:
        _tell(told_losses(done.lost))
    print(f"{done.directory}: {done.lines:,} lines, {done.new_lines:,} of them new, {done.size_bytes / 2**20:,.1f} MiB")


def _all_runs(given: list[str]) -> list[str | Path]:
    """Every run of the directories and archives that are given."""
    archives = [str(address_of(each).of_every_run) for each in given if is_address(each)]
    return [*runs_below([each for each in given if not is_address(each)], _tell), *archives]


def _archive(run: Path, to: str, memory_limit: str) -> None:
    from esper_otel.sql.archiving.whole import archive  # reads and writes logs, which a query does not

    try:
        done = archive(run, address_of(to), memory_limit)
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _fail(str(error))
    added = f"{done.lines:,} lines in {done.segments:,} segments added, {done.size_bytes / 2**20:,.1f} MiB"
    print(f"{done.address}: {added if done.segments else 'nothing new'}")


def _merge(archive: Path, memory_limit: str) -> None:
    from esper_otel.sql.archiving.merge import merge  # as above

    try:
        address = address_of(archive)
        if address.run:
            raise ValueError(f"give the archive, {address.url}: the files of many runs are merged, not those of one")
        done = merge(address, memory_limit, _tell)
    except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
        _fail(str(error))
    added = f"files of {done.new_segments:,} segments merged, {done.size_bytes / 2**20:,.1f} MiB"
    known = f"merged files cover {done.segments:,} segments"
    print(f"{address.url}: {added if done.new_segments else 'nothing to merge'}; {known}")


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


def _tell(message: str) -> None:
    print(f"esper-otel: {printable(message)}", file=sys.stderr)


def _fail(message: str) -> None:
    _tell(message)
    raise typer.Exit(2)
