"""Cutting a stream of bytes into lines, in constant memory.

No text has zero bytes. A run of them is what a power loss leaves in place of data: it ends the line in front of it, and
what comes behind it is a line of its own.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""The length that esper-lite's own reader accepts; a longer line is not an event of anyone."""

HOLE: Final = b"\0"
"""The line that is given for a run of zero bytes, whatever its length."""

_ZEROS: Final = re.compile(rb"(\0+)")


class LineSplitter:
    """Takes chunks and returns complete lines. A line beyond the limit is truncated to its first bytes."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        """``max_line_bytes`` is the longest line that is kept, newline not counted."""
        self._max = max_line_bytes
        self._lines: deque[tuple[bytes, int]] = deque()
        self._parts: list[bytes] = []
        self._held = 0
        self._length = 0
        self._hole = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        if not self._hole and HOLE not in chunk:
            self._feed_text(chunk)
            return
        for piece in _ZEROS.split(chunk):
            if piece.startswith(HOLE):
                self._end_line()
                self._hole += len(piece)
            elif piece:
                self._end_hole()
                self._feed_text(piece)

    def _feed_text(self, chunk: bytes) -> None:
        first, *rest = chunk.split(b"\n")
        self._extend(first)
        if not rest:
            return
        self._lines.append((b"".join(self._parts), self._length + 1))
        self._start_line()
        last = rest.pop()
        self._lines.extend([(line[: self._max + 1], len(line) + 1) for line in rest])
        self._extend(last)

    def pop(self) -> tuple[bytes, int] | None:
        """The next complete line without its newline, and its length in the stream; None when there is none.

        The length counts the newline, which a line in front of zero bytes lacks.
        """
        return self._lines.popleft() if self._lines else None

    def take(self, limit: int, max_bytes: int) -> list[tuple[bytes, int]]:
        """The results of repeated :meth:`pop`, at most ``limit`` lines, and no more once they have ``max_bytes``."""
        popped: list[tuple[bytes, int]] = []
        lines, size = self._lines, 0
        while lines and len(popped) < limit and size < max_bytes:
            line = lines.popleft()
            size += line[1]
            popped.append(line)
        return popped

    def pop_rest(self) -> tuple[bytes, int] | None:
        """The unfinished line and its length in the stream; None when the stream ended with a newline."""
        if self._hole:
            self._end_hole()
            return self._lines.pop()
        if not self._length:
            return None
        rest = b"".join(self._parts), self._length
        self._start_line()
        return rest

    @property
    def pending_bytes(self) -> int:
        """Length of the unfinished line in the stream."""
        return self._length + self._hole

    def _end_line(self) -> None:
        if self._length:
            self._lines.append((b"".join(self._parts), self._length))
            self._start_line()

    def _end_hole(self) -> None:
        if self._hole:
            self._lines.append((HOLE, self._hole))
            self._hole = 0

    def _start_line(self) -> None:
        self._parts = []
        self._held = self._length = 0

    def _extend(self, piece: bytes) -> None:
        self._length += len(piece)
        if piece and self._held <= self._max:
            kept = piece[: self._max + 1 - self._held]
            self._parts.append(kept)
            self._held += len(kept)
