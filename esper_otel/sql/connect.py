"""A DuckDB connection with the views over one or many runs."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import Final

import duckdb

from esper_otel.sql import parts
from esper_otel.sql.catalogue import VIEWS, in_order, tables_under
from esper_otel.sql.columns import literal, quoted
from esper_otel.sql.runs import Run, runs_of
from esper_otel.sql.stage import Stage
from esper_otel.sql.tables import fingerprint
from esper_otel.sql.workers import available_processes

MEMORY_LIMIT: Final = "1GB"

Files = dict[str, list[Path]]


def connect(
    runs: Sequence[str | PathLike[str]] | str | PathLike[str],
    memory_limit: str = MEMORY_LIMIT,
    *,
    views: Collection[str] | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection in which every view of :data:`VIEWS` can be selected from, over all ``runs`` together.

    What a run has in Parquet (``esper-otel compact``) is used; the rest of its log is read now, into temporary files
    that go when the connection does. Logs are only read. Nothing beyond the files of the runs can be opened through
    the connection, and its settings are locked. Statements of other people belong into
    :func:`esper_otel.sql.select`, which takes queries only.

    Args:
        runs: run directories, log files (also ``.gz``, ``.zst``), telemetry directories or directories that
            ``compact`` made.
        memory_limit: DuckDB's own limit, for instance ``512MB``; what does not fit is spilled to a temporary directory.
        views: names of the views that will be used, which saves reading for the others; None for all.

    Raises:
        FileNotFoundError: there is nothing to read at one of ``runs``.
        KeyError: a view of that name does not exist.
        ValueError: a directory holds Parquet files of another contract and no log to read instead.
        duckdb.Error: ``memory_limit`` is none.
    """
    chosen = list(VIEWS if views is None else {name: VIEWS[name] for name in views})
    found = runs_of([runs] if isinstance(runs, str | PathLike) else list(runs))
    scratch = Path(tempfile.mkdtemp(prefix="esper-otel-sql-"))
    try:
        connection = open_database(scratch, memory_limit)
        weakref.finalize(connection, shutil.rmtree, scratch, True)
        files: Files = defaultdict(list)
        for number, run in enumerate(found):
            for table, stored in _files_of(run, scratch / str(number), tables_under(chosen), connection).items():
                files[table] += stored
        _create(connection, chosen, files)
        _lock(connection, files)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return connection


def open_database(scratch: Path, memory_limit: str) -> duckdb.DuckDBPyConnection:
    """An empty database in memory that spills to ``scratch``.

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
        }
    )
    connection.execute("SET enable_progress_bar = false")
    return connection


def _files_of(run: Run, scratch: Path, wanted: frozenset[str], connection: duckdb.DuckDBPyConnection) -> Files:
    """Parquet files of a run by table: those that it has, and new ones of what was logged since."""
    manifest = parts.load(run.parquet)
    if manifest is not None and manifest.fingerprint != fingerprint():
        if run.path is None:
            raise ValueError(f"{run.parquet} was written under another contract and its log is not there to read")
        manifest = None
    files = manifest.paths(run.parquet) if manifest else {}
    if run.path is not None:
        rest = parts.Manifest(fingerprint())
        if manifest:
            rest.positions, rest.duplicates, rest.signature = (
                manifest.positions,
                manifest.duplicates,
                manifest.signature,
            )
        scratch.mkdir()
        Stage(run, scratch, rest, wanted, connection).bring_up_to_date(is_growing=False)
        for table, paths in rest.paths(scratch).items():
            files[table] = [*files.get(table, []), *paths]
    return files


def _create(connection: duckdb.DuckDBPyConnection, names: list[str], files: Files) -> None:
    ordered = in_order(names)
    stored = {table.name: f"({table.stored(files.get(table.name, []))})" for view in ordered for table in view.tables}
    for view in ordered:
        connection.execute(f"CREATE VIEW {quoted(view.name)} AS {view.sql.format(**stored)}")
        connection.execute(f"COMMENT ON VIEW {quoted(view.name)} IS {literal(view.description)}")


def _lock(connection: duckdb.DuckDBPyConnection, files: Files) -> None:
    allowed = ", ".join(literal(str(path)) for paths in files.values() for path in paths)
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
