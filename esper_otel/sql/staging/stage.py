"""Reading of a run's log into Parquet files, piece by piece, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import duckdb

from esper_otel.log.reader import LogReader
from esper_otel.runs.places import Run
from esper_otel.runs.signature import signature_of
from esper_otel.sql.staging import parts
from esper_otel.sql.staging.batches import BATCH_LINES, Batches
from esper_otel.sql.staging.sink import Sink
from esper_otel.sql.staging.workers import available_processes, rows_in_order
from esper_otel.sql.views.tables import TABLES

PIECE_LINES: Final = 500_000
"""Lines between two entries in the manifest: what a killed compaction has to repeat, and the size of its files."""

PARALLEL_BYTES: Final = 32 * 2**20
"""Logs that are shorter are read in this process: helpers take half a second to start."""


class Stage:
    """Brings Parquet files of a run up to date with its log. Not thread-safe."""

    def __init__(
        self,
        run: Run,
        directory: Path,
        manifest: parts.Manifest,
        database: duckdb.DuckDBPyConnection,
        tables: frozenset[str] = frozenset(TABLES),
    ) -> None:
        """Go on from ``manifest``, writing ``tables`` into ``directory`` by means of ``database``."""
        self._run = run
        self._directory = directory
        self.manifest = manifest
        self._sink = Sink(directory, database)
        self._batches = Batches(run, manifest, tables)

    def bring_up_to_date(self) -> None:
        """Read to the end of the log; an unfinished last line is left for later.

        Raises:
            OSError: a file cannot be read or written.
        """
        if self._run.path is None or self.manifest.signature == (now := signature_of(self._run.path).text):
            return
        with LogReader(self._run.path, follow=True, positions=self.manifest.typed_positions()) as reader:
            processes = available_processes() if reader.unread_bytes() > PARALLEL_BYTES else 0
            while self._read_piece(reader, processes):
                pass
            if reader.unread_bytes() == 0:
                self.manifest.signature = now
        parts.save(self._directory, self.manifest)

    def _read_piece(self, reader: LogReader, processes: int) -> bool:
        """Read up to a piece of lines and note them; False when there were none."""
        before = self._batches.lines
        try:
            for rows in rows_in_order(self._batches.read(reader, PIECE_LINES // BATCH_LINES), processes=processes):
                self._sink.add(rows)
        finally:
            self._sink.close()
        for table, path in self._sink.store(self.manifest.next_number(), self._batches.longest).items():
            self.manifest.files.setdefault(table, []).append(path.name)
        self.manifest.lines += self._batches.lines - before
        self.manifest.positions = reader.positions
        self._batches.note_in(self.manifest)
        parts.save(self._directory, self.manifest)
        return self._batches.lines > before
