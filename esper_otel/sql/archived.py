"""The Parquet files of archived runs that a query reads: those of the tables, runs and times that it is about."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import duckdb

from esper_otel.archive.address import Address
from esper_otel.archive.catalogue import runs_in
from esper_otel.archive.download import DamagedError, StaleError, download
from esper_otel.archive.layout import Part, Stored
from esper_otel.archive.merged import MERGED, MergedSet, sets_in, valid_sets
from esper_otel.archive.store import Store
from esper_otel.runs.facts import Facts
from esper_otel.runs.places import Run
from esper_otel.sql.selection import Selection, selection_of
from esper_otel.sql.staging.gather import Files
from esper_otel.sql.views.columns import literal, quoted
from esper_otel.sql.views.tables import LAYOUT, TABLES, Table

ATTEMPTS: Final = 3
"""Lists of an archive whose last segments are replaced meanwhile."""


WORTH: Final = 200
"""Files of a query, from which on it looks for merged ones, which takes a list of them."""


class Source(NamedTuple):
    """A file that a query reads, with its table, the fingerprint of its columns and the key of its segment."""

    folder: str
    table: str
    stored: Stored
    fingerprint: str | None
    segment: str


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
    left, may_merge = ATTEMPTS, address.is_every
    while True:
        left -= 1
        parts = usable(store, [part for run in runs_in(store, address, tell) for part in run.parts], tell)
        asked = _tables(selection, wanted, parts)
        chosen = [source for part, tables in zip(parts, asked, strict=True) for source in sources_of(part, tables)]
        is_merged = may_merge and len(chosen) >= WORTH
        if is_merged:
            chosen = _with_merged(chosen, parts, sets_in(store, tell))
        try:
            paths = download(store, [(source.folder, source.stored) for source in chosen], directory)
        except (StaleError, DamagedError) as error:
            is_over = not left or (isinstance(error, DamagedError) and not is_merged)
            if is_over:
                raise
            if isinstance(error, DamagedError):
                tell(f"{error}; the files of each segment are read instead")
            may_merge = False  # those are there, whatever became of merged ones
            continue
        for part in parts:
            lost.update(part.lost)
        return in_this_contract(chosen, paths, directory, connection)


def usable(store: Store, parts: list[Part], tell: Callable[[str], object]) -> list[Part]:
    """Segments that this version can read; ``tell`` gets a sentence about others."""
    kept = [part for part in parts if part.layout <= LAYOUT]
    if len(kept) < len(parts):
        tell(
            f"{len(parts) - len(kept)} segments in {store.url} were written by a later version of esper-otel and are"
            " left out; upgrade to read them"
        )
    return kept


def sources_of(part: Part, tables: Collection[str]) -> list[Source]:
    """The files of a segment that have rows of ``tables``."""
    folder, key = part.folder, part.key
    return [
        Source(folder, table, stored, part.fingerprints.get(table), key)
        for table in sorted(part.tables.keys() & tables)
        for stored in part.tables[table]
    ]


def _with_merged(chosen: list[Source], parts: list[Part], sets: Mapping[str, MergedSet]) -> list[Source]:
    """The files with merged ones instead of those whose rows they have, all of which are among ``chosen``."""
    tables_of = {part.key: part.tables for part in parts}
    asked: dict[str, dict[str, list[Source]]] = defaultdict(lambda: defaultdict(list))
    for source in chosen:
        asked[source.table][source.segment].append(source)
    found = []
    valid = valid_sets(sets, tables_of)
    for table, of_table in asked.items():
        fingerprint = TABLES[table].fingerprint
        for each in (each for each in valid.values() if each.has(table, fingerprint)):
            covered = [segment for segment in each.segments if table in tables_of[segment]]
            if all(segment in of_table for segment in covered):
                found.append(Source(MERGED, table, each.tables[table], each.fingerprints[table], ""))
                for segment in covered:
                    del of_table[segment]
        found += [source for sources in of_table.values() for source in sources]
    return found


def _tables(selection: Selection | None, wanted: frozenset[str], parts: list[Part]) -> list[frozenset[str]]:
    if selection is None:
        return [wanted] * len(parts)
    return selection.tables_of([(_run_of(part), _facts_of(part)) for part in parts])


def _run_of(part: Part) -> Run:
    return Run(None, Path(), {part.source: part.run}, {})


def _facts_of(part: Part) -> Facts | None:
    span = part.span
    return None if span is None else Facts("", span.run_ids, span.types, span.first_us, span.last_us, part.lost)


def in_this_contract(
    chosen: Sequence[Source], paths: Sequence[Path], directory: Path, connection: duckdb.DuckDBPyConnection
) -> Files:
    """The files by table; those of other columns converted to today's in ``directory``, what they lack NULL."""
    files: Files = defaultdict(list)
    current = {name: TABLES[name].fingerprint for name in {source.table for source in chosen}}
    for number, (source, path) in enumerate(zip(chosen, paths, strict=True)):
        if source.fingerprint != current[source.table]:
            path = _converted(
                TABLES[source.table], path, directory / f"{source.table}.{number:06d}.parquet", connection
            )
        files[source.table].append(path)
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
