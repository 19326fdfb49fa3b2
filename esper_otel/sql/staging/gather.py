"""Reading the logs of any number of runs into common Parquet files, for one connection."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import duckdb
import msgspec

from esper_otel.log.reader import LogReader
from esper_otel.runs.facts import Observed
from esper_otel.runs.index import RunIndex
from esper_otel.runs.places import Run
from esper_otel.sql.staging.batches import Batches
from esper_otel.sql.staging.parts import Manifest
from esper_otel.sql.staging.rows import Batch
from esper_otel.sql.staging.sink import Sink
from esper_otel.sql.staging.slice import Slice
from esper_otel.sql.staging.slicing import Slicing, can_be_sliced
from esper_otel.sql.staging.stage import PARALLEL_BYTES, PIECE_LINES
from esper_otel.sql.staging.workers import Pool, available_processes, rows_in_order

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
    sink, files = Sink(scratch, database), defaultdict(list)
    reading = _Reading(sink, index, lost)

    def store() -> None:
        for table, path in sink.store(reading.take_piece(), reading.longest).items():
            files[table].append(path)

    try:
        for is_sliced, group in groupby(logs, _is_sliced):
            for _ in reading.slices(list(group), scratch) if is_sliced else reading.batches(list(group)):
                if reading.lines >= PIECE_LINES:
                    store()
    finally:
        sink.close()
    store()
    return files


def _is_sliced(log: Unread) -> bool:
    """True for a log that is long and of which nothing was read yet."""
    assert log.run.path is not None
    return log.size_bytes > PARALLEL_BYTES and not log.rest.positions and can_be_sliced(log.run.path)


class _Reading:
    """Reads logs, one after the other, into a sink, and goes on when asked for the next step.

    Attributes:
        lines: lines read since the last piece was taken.
        longest: bytes of the longest payload so far.
    """

    def __init__(self, sink: Sink, index: RunIndex, lost: Counter[str]) -> None:
        self._sink = sink
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

    def slices(self, logs: Sequence[Unread], scratch: Path) -> Iterator[None]:
        """Read long logs, slice by slice."""
        with Pool(available_processes()) as pool:
            for log in logs:
                run = log.run
                slicing = Slicing(
                    Slice(str(run.path), run.run_ids, run.run_dirs, log.tables, log.all_rejected, str(scratch)), pool
                )
                for found in slicing.read():
                    self._sink.take({table: Path(path) for table, path in found.files.items()})
                    self.lines += found.lines
                    self.longest = max(self.longest, found.longest)
                    yield
                self._note(log, slicing.observed)

    def batches(self, logs: Sequence[Unread]) -> Iterator[None]:
        """Read logs batch by batch."""
        processes = available_processes() if sum(log.size_bytes for log in logs) > PARALLEL_BYTES else 0
        for rows in rows_in_order(self._batches(logs), processes=processes):
            self._sink.add(rows)
            yield

    def _batches(self, logs: Sequence[Unread]) -> Iterator[Batch]:
        for log in logs:
            assert log.run.path is not None
            batches = Batches(log.run, log.rest, log.tables, all_rejected=log.all_rejected)
            with LogReader(log.run.path, positions=log.rest.typed_positions()) as reader:
                for batch in batches.read(reader):
                    self.lines += len(batch.records) + len(batch.repeated) + len(batch.bad)
                    self.longest = max(self.longest, batches.longest)
                    yield batch
            self._note(log, batches.observed)

    def _note(self, log: Unread, observed: Observed) -> None:
        self._lost.update(observed.lost)
        facts = observed.facts(log.signature) if log.signature else None
        if facts is not None and log.run.path is not None:
            self._index.note(log.run.path, facts)
