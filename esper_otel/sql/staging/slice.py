"""Reading of a stretch of a long log into files of rows, as a helper process does it (:mod:`.slicing`)."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.events import EVENT_TYPES
from esper_otel.log.codec import Decoder, decode_to_convert, decode_with_event
from esper_otel.log.duplicates import DuplicatesState
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.layout import resolve
from esper_otel.log.reading.follower import MAX_READ_BYTES, Follower
from esper_otel.runs.facts import Seen
from esper_otel.runs.places import Run
from esper_otel.sql.staging.batches import Batches
from esper_otel.sql.staging.needed import line_types
from esper_otel.sql.staging.parts import Manifest
from esper_otel.sql.staging.rows import rows_of
from esper_otel.sql.staging.sink import MAX_ROW_BYTES, RowFiles

Place = tuple[int, int]
"""Number of a segment, and a byte in its uncompressed content."""

_BEGIN: Final = re.compile(rb'\{"event_id":"[^"\\]*","event_type":"([A-Z_]+)"')
"""The start of a line as we write it."""


class Slice(msgspec.Struct, frozen=True, tag=True):
    """A stretch of one log, of whole lines.

    Attributes:
        path: the run.
        run_ids: name of the run by source, for lines that do not say it.
        run_dirs: name of the directory by source.
        wanted: names of the tables to make rows for.
        all_rejected: as for :class:`.needed.Needed`.
        target: directory of the files of rows.
        name: tells these files from those of other slices.
        source: name of the log.
        start: place where it begins.
        end: place where the next one begins; None for the end of the log.
        duplicates: the last events before it; None if they are not known yet.
        arms: which arm of an A/B run was trained last before it, by source.
    """

    path: str
    run_ids: dict[str, str]
    run_dirs: dict[str, str]
    wanted: frozenset[str]
    all_rejected: bool
    target: str
    name: str = ""
    source: str = ""
    start: Place = (1, 0)
    end: Place | None = None
    duplicates: DuplicatesState | None = None
    arms: dict[str, str] = {}


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Answer to a slice that could not be read, and the reason."""

    error: str


class Read(msgspec.Struct, frozen=True, tag=True):
    """Findings in a slice.

    Attributes:
        files: the files of rows by table.
        lines: lines read.
        longest: bytes of the longest line among those that gave rows.
        seen: facts about it.
        begin: its first events.
        duplicates: its last events.
        arms: which arm was trained last, by source.
        is_whole: reading ended where the slice does.
    """

    files: dict[str, str]
    lines: int
    longest: int
    seen: Seen
    begin: DuplicatesState
    duplicates: DuplicatesState
    arms: dict[str, str]
    is_whole: bool


def read_slice(part: Slice) -> Read:
    """Write the rows of ``part`` into files.

    Raises:
        OSError: a file of rows cannot be written, or the log is gone.
    """
    known = Manifest("", duplicates=part.duplicates, arms=part.arms)
    run = Run(Path(part.path), Path(), part.run_ids, part.run_dirs)
    batches = Batches(run, known, part.wanted, all_rejected=part.all_rejected)
    with closing(_Reader(part)) as reader, closing(RowFiles(Path(part.target), part.name)) as files:
        for batch in batches.read(reader):
            files.add(rows_of(batch))
    batches.note_in(known)
    assert known.duplicates is not None
    paths = {table: str(path) for table, path in files.paths.items()}
    begin, seen = batches.begin, batches.observed.seen
    return Read(paths, batches.lines, batches.longest, seen, begin, known.duplicates, known.arms, reader.is_at_end)


class _Reader:
    """The lines of a slice, read as those of a whole log are."""

    def __init__(self, part: Slice) -> None:
        source = next((each for each in resolve(Path(part.path)) if each.name == part.source), None)
        if source is None:
            raise FileNotFoundError(f"{part.path}: the log {part.source} is gone")
        segment, offset = part.start
        position = {"segment": segment, "offset": offset}
        self._follower = Follower(source, position, follow=False, decoder=_decoder(part.wanted))  # type: ignore[arg-type]
        self._end = part.end

    def read(self, max_records: int) -> list[Record | BadLine]:
        """Up to ``max_records`` further lines; empty at the end of the slice."""
        place, end = self._follower.place, self._end
        if end is None:
            return self._follower.read(max_records)
        if place >= end:
            return []
        rest = end[1] - place[1] if place[0] == end[0] else MAX_READ_BYTES
        items = self._follower.read(max_records, min(rest, MAX_READ_BYTES))
        return [item for item in items if (item.segment, item.offset) <= end]

    @property
    def is_at_end(self) -> bool:
        """True if reading came to the end of the slice, not beyond it within a segment."""
        place, end = self._follower.place, self._end
        return end is None or place == end or (end[1] == 0 and place > end)

    def close(self) -> None:
        """Close the file."""
        self._follower.close()


def _decoder(wanted: frozenset[str]) -> Decoder:
    """Decodes lines of ours together with their event, in one step, where an event and no text of it is needed."""
    types = line_types(wanted - {"rejected_lines"})
    if types is None:
        return decode_to_convert
    own = frozenset(name.encode() for name in types & EVENT_TYPES.keys())

    def decode_line(line: bytes, source: str, offset: int, segment: int) -> Record | BadLine:
        begin = _BEGIN.match(line)
        # the limit of DuckDB's rows follows from the longest payload, which an event does not tell
        if begin is not None and begin[1] in own and 3 * len(line) < MAX_ROW_BYTES:
            return decode_with_event(line, source, offset, segment, otherwise=decode_to_convert)
        return decode_to_convert(line, source, offset, segment)

    return decode_line
