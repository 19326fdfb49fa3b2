"""Reading the logs of any number of runs into common Parquet files, for one connection."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import msgspec

from esper_otel.log.reader import LogReader
from esper_otel.runs.index import RunIndex
from esper_otel.runs.places import Run
from esper_otel.sql.staging.batches import Batches
from esper_otel.sql.staging.parts import Manifest
from esper_otel.sql.staging.rows import Batch
from esper_otel.sql.staging.sink import Sink
from esper_otel.sql.staging.stage import PARALLEL_BYTES, PIECE_LINES
from esper_otel.sql.staging.workers import available_processes, rows_in_order

Files = dict[str, list[Path]]


class Unread(msgspec.Struct, frozen=True):
    """A log that is to be read.

    Attributes:
        run: the run.
        rest: what of it is in Parquet already, with the position behind it.
        tables: the tables that are wanted of it.
        signature: names, sizes and times of the logs; empty for a run that has a part in Parquet.
        size_bytes: size of the logs.
        all_rejected: every line without an event is wanted, also one that only its conversion shows to have none.
    """

    run: Run
    rest: Manifest
    tables: frozenset[str]
    signature: str
    size_bytes: int
    all_rejected: bool = True


def gather(
    logs: Sequence[Unread], scratch: Path, database: duckdb.DuckDBPyConnection, index: RunIndex, lost: Counter[str]
) -> Files:
    """Read ``logs`` to their ends into ``scratch``, note in ``index`` what they hold, and add to ``lost``.

    Raises:
        OSError: a file cannot be read or written.
    """
    reading = _Reading(logs, index, lost)
    sink, files = Sink(scratch, database), defaultdict(list)
    processes = available_processes() if sum(log.size_bytes for log in logs) > PARALLEL_BYTES else 0

    def store() -> None:
        for table, path in sink.store(reading.take_piece(), reading.longest).items():
            files[table].append(path)

    try:
        for rows in rows_in_order(reading.batches(), processes=processes):
            sink.add(rows)
            if reading.lines >= PIECE_LINES:
                store()
    finally:
        sink.close()
    store()
    return files


class _Reading:
    """The batches of one log after the other.

    Attributes:
        lines: lines read since the last piece was taken.
        longest: bytes of the longest payload so far.
    """

    def __init__(self, logs: Sequence[Unread], index: RunIndex, lost: Counter[str]) -> None:
        self._logs = logs
        self._index = index
        self._lost = lost
        self._piece = 0
        self.lines = 0
        self.longest = 0

    def take_piece(self) -> int:
        """Begin a new piece; the number of the one that ends here."""
        self._piece += 1
        self.lines = 0
        return self._piece

    def batches(self) -> Iterator[Batch]:
        for log in self._logs:
            assert log.run.path is not None
            batches = Batches(log.run, log.rest, log.tables, all_rejected=log.all_rejected)
            with LogReader(log.run.path, positions=log.rest.typed_positions()) as reader:
                for batch in batches.read(reader):
                    self.lines += len(batch.records) + len(batch.repeated) + len(batch.bad)
                    self.longest = max(self.longest, batches.longest)
                    yield batch
            self._lost.update(batches.observed.lost)
            facts = batches.observed.facts(log.signature) if log.signature else None
            if facts is not None:
                self._index.note(log.run.path, facts)
