"""Cutting a stream of bytes into lines, in constant memory."""

from __future__ import annotations

from collections import deque
from typing import Final

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""The length that esper-lite's own reader accepts; a longer line is not an event of anyone."""


class LineSplitter:
    """Takes chunks, gives complete lines. A line beyond the limit is given as its first bytes only."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        """``max_line_bytes`` is the longest line that is kept, newline not counted."""
        self._max = max_line_bytes
        self._lines: deque[tuple[bytes, int]] = deque()
        self._parts: list[bytes] = []
        self._held = 0
        self._length = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
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
        """The next complete line without its newline, and its length in the stream with it; None when there is none."""
        return self._lines.popleft() if self._lines else None

    def take(self, limit: int, max_bytes: int) -> list[tuple[bytes, int]]:
        """What :meth:`pop` would give, ``limit`` lines at most and no more once they have ``max_bytes``."""
        popped: list[tuple[bytes, int]] = []
        lines, size = self._lines, 0
        while lines and len(popped) < limit and size < max_bytes:
            line = lines.popleft()
            size += line[1]
            popped.append(line)
        return popped

    def pop_rest(self) -> tuple[bytes, int] | None:
        """The unfinished line and its length in the stream; None when the stream ended with a newline."""
        if not self._length:
            return None
        rest = b"".join(self._parts), self._length
        self._start_line()
        return rest

    @property
    def pending_bytes(self) -> int:
        """Length of the unfinished line in the stream."""
        return self._length

    def _start_line(self) -> None:
        self._parts = []
        self._held = self._length = 0

    def _extend(self, piece: bytes) -> None:
        self._length += len(piece)
        if piece and self._held <= self._max:
            kept = piece[: self._max + 1 - self._held]
            self._parts.append(kept)
            self._held += len(kept)
