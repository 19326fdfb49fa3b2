"""Merging of the files of small archived segments: ``esper-otel compact ARCHIVE``."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from esper_otel import __version__
from esper_otel.archive.address import Address
from esper_otel.archive.catalogue import runs_in
from esper_otel.archive.download import download
from esper_otel.archive.layout import Part, Stored, file_name
from esper_otel.archive.merged import MERGED, MergedSet, sets_in, valid_sets
from esper_otel.archive.store import Store
from esper_otel.sql.archived import in_this_contract, sources_of, usable
from esper_otel.sql.connect import open_database
from esper_otel.sql.staging.sink import ROW_GROUP
from esper_otel.sql.views.columns import literal
from esper_otel.sql.views.tables import LAYOUT, TABLES

SMALL_BYTES: Final = 256 * 1024
"""Mean size of the files of a segment, below which opening them takes longer than reading them."""

MOST_SEGMENTS: Final = 1_000
MOST_BYTES: Final = 256 * 2**20
"""Limits of one set: what it covers must all be asked for, and be merged again where one of it was replaced."""

FEWEST_SEGMENTS: Final = 20
FULL: Final = 0.5
"""Share of a limit, from which on a set is left alone; a smaller one is merged again, together with later segments."""

SETTLED_S: Final = 3600
"""Age of the last event of a segment that is not closed, from which on it counts as one to which nothing comes."""


class Merged(msgspec.Struct, frozen=True):
    """Result: segments that merged files cover, those merged now, and the bytes of the files that were made."""

    segments: int
    new_segments: int
    size_bytes: int


def merge(address: Address, memory_limit: str, tell: Callable[[str], object]) -> Merged:
    """Merge the files of small segments of an archive. May be killed and run again at any time, also by two at once.

    Args:
        address: the archive.
        memory_limit: DuckDB's own limit, for instance ``512MB``.
        tell: called with a sentence for people about what cannot be used.

    Raises:
        FileNotFoundError: the archive holds no run.
        ArchiveError: the archive cannot be read or written.
    """
    store = Store(address)
    parts = usable(store, [part for run in runs_in(store, address.of_every_run, tell) for part in run.parts], tell)
    current = {part.key: part for part in parts}
    old = {key: each for key, each in sets_in(store, tell).items() if each.layout <= LAYOUT}
    valid = {key: each for key, each in valid_sets(old, current).items() if _is_current(each)}
    kept = {key for key, each in valid.items() if _is_full([current[segment] for segment in each.segments])}
    covered = {segment for key in kept for segment in valid[key].segments}
    loose = [part for part in parts if part.key not in covered and _is_small(part) and _is_settled(part)]
    groups = [tuple(part.key for part in group) for group in _groups(loose)]
    kept |= {key for key, each in valid.items() if each.segments in groups}
    new = [group for group in groups if group not in {valid[key].segments for key in kept}]
    scratch = Path(tempfile.mkdtemp(prefix="esper-otel-merge-"))
    try:
        with open_database(scratch, memory_limit) as database:
            database.execute("SET threads = 1")  # keeps the order of the segments without holding all of them for it
            made = [_write(store, [current[segment] for segment in group], scratch, database) for group in new]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    kept |= {each.key for each in made}  # one of them may have been there, hidden by one that it replaced
    _remove(store, {key: each for key, each in old.items() if key not in kept})
    size = sum(stored.size for each in made for stored in each.tables.values())
    return Merged(len(covered) + sum(map(len, groups)), sum(map(len, new)), size)


def _is_current(found: MergedSet) -> bool:
    return all(found.has(table, TABLES[table].fingerprint) for table in found.tables if table in TABLES)


def _is_small(part: Part) -> bool:
    return 0 < _size(part) < SMALL_BYTES * sum(map(len, part.tables.values()))


def _is_settled(part: Part) -> bool:
    """True if nothing comes to the segment, as far as anyone can tell: else its set would soon be outdated."""
    last_us = part.span.last_us if part.span is not None else None
    return part.closed or (last_us is not None and last_us / 1e6 < time.time() - SETTLED_S)


def _is_full(parts: list[Part]) -> bool:
    return len(parts) >= FULL * MOST_SEGMENTS or sum(map(_size, parts)) >= FULL * MOST_BYTES


def _groups(parts: list[Part]) -> Iterator[list[Part]]:
    """Segments that get common files, by time: a query for some days is then about whole sets."""
    group: list[Part] = []
    size = 0
    for part in sorted(parts, key=lambda part: (_first_us(part), part.key)):
        if group and (len(group) == MOST_SEGMENTS or size + _size(part) > MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(part)
        size += _size(part)
    if len(group) >= FEWEST_SEGMENTS:
        yield group


def _write(store: Store, parts: list[Part], scratch: Path, database: duckdb.DuckDBPyConnection) -> MergedSet:
    """Write the merged files of ``parts``, and then the description that makes them valid."""
    tables = sorted({table for part in parts for table in part.tables if table in TABLES})
    files = {table: _merged(store, parts, table, scratch, database) for table in tables}
    made = MergedSet(
        segments=tuple(part.key for part in parts),
        layout=LAYOUT,
        tables=files,
        fingerprints={table: TABLES[table].fingerprint for table in tables},
        writer=f"esper-otel {__version__}",
    )
    store.put(made.key, made.content)
    return made


def _merged(store: Store, parts: list[Part], table: str, scratch: Path, database: duckdb.DuckDBPyConnection) -> Stored:
    folder = scratch / table
    folder.mkdir()
    try:
        chosen = [source for part in parts for source in sources_of(part, {table})]
        paths = download(store, [(source.folder, source.stored) for source in chosen], folder)
        files = in_this_contract(chosen, paths, folder, database)[table]
        target = folder / "merged"
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}"
        database.execute(f"COPY (FROM {TABLES[table].source(files)}) TO {literal(str(target.absolute()))} ({options})")
        with target.open("rb") as file:
            name = file_name(table, len(parts), hashlib.file_digest(file, "sha256").hexdigest())
        stored = Stored(name, target.stat().st_size)
        store.put(f"{MERGED}/{name}", target)
        return stored
    finally:
        shutil.rmtree(folder)


def _remove(store: Store, sets: Mapping[str, MergedSet]) -> None:
    """Remove sets that newer ones replaced, descriptions first; a reader that misses a file reads the segments'."""
    for key in sets:
        store.remove(key)
    kept = {stored.name for each in sets_in(store, lambda _: None).values() for stored in each.tables.values()}
    for name in {stored.name for each in sets.values() for stored in each.tables.values()} - kept:
        store.remove(f"{MERGED}/{name}")


def _size(part: Part) -> int:
    return sum(stored.size for files in part.tables.values() for stored in files)


def _first_us(part: Part) -> int:
    return part.span.first_us or 0 if part.span is not None else 0
