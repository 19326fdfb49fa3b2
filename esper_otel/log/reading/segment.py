"""One open segment of a log as a stream of uncompressed bytes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Final

from esper_otel.log.compression.compressed import CompressedStream, DamagedError
from esper_otel.log.foreign import refuse_foreign
from esper_otel.log.layout import COMPRESSED
from esper_otel.log.opening import open_to_read

CHUNK_BYTES: Final = 64 * 1024
_BLOCK_BYTES: Final = 4096
_HEAD_BYTES: Final = 128
_BEHIND_BYTES: Final = 256
"""Bytes checked again before reading resumes: the end of a line, with its number."""


class OpenSegment:
    """A file opened for reading at an offset of its uncompressed content. Does not block on regular files.

    Attributes:
        reached: offset up to which it was read.
    """

    def __init__(self, path: Path, offset: int, known_damages: int = 0) -> None:
        """Open ``path`` and go to ``offset`` (bytes, uncompressed), which may lie behind the end.

        ``known_damages``: how many damages of a compressed file were told before.

        Raises:
            OSError: the file cannot be opened or read, is of another kind, or needs zstandard, which is not installed.
        """
        self._raw = open_to_read(path)
        self.reached = 0
        try:
            refuse_foreign(self._raw, path)
            self._stream = _uncompressed(self._raw, path.suffix, known_damages)
            self.compressed = self._stream is not self._raw
            self._go_to(offset)
            self._behind = b""
            self._head = (
                b"" if self.compressed else os.pread(self._raw.fileno(), min(_HEAD_BYTES, offset or _HEAD_BYTES), 0)
            )
        except BaseException:
            self._raw.close()
            raise

    def read(self) -> bytes:
        """Up to 64 KiB of what comes next, empty at the present end.

        Raises:
            DamagedError: a stretch of a compressed file gives nothing; the next call goes on behind it.
            OSError: the file cannot be read.
        """
        chunk = self._stream.read(CHUNK_BYTES) or b""
        self.reached += len(chunk)
        if chunk:
            self._behind = (self._behind + chunk if len(chunk) < _BEHIND_BYTES else chunk)[-_BEHIND_BYTES:]
        return chunk

    def read_readable(self, length: int = CHUNK_BYTES) -> bytes:
        """:meth:`read` without a word about damages; up to ``length`` bytes, empty at the end only."""
        while True:
            try:
                return self._stream.read(length) or b""
            except DamagedError:
                continue

    def read_exactly(self, length: int) -> bytes:
        """The next ``length`` bytes; fewer if the file ends before."""
        parts = []
        while length > 0 and (part := self.read_readable(length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def is_as_read(self) -> bool:
        """Return True if the last bytes read still precede the position; always True for a compressed file."""
        if self.compressed:
            return True
        reached, length = self._raw.tell(), len(self._behind)
        if not length:
            return reached <= self.size()
        return os.pread(self._raw.fileno(), length, reached - length) == self._behind

    def is_at(self, path: Path) -> bool:
        """Return True if ``path`` is still this file, by inode."""
        own = os.fstat(self._raw.fileno())
        try:
            other = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)

    def readable_behind(self) -> int | None:
        """Position after an unreadable place, at a multiple of 4 KiB; None if there is none."""
        at, step = self.reached, _BLOCK_BYTES
        try:
            size = 0 if self.compressed else self.size()
        except OSError:
            return None
        while (at := at - at % _BLOCK_BYTES + step) < size:
            try:
                if os.pread(self._raw.fileno(), 1, at):
                    return at
            except OSError:
                step *= 2
        return None

    def size(self) -> int:
        """Current size on disk in bytes."""
        return os.fstat(self._raw.fileno()).st_size

    def begins_as_before(self) -> bool:
        """Return True if the first bytes are unchanged since opening: truncated at its end, not rewritten."""
        return os.pread(self._raw.fileno(), len(self._head), 0) == self._head != b""

    def close(self) -> None:
        """Close the file."""
        self._raw.close()

    def _go_to(self, offset: int) -> None:
        self.reached = offset
        if not self.compressed:
            self._raw.seek(offset)
            return
        while offset > 0 and (skipped := self.read_readable(min(offset, CHUNK_BYTES))):
            offset -= len(skipped)


def stamp_of(path: Path) -> tuple[int, int, int]:
    """Fingerprint of a file, which changes with it: inode, size and time.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _uncompressed(raw: io.FileIO, suffix: str, known_damages: int) -> io.FileIO | CompressedStream:
    is_plain = suffix not in COMPRESSED or os.pread(raw.fileno(), 4, 0).removeprefix(b"\xef\xbb\xbf")[:1] == b"{"
    return (
        raw if is_plain else CompressedStream(raw.fileno(), suffix, known_damages)
    )  # some programs unpack and keep the name
