"""The readable content of a compressed file: several frames, truncated, damaged, or with garbage in between.

A gzip file is a series of members, a zstd file one of frames; both are called frames here. What a frame gives before
its damage is given, and reading goes on at the next frame that can be read. Memory is bounded, whatever the file says.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from typing import Any, ClassVar, Final, Protocol

from esper_otel.log.compression.zst import zstandard

_CHUNK_BYTES: Final = 16 * 1024
_MOST_GIVEN_BYTES: Final = 1024 * 1024
_SEARCH_BYTES: Final = 1024 * 1024
_BACK_BYTES: Final = 256 * 1024
"""A frame that was cut is seen to be damaged somewhere in the next one, which begins so far in front at most."""

MAX_TRIED: Final = 1000
"""Beginnings of frames that are tried behind damages; a file with more is garbage, and trying could go on for hours."""

_NOWHERE: Final = 2**62
"""Behind the end of every file."""


class DamagedError(Exception):
    """A stretch of the file yields nothing; reading may continue after it."""


class _Source:
    """Bytes of a file, by position."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, at: int, length: int) -> bytes:
        """``length`` bytes; fewer at the end of the file."""
        parts = []
        while length > 0 and (part := os.pread(self._fd, length, at)):
            parts.append(part)
            at += len(part)
            length -= len(part)
        return b"".join(parts)

    def positions_of(self, pattern: re.Pattern[bytes], at: int) -> Iterator[int]:
        """Position of the first four bytes of ``pattern`` from ``at`` on."""
        while len(found := self.read(at, _SEARCH_BYTES)) >= 4:
            yield from (at + match.start() for match in pattern.finditer(found))
            at += len(found) - 3


class _Frame(Protocol):
    """One frame from ``start`` on; ``at`` is the position in the file behind what was taken."""

    BEGINS: ClassVar[re.Pattern[bytes]]
    start: int
    at: int

    def __init__(self, source: _Source, start: int) -> None: ...

    def read(self) -> bytes | None:
        """Some of its content, possibly none yet; None behind its end.

        Raises:
            DamagedError: nothing more can be had of it.
        """


class _GzipFrame:
    BEGINS: ClassVar = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")

    def __init__(self, source: _Source, start: int) -> None:
        self.start = self.at = start
        self._source = source
        self._decoder: Any = zlib.decompressobj(31)
        self._error: str | None = None

    def read(self) -> bytes | None:
        if self._error is not None:
            raise DamagedError(self._error)
        if self._decoder.eof:
            return None
        taken = self._source.read(self.at, _CHUNK_BYTES)
        if not taken:
            raise DamagedError("it is cut")
        before = self._decoder.copy()
        try:
            given: bytes = self._decoder.decompress(taken, _MOST_GIVEN_BYTES)
        except zlib.error as error:
            return self._read_up_to_damage(before, taken, str(error))
        self.at += len(taken) - len(self._decoder.unconsumed_tail) - len(self._decoder.unused_data)
        return given

    def _read_up_to_damage(self, decoder: Any, taken: bytes, error: str) -> bytes:
        """Bytes that zlib withheld with its error: it discards the whole piece that it was given."""
        self._error = error
        given = []
        try:
            for number in range(len(taken)):
                given.append(decoder.decompress(taken[number : number + 1]))
                self.at += 1
        except zlib.error:
            pass
        return b"".join(given)


class _ZstdFrame:
    """Fed block by block: zstd gives whole blocks, and at most 128 KiB each."""

    BEGINS: ClassVar = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)

    def __init__(self, source: _Source, start: int) -> None:
        self.start = self.at = start
        self._source = source
        self._package = zstandard()
        self._decoder: Any = self._package.ZstdDecompressor().decompressobj()
        self._is_checked = False
        self._is_over = False
        self._is_begun = False

    def read(self) -> bytes | None:
        if self._is_over:
            return None
        if not self._is_begun:
            return self._begin()
        head = self._source.read(self.at, 3)
        if len(head) < 3:
            raise DamagedError("it is cut")
        header = int.from_bytes(head, "little")
        is_last, kind, size = header & 1, header >> 1 & 3, header >> 3
        length = 3 + (1 if kind == 1 else size)
        given = self._feed(length)
        if is_last and self._is_checked:
            given += self._feed(4)
        self._is_over = bool(is_last)
        return given

    def _begin(self) -> bytes:
        self._is_begun = True
        head = self._source.read(self.at, 18)
        if head[1:4] == b"\x2a\x4d\x18":  # a frame of something else, to be skipped
            self.at += 8 + int.from_bytes(head[4:8], "little")
            if not self._source.read(self.at - 1, 1):
                raise DamagedError("it is cut")
            self._is_over = True
            return b""
        try:
            length = self._package.frame_header_size(head)
        except self._package.ZstdError:
            raise DamagedError("it is cut") from None
        self._is_checked = bool(head[4] & 4)
        return self._feed(length)

    def _feed(self, length: int) -> bytes:
        piece = self._source.read(self.at, length)
        try:
            given: bytes = self._decoder.decompress(piece)
        except self._package.ZstdError as error:
            raise DamagedError(str(error).removeprefix("zstd decompressor error: ")) from None
        if len(piece) < length:
            raise DamagedError("it is cut")
        self.at += length
        return given


class CompressedStream:
    """Reads a file frame by frame. The same file gives the same bytes, wherever its damages are."""

    def __init__(self, fd: int, suffix: str, known_damages: int = 0) -> None:
        """``fd`` is an open file and stays so; ``suffix`` says what it is where its first bytes do not.

        ``known_damages``: how many of the damages, from the first on, are passed over without a word.

        Raises:
            OSError: it is a zstd file, and zstandard is not installed.
        """
        self._source = _Source(fd)
        head = self._source.read(0, 4)
        kinds: tuple[type[_Frame], ...] = (_GzipFrame, _ZstdFrame)
        named = _GzipFrame if suffix == ".gz" else _ZstdFrame
        self._kind: type[_Frame] = next((kind for kind in kinds if kind.BEGINS.match(head)), named)
        if self._kind is _ZstdFrame:
            zstandard()
        self._frame: _Frame | None = None
        self._at = 0
        self._ready = b""
        self._tried = 0
        self._known = known_damages
        self._is_padded = False

    def read(self, length: int) -> bytes:
        """Up to ``length`` bytes of what comes next, empty at the end.

        Raises:
            DamagedError: a stretch gives nothing; the next call goes on behind it.
            OSError: the file cannot be read.
        """
        while not self._ready:
            if self._frame is not None:
                self._read_frame(self._frame)
            elif not self._begin_frame():
                return b""
        given, self._ready = self._ready[:length], self._ready[length:]
        return given

    def _begin_frame(self) -> bool:
        head = self._first_nonzero()
        if not head:
            return False
        if self._kind.BEGINS.match(head):
            self._frame = self._kind(self._source, self._at)
        else:
            self._resume(self._at, f"no frame begins at byte {self._at}")
        return True

    def _first_nonzero(self) -> bytes:
        """Pass over zero bytes, which pad a file; the four bytes behind them, none at the end."""
        while found := self._source.read(self._at, _SEARCH_BYTES if self._is_padded else 4):
            rest = found.lstrip(b"\0")
            self._at += len(found) - len(rest)
            self._is_padded = len(rest) < len(found)
            if rest and not self._is_padded:
                return rest[:4]
        return b""

    def _read_frame(self, frame: _Frame) -> None:
        try:
            given = frame.read()
        except DamagedError as damage:
            self._frame = None
            text = f"the frame at byte {frame.start} is damaged at byte {frame.at}: {damage}"
            self._resume(max(frame.start + 1, frame.at - _BACK_BYTES), text)
        else:
            if given is None:
                self._at, self._frame = frame.at, None
            else:
                self._ready = given

    def _resume(self, at: int, damage: str) -> None:
        """Go to the next frame behind ``at`` that gives anything, and tell the damage in front of it."""
        self._at = self._next_frame(at)
        if self._known:
            self._known -= 1
            return
        is_end = self._at == _NOWHERE
        raise DamagedError(
            f"{damage}; {'nothing' if is_end else f'the frame at byte {self._at}'} can be read behind it"
        )

    def _next_frame(self, at: int) -> int:
        for start in self._source.positions_of(self._kind.BEGINS, at):
            self._tried += 1
            if self._tried > MAX_TRIED:
                break
            if self._gives_anything(start):
                return start
        return _NOWHERE

    def _gives_anything(self, start: int) -> bool:
        frame = self._kind(self._source, start)
        try:
            while (given := frame.read()) is not None:
                if given:
                    return True
        except DamagedError:
            return False
        return True
