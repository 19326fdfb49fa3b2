"""Reading one series of segments from a position on, finished or still growing."""

from __future__ import annotations

from typing import Final, NotRequired, TypedDict

from esper_otel.log.codec import decode, decode_with_event, excerpt
from esper_otel.log.envelope import BadLine, Reason, Record
from esper_otel.log.last_seq import Numbered
from esper_otel.log.layout import COMPRESSED, Source
from esper_otel.log.lines import MAX_LINE_BYTES, LineSplitter
from esper_otel.log.marks import Mark, Place, is_marked, last_of, mark_of, place_behind, told
from esper_otel.log.segment import READ_ERRORS, OpenSegment

MAX_READ_BYTES: Final = 32 * 1024 * 1024
"""Length of the lines that one read gives, one line more at most: a thousand of the longest ones would fill 16 GB."""


class Position(TypedDict):
    """Where reading goes on: a segment's number, the byte in its uncompressed content, and the line in front of it."""

    segment: int
    offset: int
    last: NotRequired[Mark]


class Follower:
    """The records of one source in the order of the log.

    Survives what happens to a growing file: rotation, compression of a closed segment, truncation, removal and
    re-creation, and not being there yet. Lines that were read and are gone, with others in their place or not, are
    noticed by the mark of the last one; reading then goes on behind what is left of them. ``follow`` says whether
    more may come; cleared, an unfinished last line is given as torn.
    """

    def __init__(self, source: Source, position: Position | None, *, follow: bool, decode_events: bool = False) -> None:
        """Nothing is opened before the first read. Without a position, reading begins with the oldest segment.

        ``decode_events``: whether records of ours come with their event decoded (:attr:`Record.event`).
        """
        self._decode_events = decode_events
        self._source = source
        self._segment = position["segment"] if position else 0
        self._offset = position["offset"] if position else 0
        self._file: OpenSegment | None = None
        self._lines = LineSplitter()
        self._is_abandoned = False
        self._stored = position.get("last") if position else None
        self._is_checked = self._stored is None
        self._last_line: tuple[bytes, bytes, int, int] | None = None
        self._known = last_of(self._stored) if self._stored is not None else None
        self._record: Record | None = None
        self.taken_bytes = 0
        self.follow = follow

    @property
    def position(self) -> Position:
        """Right behind the last line that was returned."""
        position: Position = {"segment": max(self._segment, 1), "offset": self._offset}
        if self._last_line is not None:
            line, newline, segment, end = self._last_line
            position["last"] = mark_of(line + newline, segment, end, self._last_number())
        elif self._stored is not None:
            position["last"] = self._stored
        return position

    def read(self, limit: int, max_bytes: int = MAX_READ_BYTES) -> list[Record | BadLine]:
        """Up to ``limit`` records that are there now; empty when there is nothing new. Does not wait.

        No more are taken once their lines have ``max_bytes``; how many they have is then :attr:`taken_bytes`.
        """
        found: list[Record | BadLine] = []
        self.taken_bytes = 0
        while len(found) < limit and self.taken_bytes < max_bytes:
            if self._file is None and not self._open(found):
                break
            if self._take_lines(found, limit, max_bytes):
                continue
            if not self._read_chunk(found) and not self._pass_end(found):
                break
        return found

    def unread_bytes(self) -> int:
        """Bytes on disk behind the position; a compressed segment as it lies there, the one in hand not at all."""
        unread = 0
        for number in self._source.numbers():
            located = self._source.locate(number) if number >= self._segment else None
            if located is None:
                continue
            try:
                size = located.path.stat().st_size
            except OSError:
                continue  # renamed or removed a moment ago
            if number == self._segment:
                size = 0 if located.path.suffix in COMPRESSED else max(size - self._offset, 0)
            unread += size
        return unread

    def close(self) -> None:
        """Close the file; the position stays."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._lines = LineSplitter()

    def _open(self, found: list[Record | BadLine]) -> bool:
        if self._is_abandoned or not self._check_mark(found) or not self._choose_segment(found):
            return False
        located = self._source.locate(self._segment)
        if located is None:
            return False
        try:
            opened = OpenSegment(located.path, self._offset)
        except FileNotFoundError:
            return False  # not created yet, or compressed or renamed a moment ago: the next call sees what became of it
        except READ_ERRORS as error:
            self._give_up(found, f"{located.path.name}: {error}")
            return not self._is_abandoned and self._open(found)
        if self._source.locate(self._segment) != located:
            opened.close()  # rotated between the look and the opening: look again
            return self._open(found)
        self._file = opened
        self._lines = LineSplitter()
        return True

    def _check_mark(self, found: list[Record | BadLine]) -> bool:
        """Before the first read: see whether the stored position still means anything; False when it is too early."""
        if self._is_checked or self._stored is None:
            return True
        try:
            is_there = is_marked(self._source, self._stored)
        except FileNotFoundError:
            return False
        self._is_checked = True
        if not is_there:
            self._find_place(found)
        return True

    def _choose_segment(self, found: list[Record | BadLine]) -> bool:
        if self._source.ends_before(self._segment):
            return False
        numbers = self._source.numbers()
        self._segment = self._segment or numbers[0]
        if self._source.locate(self._segment) is None:
            found.append(self._bad(Reason.MISSING, f"segment {self._segment} is gone"))
            following = min((number for number in numbers if number > self._segment), default=numbers[0])
            place = place_behind(self._source, self._last_number()) or Place(following, 0)
            self._segment, self._offset = place.segment, place.offset
        return True

    def _take_lines(self, found: list[Record | BadLine], limit: int, max_bytes: int) -> bool:
        """Take the complete lines that were read, within the limits; whether there was any."""
        lines = self._lines.take(limit - len(found), max_bytes - self.taken_bytes)
        decode_line = decode_with_event if self._decode_events else decode
        source, segment, began_at = self._source.name, self._segment, self._offset
        for line, length in lines:
            self._offset += length
            if len(line) > MAX_LINE_BYTES:
                found.append(self._bad(Reason.TOO_LONG, excerpt(line)))
            elif line.strip():
                item = decode_line(line, source, self._offset, segment)
                self._last_line = (line, b"\n", segment, self._offset)
                if type(item) is Record:
                    self._record = item
                found.append(item)
        self.taken_bytes += self._offset - began_at
        return bool(lines)

    def _read_chunk(self, found: list[Record | BadLine]) -> bool:
        assert self._file is not None
        if not self._file.is_as_read():
            self._find_place(found)
            return True
        try:
            chunk = self._file.read()
        except READ_ERRORS as error:
            self._take_rest(found)
            self._give_up(found, str(error))
            return True
        if chunk:
            self._lines.feed(chunk)
        return bool(chunk)

    def _pass_end(self, found: list[Record | BadLine]) -> bool:
        """At the present end of the file: whether there is more to read elsewhere or after all."""
        assert self._file is not None
        located = self._source.locate(self._segment)
        if located is not None and located.closed:
            return self._leave(found, self._segment + 1)
        if located is not None and (self._file.is_at(located.path) or not located.path.exists()):
            # still growing; or removed, or between the two steps of a rotation, and the open file may still grow
            if not self.follow:
                self._take_rest(found)
            return False
        if located is not None and self._source.locate(self._segment) != located:
            return True  # rotated between two looks
        return self._leave(found, self._source.replacement_of(self._segment))

    def _leave(self, found: list[Record | BadLine], segment: int) -> bool:
        # what was appended between the last read and the rotation is read before the file is left
        if not self._read_chunk(found) and self._file is not None:
            self._take_rest(found)
            self._go_to(segment)
        return True

    def _go_to(self, segment: int) -> None:
        self.close()
        self._segment, self._offset = segment, 0

    def _take_rest(self, found: list[Record | BadLine]) -> None:
        rest = self._lines.pop_rest()
        if rest is None:
            return
        line, length = rest
        item = decode(line, self._source.name, self._offset + length, self._segment)
        if not isinstance(item, Record):
            # The position stays in front of it: whoever writes may yet write the rest.
            found.append(self._bad(Reason.TORN, excerpt(line)))
            return
        self._offset += length
        self._last_line = (line, b"", self._segment, self._offset)
        self._record = item
        found.append(item)

    def _find_place(self, found: list[Record | BadLine]) -> None:
        """Go on behind what is left of the lines that were read: others may stand where reading stopped."""
        known = self._last_number()
        place = place_behind(self._source, known)
        if place is None:
            is_same = self._file is None or self._file.begins_as_before()
            place = Place(self._segment, min(self._offset, self._size()) if is_same else 0)
        if known is not None:
            text = told(known, place.last)
        else:
            text = f"{self._offset} bytes were read, {place.offset} of them are left"
        self.close()
        self._segment, self._offset = place.segment, place.offset
        self._stored, self._record = None, None
        self._known = place.last or known
        self._last_line = (place.line, b"", place.segment, place.offset)
        found.append(self._bad(Reason.TRUNCATED, text))

    def _size(self) -> int:
        """Bytes of the segment in hand, uncompressed; the offset where that cannot be told."""
        if self._file is not None:
            return self._file.size()
        located = self._source.locate(self._segment)
        if located is None or located.path.suffix in COMPRESSED:
            return self._offset
        try:
            return located.path.stat().st_size
        except OSError:
            return self._offset

    def _last_number(self) -> Numbered | None:
        record = self._record
        return Numbered(record.seq, record.run_id) if record is not None and record.seq is not None else self._known

    def _give_up(self, found: list[Record | BadLine], error: str) -> None:
        """Leave a file that cannot be read. Only a growing one could become readable, and retrying would never end."""
        found.append(self._bad(Reason.UNREADABLE, error))
        located = self._source.locate(self._segment)
        self._is_abandoned = located is None or not located.closed
        self._go_to(self._segment + 1)

    def _bad(self, reason: Reason, text: str) -> BadLine:
        return BadLine(self._source.name, self._offset, self._segment, reason, text)
