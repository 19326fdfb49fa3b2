"""The Parquet files of archived runs that a query reads: those of the tables, runs and times that it is about."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import duckdb

from esper_otel.archive.address import Address
from esper_otel.archive.catalogue import runs_in
from esper_otel.archive.download import StaleError, download
from esper_otel.archive.layout import Part, Stored
from esper_otel.archive.store import Store
from esper_otel.runs.facts import Facts
from esper_otel.runs.places import Run
from esper_otel.sql.selection import Selection, selection_of
from esper_otel.sql.staging.gather import Files
from esper_otel.sql.views.columns import literal, quoted
from esper_otel.sql.views.tables import LAYOUT, TABLES, Table

ATTEMPTS: Final = 3
"""Lists of an archive whose last segments are replaced meanwhile."""


def archived_files(
    addresses: Sequence[Address],
    scratch: Path,
    wanted: frozenset[str],
    query: str | None,
    connection: duckdb.DuckDBPyConnection,
    tell: Callable[[str], object],
) -> tuple[Files, Counter[str]]:
    """Files by table, downloaded into ``scratch`` where the archive is elsewhere, and lost stretches by reason.

    Args:
        addresses: archives or runs in them.
        scratch: directory of temporary files.
        wanted: names of the tables.
        query: what will be asked, and nothing else; None when that is not known.
        connection: database that converts files of an earlier contract.
        tell: called with a sentence for people about a segment that cannot be used.

    Raises:
        FileNotFoundError: there is no run.
        ArchiveError: an archive cannot be read, or a file of it is damaged.
    """
    files: Files = defaultdict(list)
    lost: Counter[str] = Counter()
    if not addresses:
        return files, lost
    selection = selection_of(query) if query is not None else None
    for number, address in enumerate(addresses):
        directory = scratch / f"archive.{number}"
        directory.mkdir()
        store = Store(address)
        for table, paths in _files(store, address, directory, wanted, selection, connection, lost, tell).items():
            files[table] += paths
    return files, lost


def _files(
    store: Store,
    address: Address,
    directory: Path,
    wanted: frozenset[str],
    selection: Selection | None,
    connection: duckdb.DuckDBPyConnection,
    lost: Counter[str],
    tell: Callable[[str], object],
) -> Files:
    left = ATTEMPTS
    while True:
        left -= 1
        parts = _usable(store, [part for run in runs_in(store, address, tell) for part in run.parts], tell)
        chosen = [
            (part, table, stored)
            for part, tables in zip(parts, _tables(selection, wanted, parts), strict=True)
            for table in sorted(tables & part.tables.keys())
            for stored in part.tables[table]
        ]
        try:
            paths = download(store, [(part.folder, stored) for part, _, stored in chosen], directory)
        except StaleError:
            if not left:
                raise
            continue
        for part in parts:
            lost.update(part.lost)
        return _in_this_contract(chosen, paths, directory, connection)


def _usable(store: Store, parts: list[Part], tell: Callable[[str], object]) -> list[Part]:
    """Segments that this version can read."""
    kept = [part for part in parts if part.layout <= LAYOUT]
    if len(kept) < len(parts):
        tell(
            f"{len(parts) - len(kept)} segments in {store.url} were written by a later version of esper-otel and are"
            " left out; upgrade to read them"
        )
    return kept


def _tables(selection: Selection | None, wanted: frozenset[str], parts: list[Part]) -> list[frozenset[str]]:
    if selection is None:
        return [wanted] * len(parts)
    return selection.tables_of([(_run_of(part), _facts_of(part)) for part in parts])


def _run_of(part: Part) -> Run:
    return Run(None, Path(), {part.source: part.run}, {})


def _facts_of(part: Part) -> Facts | None:
    span = part.span
    return None if span is None else Facts("", span.run_ids, span.types, span.first_us, span.last_us, part.lost)


def _in_this_contract(
    chosen: Sequence[tuple[Part, str, Stored]],
    paths: Sequence[Path],
    directory: Path,
    connection: duckdb.DuckDBPyConnection,
) -> Files:
    """The files by table; those of other columns converted to today's, what they lack NULL."""
    files: Files = defaultdict(list)
    for number, ((part, name, _), path) in enumerate(zip(chosen, paths, strict=True)):
        table = TABLES[name]
        if part.fingerprints.get(name) != table.fingerprint:
            path = _converted(table, path, directory / f"{name}.{number:06d}.parquet", connection)
        files[name].append(path)
    return files


def _converted(table: Table, path: Path, target: Path, connection: duckdb.DuckDBPyConnection) -> Path:
    source = table.source([path])
    there = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}
    columns = [
        f"TRY_CAST({quoted(column.name)} AS {column.stored_type}) AS {quoted(column.name)}"
        if column.name in there
        else f"NULL::{column.stored_type} AS {quoted(column.name)}"
        for column in table.columns
    ]
    connection.execute(
        f"COPY (SELECT {', '.join(columns)} FROM {source}) TO {literal(str(target.absolute()))} (FORMAT parquet)"
    )
    return target
