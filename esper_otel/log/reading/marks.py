"""Recognition of the last line read, and recovery of the position if that line is gone.

A log may lose lines that somebody has read already: a power loss takes what was not on the platter yet, and a process
that goes on with the run writes other lines in their place. A byte position then means nothing any more, whatever the
size of the file. So a position comes with a mark of the line in front of it, and a log that lacks this line is looked
through for the last one with a number that was read. Numbers are never given twice (:mod:`.last_seq`),
so that everything behind it is new.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from contextlib import closing
from typing import Final, NamedTuple, TypedDict

from esper_otel.log.layout import COMPRESSED, Source
from esper_otel.log.reading.last_seq import Numbered, numbered
from esper_otel.log.reading.lines import LineSplitter
from esper_otel.log.reading.segment import OpenSegment

MARK_BYTES: Final = 256
"""Length of the end of a line that tells it from others: it holds the number."""

_ONE_SESSION: Final = 10**12
"""Numbers that are further apart are those of two sessions, and do not say how many lie between them."""


class Mark(TypedDict):
    """The last line read: its end position, its last bytes, and its number; plain JSON."""

    segment: int
    end: int
    length: int
    crc: int
    run_id: str | None
    seq: int | None


class Place(NamedTuple):
    """Position of the first new line, with the line before it and its number; None if there is none."""

    segment: int
    offset: int
    line: bytes = b""
    last: Numbered | None = None


def mark_of(line: bytes, segment: int, end: int, last: Numbered | None) -> Mark:
    """The mark of a ``line`` (with its newline, if it has one) that ends at ``end``; ``last`` is the last number."""
    tail = line[-MARK_BYTES:]
    return {
        "segment": segment,
        "end": end,
        "length": len(tail),
        "crc": zlib.crc32(tail),
        "run_id": last.run_id if last is not None else None,
        "seq": last.seq if last is not None else None,
    }


def last_of(mark: Mark) -> Numbered | None:
    """The last number that was read."""
    return None if mark["seq"] is None else Numbered(mark["seq"], mark["run_id"])


def is_marked(source: Source, mark: Mark) -> bool:
    """Return True if the log still has the marked line in its place, or its segment was removed and others exist.

    Raises:
        FileNotFoundError: there is nothing to look at yet.
        OSError: it cannot be read.
    """
    located = source.locate(mark["segment"])
    if located is None:
        return mark["segment"] < source.numbers()[-1]
    file = OpenSegment(located.path, mark["end"] - mark["length"])
    try:
        return zlib.crc32(file.read_exactly(mark["length"])) == mark["crc"]
    finally:
        file.close()


def place_behind(source: Source, known: Numbered | None) -> Place | None:
    """The end of the last line whose number is not beyond ``known``, in the log's current contents.

    Its start where no line with a number was read yet; None for a log whose lines have none.

    Looks at the beginning of each segment from the last one back, and through one or two. Waits for the disk.
    """
    numbers = source.numbers()
    place = Place(numbers[0], 0)
    if known is None:
        return place if _first_number(source, numbers[0]) is not None else None
    begins = ((number, _first_number(source, number)) for number in reversed(numbers))
    start = next((number for number, first in begins if first is not None and first.is_known(known)), numbers[0])
    for number in numbers[numbers.index(start) :]:
        for last, line, end in _numbered_lines(source, number):
            if not last.is_known(known):
                return place
            place = Place(number, end, line, last)
    return place


def place_at(source: Source, segment: int, offset: int) -> Place:
    """The place at ``offset``, or at the end of a segment that is shorter, with what stands in front of it."""
    located = source.locate(segment)
    if located is None:
        return Place(segment, offset)
    try:
        if located.path.suffix not in COMPRESSED:
            offset = min(offset, located.path.stat().st_size)
        length = min(offset, MARK_BYTES)
        file = OpenSegment(located.path, offset - length)
    except OSError:
        return Place(segment, offset)
    try:
        return Place(segment, offset, file.read_exactly(length))
    except OSError:
        return Place(segment, offset)
    finally:
        file.close()


def told(known: Numbered, left: Numbered | None) -> str:
    """Amount of lost data, for people: lines up to ``known`` had been read, ``left`` is the last survivor."""
    if left is None:
        return f"all events read so far are gone, up to number {known.seq}"
    lost = known.seq - left.seq
    many = f"{lost} " if lost < _ONE_SESSION else ""
    return f"{many}events read before, numbers {left.seq + 1} to {known.seq}, are gone"


def _first_number(source: Source, segment: int) -> Numbered | None:
    with closing(_numbered_lines(source, segment)) as lines:
        return next((last for last, _, _ in lines), None)


def _numbered_lines(source: Source, segment: int) -> Generator[tuple[Numbered, bytes, int]]:
    """Lines of a segment that have a number, with the offset of their ends; unreadable ones are skipped."""
    located = source.locate(segment)
    if located is None:
        return
    try:
        file = OpenSegment(located.path, 0)
    except OSError:
        return
    splitter, end = LineSplitter(), 0
    try:
        while chunk := file.read_readable():
            splitter.feed(chunk)
            while (taken := splitter.pop()) is not None:
                end += taken[1]
                if (found := numbered(taken[0])) is not None:
                    yield found, taken[0] + b"\n", end
        rest = splitter.pop_rest()  # may lack nothing but its newline
        if rest is not None and (found := numbered(rest[0])) is not None:
            yield found, rest[0], end + rest[1]
    except OSError:
        return
    finally:
        file.close()
