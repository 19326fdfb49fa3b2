"""One log of a run, segment by segment: the unit of an archive that is written in order."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.layout import Located, Series, Source
from esper_otel.log.reading.follower import Follower, Position
from esper_otel.log.reading.segment import OpenSegment
from esper_otel.runs.summing import Summing

HEAD_BYTES: Final = 64 * 1024
"""Bytes at the start of the first line that identify a log: they contain an event's id."""


class Lane(msgspec.Struct, frozen=True):
    """A log, and the rank that wrote it."""

    source: Source
    rank: int

    @property
    def name(self) -> str:
        """Name of the log."""
        return self.source.name

    def numbers_from(self, first: int) -> list[int]:
        """Segments from ``first`` on that exist; the last of them may grow."""
        return [number for number in self.source.numbers() if number >= first and self.located(number) is not None]

    def located(self, number: int) -> Located | None:
        """The file of a segment; None if there is none."""
        located = self.source.locate(number)
        return located if located is not None and located.path.exists() else None

    def head(self) -> str:
        """Hash of the first line of the log's first segment; empty while there is none, or when it was removed.

        Raises:
            OSError: it cannot be read.
        """
        located = self.located(1)
        if located is None:
            return ""
        file = OpenSegment(located.path, 0)
        try:
            line, newline, _ = file.read_exactly(HEAD_BYTES).partition(b"\n")
        finally:
            file.close()
        is_whole = bool(newline) or len(line) == HEAD_BYTES or located.closed
        return hashlib.sha256(line).hexdigest()[:32] if is_whole and line else ""

    def size_of(self, number: int) -> int:
        """Bytes of a segment on disk; 0 if there is none."""
        located = self.source.locate(number)
        try:
            return located.path.stat().st_size if located is not None else 0
        except OSError:
            return 0


def lanes_of(sources: list[Source]) -> list[Lane]:
    """The logs of a run; what belongs to no rank counts as rank 0."""
    return [Lane(source, source.rank if isinstance(source, Series) else 0) for source in sources]


class SegmentReader:
    """The lines of one segment, as a reader of the whole log gives them.

    Attributes:
        end: byte behind the last line that was read.
        lines: lines read, those without an event too.
    """

    def __init__(self, lane: Lane, number: int, position: Position | None, summing: Summing, *, is_over: bool) -> None:
        """Read segment ``number`` from ``position``, its start; lines go into ``summing`` too.

        ``is_over``: nothing more comes, so that an unfinished last line is one; else it is left for later.
        """
        self._number = number
        self._follower = Follower(_UpTo(lane.source, number), position, follow=not is_over)
        self._summing = summing
        self.end = self.lines = 0

    def read(self, max_records: int) -> list[Record | BadLine]:
        """Up to ``max_records`` further lines; empty at the end."""
        items = self._follower.read(max_records)
        for item in items:
            if isinstance(item, Record):
                self._summing.add(item)
            if item.segment == self._number:
                self.end = max(self.end, item.offset)
        self.lines += len(items)
        return items

    @property
    def is_closed(self) -> bool:
        """True if the segment was read to an end behind which nothing comes."""
        return self._follower.place[0] > self._number

    @property
    def position(self) -> Position:
        """The position behind the last line that was read."""
        return self._follower.position

    @property
    def trouble(self) -> str | None:
        """The reason why the file cannot be read now; None if all is well."""
        return self._follower.patience.trouble

    def close(self) -> None:
        """Close the file."""
        self._follower.close()


class _UpTo:
    """A series of segments that ends with one of them."""

    def __init__(self, source: Source, last: int) -> None:
        self._source, self._last = source, last
        self.name = source.name

    def numbers(self) -> list[int]:
        return [number for number in self._source.numbers() if number <= self._last] or [self._last]

    def locate(self, segment: int) -> Located | None:
        return self._source.locate(segment) if segment <= self._last else None

    def ends_before(self, segment: int) -> bool:
        return segment > self._last or self._source.ends_before(segment)

    def replacement_of(self, segment: int) -> int:
        return self._source.replacement_of(segment)
