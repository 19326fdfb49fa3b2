"""Records out of the bytes of a log, and the position behind them."""

from __future__ import annotations

from functools import partial
from typing import NotRequired, TypedDict

from esper_otel.log.codec import Decoder, decode, excerpt
from esper_otel.log.envelope import BadLine, Reason, Record
from esper_otel.log.layout import Source
from esper_otel.log.reading.last_seq import Numbered
from esper_otel.log.reading.lines import HOLE, MAX_LINE_BYTES, LineSplitter
from esper_otel.log.reading.marks import MARK_BYTES, Mark, last_of, mark_of
from esper_otel.log.reading.merged import events_in


class Position(TypedDict):
    """Position to resume from: a segment's number, the byte in its uncompressed content, and the line before it.

    ``damages`` counts those of a compressed segment that were told.
    """

    segment: int
    offset: int
    damages: NotRequired[int]
    last: NotRequired[Mark]


class LineTaker:
    """The part of a follower that turns lines into records; a subclass feeds it with the bytes of one file at a time.

    Attributes:
        taken_bytes: length of the lines that the last read returned.
    """

    def __init__(self, source: Source, position: Position | None, *, decoder: Decoder) -> None:
        """Go on at ``position``; without one, with the oldest segment, which is to be found yet."""
        self._decoder = decoder
        self._source = source
        self._segment = position["segment"] if position else 0
        self._offset = position["offset"] if position else 0
        self._damages = position.get("damages", 0) if position else 0
        self._lines = LineSplitter()
        self._stored = position.get("last") if position else None
        self._last_line: tuple[bytes, bytes, int, int] | None = None
        self._known = last_of(self._stored) if self._stored is not None else None
        self._record: Record | None = None
        self.taken_bytes = 0

    @property
    def position(self) -> Position:
        """Right behind the last line that was returned."""
        position: Position = {"segment": max(self._segment, 1), "offset": self._offset}
        if self._damages:
            position["damages"] = self._damages
        if self._last_line is not None:
            line, newline, segment, end = self._last_line
            position["last"] = mark_of(line + newline, segment, end, self._last_number())
        elif self._stored is not None:
            position["last"] = self._stored
        return position

    @property
    def place(self) -> tuple[int, int]:
        """Segment and byte behind the last line that was returned; nothing read is (0, 0)."""
        return self._segment, self._offset

    def end(self) -> tuple[int, int]:
        """Segment and byte at which the log ends now, as :attr:`place` has it when all was read."""
        last = self._source.numbers()[-1]
        located = self._source.locate(last)
        if located is None or located.closed:
            return last + 1, 0
        try:
            return last, located.path.stat().st_size
        except OSError:  # removed, or not made yet
            return last, 0

    def _take_lines(self, found: list[Record | BadLine], limit: int, max_bytes: int) -> bool:
        """Take the complete lines that were read, within the limits; whether there was any."""
        lines = self._lines.take(limit - len(found), max_bytes - self.taken_bytes)
        decode_line = self._decoder
        source, segment, began_at = self._source.name, self._segment, self._offset
        for line, length in lines:
            self._offset += length
            if len(line) > MAX_LINE_BYTES:
                found.append(self._bad(Reason.TOO_LONG, excerpt(line)))
            elif line.strip():
                item = decode_line(line, source, self._offset, segment)
                if type(item) is Record:
                    self._record = item
                    self._mark(line, length)
                    found.append(item)
                else:
                    self._take_odd(found, line, length)
        self.taken_bytes += self._offset - began_at
        return bool(lines)

    def _take_odd(self, found: list[Record | BadLine], line: bytes, length: int) -> None:
        """Take a line that is no event: a run of zero bytes, or one that may hold some all the same."""
        if line == HOLE:
            self._last_line = HOLE * min(length, MARK_BYTES), b"", self._segment, self._offset
            found.append(self._bad(Reason.MALFORMED, f"{length} zero bytes"))
            return
        self._mark(line, length)
        items = self._events_in(line)
        self._record = next((item for item in reversed(items) if isinstance(item, Record)), self._record)
        found += items or [self._bad(Reason.MALFORMED, excerpt(line))]

    def _mark(self, line: bytes, length: int) -> None:
        """Remember the line that ends here, with what ends it: a newline, or the first of some zero bytes."""
        has_newline = length > len(line)
        end = self._offset if has_newline else self._offset + 1
        self._last_line = (line, b"\n" if has_newline else HOLE, self._segment, end)

    def _events_in(self, line: bytes) -> list[Record | BadLine]:
        return events_in(line, partial(decode, source=self._source.name, offset=self._offset, segment=self._segment))

    def _take_rest(self, found: list[Record | BadLine]) -> None:
        """At the end of a log: take the line that has no newline."""
        rest = self._lines.pop_rest()
        if rest is not None and not self._take_whole(found, *rest):
            # The position stays in front of it: whoever writes may yet write the rest.
            line, length = rest
            found.append(self._bad(Reason.TORN, f"{length} zero bytes" if line == HOLE else excerpt(line)))

    def _pass_damage(self, found: list[Record | BadLine], damage: str) -> None:
        """Go on behind a damaged stretch; the line in front of it was cut."""
        rest = self._lines.pop_rest()
        if rest is not None and not self._take_whole(found, *rest):
            self._offset += rest[1]
            damage = f"{damage}; in front of it: {excerpt(rest[0])}"
        self._damages += 1
        found.append(self._bad(Reason.UNREADABLE, damage))

    def _take_whole(self, found: list[Record | BadLine], line: bytes, length: int) -> bool:
        """Take a line without a newline if an event ends it; whether one does."""
        item = decode(line, self._source.name, self._offset + length, self._segment)
        items = [item] if isinstance(item, Record) else self._events_in(line)
        if not items or not isinstance(items[-1], Record):
            return False
        self._offset += length
        self._last_line = (line, b"", self._segment, self._offset)
        self._record = items[-1]
        found += items
        return True

    def _last_number(self) -> Numbered | None:
        record = self._record
        return Numbered(record.seq, record.run_id) if record is not None and record.seq is not None else self._known

    def _bad(self, reason: Reason, text: str) -> BadLine:
        return BadLine(self._source.name, self._offset, self._segment, reason, text)
