"""Reading a run's log into Parquet files, piece by piece, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import duckdb
import msgspec

from esper_otel.log.duplicates import Duplicates
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.layout import resolve
from esper_otel.log.reader import LogReader
from esper_otel.sql import parts
from esper_otel.sql.columns import literal
from esper_otel.sql.rows import Batch, line_types
from esper_otel.sql.runs import Run
from esper_otel.sql.tables import TABLES
from esper_otel.sql.workers import available_processes, rows_in_order
from esper_otel.upstream.arms import Arms

BATCH_LINES: Final = 2000
PIECE_LINES: Final = 500_000
"""Lines between two entries in the manifest: what a killed compaction has to repeat, and the size of its files."""

PARALLEL_BYTES: Final = 32 * 2**20
"""Logs that are shorter are read in this process: helpers take half a second to start."""

MAX_ROW_BYTES: Final = 16 * 2**20
"""DuckDB's own limit of a row; it reserves twice as much for each thread."""

ROW_GROUP: Final = 32_768
_INT64: Final = 2**63


class Stage:
    """Brings Parquet files of a run up to date with its log. Not safe for use by several threads."""

    def __init__(
        self,
        run: Run,
        directory: Path,
        manifest: parts.Manifest,
        wanted: frozenset[str],
        database: duckdb.DuckDBPyConnection,
    ) -> None:
        """Go on from ``manifest``, writing the tables ``wanted`` into ``directory`` by means of ``database``."""
        self._run = run
        self._directory = directory
        self.manifest = manifest
        self._wanted = wanted
        self._database = database
        self._duplicates = Duplicates(manifest.duplicates)
        self._arms = Arms(manifest.arms)
        self._line_types = line_types(wanted)
        self._longest = 0
        self._files: dict[str, IO[bytes]] = {}

    def bring_up_to_date(self, *, is_growing: bool) -> None:
        """Read to the end of the log.

        Args:
            is_growing: leave an unfinished last line for later instead of rejecting it.

        Raises:
            OSError: a file cannot be read or written.
        """
        if self._run.path is None or self.manifest.signature == (now := signature(self._run)):
            return
        with LogReader(self._run.path, follow=is_growing, positions=self.manifest.typed_positions()) as reader:
            processes = available_processes() if reader.unread_bytes() > PARALLEL_BYTES else 0
            while self._read_piece(reader, processes):
                pass
            if reader.unread_bytes() == 0:
                self.manifest.signature = now
        parts.save(self._directory, self.manifest)

    def _read_piece(self, reader: LogReader, processes: int) -> bool:
        """Read up to a piece of lines and note them; False when there were none."""
        before = self.manifest.lines
        try:
            for rows in rows_in_order(self._batches(reader), processes=processes):
                for table, lines in rows.items():
                    self._file(table).write(lines)
        finally:
            for file in self._files.values():
                file.close()
        self._store(self.manifest.next_number())
        self.manifest.positions = reader.positions
        self.manifest.duplicates = self._duplicates.state
        self.manifest.arms = self._arms.state
        parts.save(self._directory, self.manifest)
        return self.manifest.lines > before

    def _batches(self, reader: LogReader) -> Iterator[Batch]:
        for _ in range(PIECE_LINES // BATCH_LINES):
            items = reader.read(BATCH_LINES)
            if not items:
                return
            self.manifest.lines += len(items)
            yield self._batch(items)

    def _batch(self, items: list[Record | BadLine]) -> Batch:
        batch = Batch(self._run.run_ids, self._run.run_dirs, [], [], [], self._wanted)
        for item in items:
            if isinstance(item, BadLine):
                batch.bad.append(item)
                continue
            record = _within_64_bit(item)
            if self._duplicates.is_repeated(item):
                batch.repeated.append(record)
                continue
            record = self._arms.attributed(record)
            if self._line_types is None or item.event_type in self._line_types:
                batch.records.append(record)
                self._longest = max(self._longest, len(item.data))
        return batch

    def _file(self, table: str) -> IO[bytes]:
        file = self._files.get(table)
        if file is None:
            file = self._files[table] = (self._directory / f"{table}.rows").open("wb")
        return file

    def _store(self, number: int) -> None:
        """Turn the rows of this piece into Parquet files."""
        for name in self._files:
            rows, target = self._directory / f"{name}.rows", self._directory / f"{name}.{number:06d}.parquet"
            try:
                self._copy(name, rows, target, tolerant=False)
            except (duckdb.ConversionException, duckdb.InvalidInputException):
                self._copy(name, rows, target, tolerant=True)
            rows.unlink()
            self.manifest.files.setdefault(name, []).append(target.name)
        self._files.clear()

    def _copy(self, name: str, rows: Path, target: Path, *, tolerant: bool) -> None:
        # a payload may stand in a row as text, where each of its quotes takes one byte more
        limit = max(MAX_ROW_BYTES, 3 * self._longest)
        select = TABLES[name].select(rows, tolerant=tolerant, max_row_bytes=limit)
        options = f"FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}"
        self._database.execute(f"COPY ({select}) TO {literal(str(target))} ({options})")


def signature(run: Run) -> str:
    """Changes when the run's logs do."""
    assert run.path is not None
    found = []
    for source in resolve(run.path):
        for number in source.numbers():
            located = source.locate(number)
            if located is not None and located.path.exists():
                status = os.stat(located.path)  # noqa: PTH116  # one call for size and time
                found.append(f"{located.path.name}:{status.st_size}:{status.st_mtime_ns}")
    return " ".join(found)


def _within_64_bit(record: Record) -> Record:
    """``record`` without envelope numbers that no column holds."""
    if all(-_INT64 <= (number or 0) < _INT64 for number in (record.epoch, record.seq, record.rank)):
        return record
    fits = {
        name: number if number is None or -_INT64 <= number < _INT64 else None
        for name, number in (("epoch", record.epoch), ("seq", record.seq))
    }
    return msgspec.structs.replace(record, rank=record.rank if -_INT64 <= record.rank < _INT64 else 0, **fits)
