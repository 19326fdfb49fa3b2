"""One segment of a log as Parquet files in an archive, with their description behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from esper_otel import __version__
from esper_otel.archive.layout import Part, Resume, Span, Stored, data_folder, file_name
from esper_otel.archive.store import Store
from esper_otel.log.reading.follower import Position
from esper_otel.runs.places import Run
from esper_otel.runs.summary import Progress
from esper_otel.runs.summing import Summing
from esper_otel.sql.archiving.lane import Lane, SegmentReader
from esper_otel.sql.staging.batches import BATCH_LINES, Batches
from esper_otel.sql.staging.parts import Manifest
from esper_otel.sql.staging.sink import Sink
from esper_otel.sql.staging.workers import rows_in_order
from esper_otel.sql.views.tables import LAYOUT, TABLES

PIECE_LINES: Final = 500_000
"""Lines between two files of a table: what has room on this machine's disk on its way."""

_PROGRESS: Final = msgspec.msgpack.Decoder(Progress)


class Written(msgspec.Struct, frozen=True):
    """A segment that was archived, and the bytes of its files."""

    part: Part
    size_bytes: int


class SegmentWriter:
    """Archives segments of one run by means of a database, in bounded memory. Not thread-safe."""

    def __init__(
        self, name: str, store: Store, scratch: Path, database: duckdb.DuckDBPyConnection, processes: int = 0
    ) -> None:
        """Write a run as ``name``; ``scratch``: an empty directory; ``processes``: helpers that convert lines."""
        self._name, self._store = name, store
        self._scratch, self._processes = scratch, processes
        self._sink = Sink(scratch, database)

    def write(self, run: Run, lane: Lane, number: int, before: Part | None, head: str, *, is_over: bool) -> Written:
        """Archive segment ``number`` of a log of ``run``, whose previous segment is ``before``; None for the first.

        The files are written first, and then the description that makes them valid.

        Raises:
            ArchiveError: the archive did not take it; nothing of it is valid.
            OSError: the log cannot be read, or the disk is full.
        """
        known = before.resume if before is not None else Resume(None, None, {})
        summing = Summing(_PROGRESS.decode(before.progress) if before is not None else None)
        manifest = Manifest("", duplicates=known.duplicates, arms=known.arms)
        batches = Batches(run, manifest, frozenset(TABLES))
        position: Position | None = known.position
        reader = SegmentReader(lane, number, position, summing, is_over=is_over)
        tables: dict[str, list[Stored]] = {}
        try:
            for stored_of in self._pieces(batches, reader, lane, number):
                for table, stored in stored_of.items():
                    tables.setdefault(table, []).append(stored)
            part = self._part(lane, number, head, batches, reader, tables, summing)
        finally:
            reader.close()
        self._store.put(part.key, msgspec.json.format(msgspec.json.encode(part), indent=1))
        size = sum(stored.size for files in tables.values() for stored in files)
        return Written(part, size)

    def _pieces(self, batches: Batches, reader: SegmentReader, lane: Lane, number: int) -> Iterator[dict[str, Stored]]:
        piece, folder = 0, data_folder(self._name, lane.rank)
        while True:
            before = reader.lines
            try:
                some = batches.read(reader, PIECE_LINES // BATCH_LINES)
                for rows in rows_in_order(some, processes=self._processes):
                    self._sink.add(rows)
            finally:
                self._sink.close()
            if reader.lines == before:
                break
            piece += 1
            files = self._sink.store(piece, batches.longest)
            yield {table: self._uploaded(folder, table, number, path) for table, path in files.items()}
        if reader.trouble is not None:
            raise OSError(f"{lane.name}: {reader.trouble}")

    def _uploaded(self, folder: str, table: str, number: int, path: Path) -> Stored:
        with path.open("rb") as file:
            content_hash = hashlib.file_digest(file, "sha256").hexdigest()
        stored = Stored(file_name(table, number, content_hash), path.stat().st_size)
        try:
            self._store.put(f"{folder}/{stored.name}", path)
        finally:
            path.unlink()
        return stored

    def _part(
        self,
        lane: Lane,
        number: int,
        head: str,
        batches: Batches,
        reader: SegmentReader,
        tables: dict[str, list[Stored]],
        summing: Summing,
    ) -> Part:
        manifest = Manifest("")
        batches.note_in(manifest)
        facts = batches.observed.facts("")
        span = Span(facts.run_ids, facts.types, facts.first_us, facts.last_us) if facts is not None else None
        return Part(
            run=self._name,
            rank=lane.rank,
            source=lane.name,
            segment=number,
            end=reader.end,
            closed=reader.is_closed,
            head=head,
            lines=reader.lines,
            lost=manifest.lost,
            span=span,
            layout=LAYOUT,
            tables={table: tables[table] for table in sorted(tables)},
            fingerprints={table: TABLES[table].fingerprint for table in sorted(tables)},
            progress=msgspec.msgpack.encode(summing.progress),
            resume=Resume(reader.position, manifest.duplicates, manifest.arms),
            writer=f"esper-otel {__version__}",
        )
