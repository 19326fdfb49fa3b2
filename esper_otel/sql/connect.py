"""A DuckDB connection with the views over one or many runs."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import Final

import duckdb

from esper_otel.archive.address import address_of, is_address
from esper_otel.log.envelope import told_losses
from esper_otel.runs.places import runs_of
from esper_otel.sql import custom
from esper_otel.sql.archived import archived_files
from esper_otel.sql.catalogue import VIEWS, in_order, tables_under, views_in
from esper_otel.sql.files import files_of
from esper_otel.sql.staging.gather import Files
from esper_otel.sql.staging.workers import available_processes
from esper_otel.sql.views.columns import literal, quoted
from esper_otel.sql.views.tables import pattern

MEMORY_LIMIT: Final = "1GB"


def connect(
    runs: Sequence[str | PathLike[str]] | str | PathLike[str],
    memory_limit: str = MEMORY_LIMIT,
    *,
    views: Collection[str] | None = None,
    query: str | None = None,
    tell: Callable[[str], object] = lambda _: None,
    all_rejected: bool = True,
) -> duckdb.DuckDBPyConnection:
    """A connection with every view of :data:`VIEWS` over all ``runs`` together.

    Parquet files of a run (``esper-otel compact``) are used; the rest of its log is read now, into temporary files
    that go when the connection does. Logs are only read. Nothing beyond the files of the runs can be opened through
    the connection, and its settings are locked. Statements of other people belong into
    :func:`esper_otel.sql.select`, which takes queries only.

    Args:
        runs: run directories, log files (also ``.gz``, ``.zst``), telemetry directories, directories that ``compact``
            made, or addresses of archived runs (``s3://bucket/prefix/run_id=NAME``; without a run the newest one).
        memory_limit: DuckDB's own limit, for instance ``512MB``; what does not fit is spilled to a temporary directory.
        views: names of the views that will be used, which saves reading for the others; None for all.
        query: the query that will be asked, and no other: then only what it needs is read of the runs, and of many runs
            only those that it is about. An index of them is kept beside them where 20 or more of one directory are
            asked and it can be written.
        tell: called with a sentence for people where stretches of the logs gave no event; ``rejected_lines`` has them.
        all_rejected: False lets ``rejected_lines`` leave out a line of a known type that no other view of ``views``
            needs and that only its conversion, which takes most of the time, would show to hold no event.

    Raises:
        FileNotFoundError: there is nothing to read at one of ``runs``.
        KeyError: a view of that name does not exist.
        ValueError: a directory holds Parquet files of another contract and no log to read instead, or an address of an
            archive is invalid.
        ArchiveError: an archive cannot be read.
        duckdb.Error: ``memory_limit`` is none.
    """
    chosen = _chosen(views, query)
    given = [runs] if isinstance(runs, str | PathLike) else list(runs)
    found = runs_of([each for each in given if not is_address(each)])
    addresses = list(dict.fromkeys(address_of(each) for each in given if is_address(each)))
    scratch = Path(tempfile.mkdtemp(prefix="esper-otel-sql-"))
    try:
        connection = open_database(scratch, memory_limit)
        weakref.finalize(connection, shutil.rmtree, scratch, True)
        wanted = tables_under(chosen)
        files, lost = files_of(found, scratch, wanted, query, connection, tell, all_rejected=all_rejected)
        archived, more_lost = archived_files(addresses, scratch, wanted, query, connection, tell)
        for table, paths in archived.items():
            files.setdefault(table, []).extend(paths)
        lost.update(more_lost)
        if lost:
            tell(f"{told_losses(lost)}: SELECT * FROM rejected_lines")
        _create(connection, chosen, files)
        if set(custom.SOURCES) <= set(chosen):
            custom.create_views(connection)
        _lock(connection, files)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return connection


def _chosen(views: Collection[str] | None, query: str | None) -> list[str]:
    if views is not None:
        return list({name: VIEWS[name] for name in views})
    if query is None:
        return list(VIEWS)
    named = views_in(query)
    return [*named, *(name for name in custom.SOURCES if name not in named)] if custom.may_need(query) else named


def open_database(scratch: Path, memory_limit: str) -> duckdb.DuckDBPyConnection:
    """Open an empty database in memory that spills to ``scratch``; home directory and time zone have no influence.

    Raises:
        duckdb.Error: ``memory_limit`` is none.
    """
    connection = duckdb.connect(
        config={
            "memory_limit": memory_limit,
            "temp_directory": str(scratch / "spill"),
            "threads": str(min(available_processes(), 4)),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "allow_persistent_secrets": "false",
            "home_directory": str(scratch),
            "extension_directories": "[]",
        }
    )
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _create(connection: duckdb.DuckDBPyConnection, names: list[str], files: Files) -> None:
    ordered = in_order(names)
    stored = {table.name: f"({table.stored(files.get(table.name, []))})" for view in ordered for table in view.tables}
    for view in ordered:
        connection.execute(f"CREATE VIEW {quoted(view.name)} AS {view.sql.format(**stored)}")
        connection.execute(f"COMMENT ON VIEW {quoted(view.name)} IS {literal(view.description)}")


def _lock(connection: duckdb.DuckDBPyConnection, files: Files) -> None:
    paths = {name for of_table in files.values() for path in of_table for name in (str(path.absolute()), pattern(path))}
    allowed = ", ".join(map(literal, sorted(paths)))
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
