"""The lines of one run in batches, each event once and with its arm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import msgspec

from esper_otel.esper_lite.dialect.arms import Arms
from esper_otel.log.duplicates import Duplicates, DuplicatesState
from esper_otel.log.envelope import BadLine, Record
from esper_otel.runs.facts import Observed
from esper_otel.runs.places import Run
from esper_otel.sql.staging.needed import Needed
from esper_otel.sql.staging.parts import Manifest
from esper_otel.sql.staging.rows import Batch

BATCH_LINES: Final = 2000
_INT64: Final = 2**63


class Reader(Protocol):
    """A reader of lines."""

    def read(self, max_records: int) -> list[Record | BadLine]:
        """Up to ``max_records`` further lines; empty when there is nothing new."""


class Batches:
    """Reads on behind what a manifest says was read.

    Attributes:
        observed: what was found in them.
        lines: lines read so far.
        longest: bytes of the longest payload among them.
    """

    def __init__(self, run: Run, manifest: Manifest, wanted: frozenset[str], *, all_rejected: bool = True) -> None:
        """Make batches of ``run`` for the tables ``wanted``; ``all_rejected`` as for :class:`Needed`."""
        self._run = run
        self._wanted = wanted
        self._duplicates = Duplicates(manifest.duplicates)
        self._arms = Arms(manifest.arms)
        self._needed = Needed(wanted, all_rejected=all_rejected)
        self.observed = Observed(manifest.lost)
        self.lines = 0
        self.longest = 0

    @property
    def begin(self) -> DuplicatesState:
        """The first events that were new."""
        return self._duplicates.begin

    def note_in(self, manifest: Manifest) -> None:
        """Keep in ``manifest`` what is to be known for going on."""
        manifest.duplicates = self._duplicates.state
        manifest.arms = self._arms.state
        manifest.lost = dict(self.observed.lost)

    def read(self, reader: Reader, max_batches: int | None = None) -> Iterator[Batch]:
        """The batches that are there now."""
        count = 0
        while (max_batches is None or count < max_batches) and (items := reader.read(BATCH_LINES)):
            count += 1
            self.lines += len(items)
            yield self._batch(items)

    def _batch(self, items: list[Record | BadLine]) -> Batch:
        batch = Batch(self._run.run_ids, self._run.run_dirs, [], [], [], self._wanted)
        records: list[Record] = []
        for item in items:
            if isinstance(item, BadLine):
                self.observed.add(item)
                batch.bad.append(item)
                continue
            records.append(item)
            if self._duplicates.is_repeated(item):
                batch.repeated.append(_within_64_bit(item))
                continue
            record = self._arms.attributed(item)
            if self._needed.has(record):
                batch.records.append(_within_64_bit(record))
                self.longest = max(self.longest, len(item.data))
        self.observed.add_records(records)
        return batch


def _within_64_bit(record: Record) -> Record:
    """``record`` without envelope numbers that no column holds."""
    epoch, seq = record.epoch or 0, record.seq or 0
    if -_INT64 <= epoch < _INT64 and -_INT64 <= seq < _INT64 and -_INT64 <= record.rank < _INT64:
        return record
    fits = {
        name: number if number is None or -_INT64 <= number < _INT64 else None
        for name, number in (("epoch", record.epoch), ("seq", record.seq))
    }
    return msgspec.structs.replace(record, rank=record.rank if -_INT64 <= record.rank < _INT64 else 0, **fits)
