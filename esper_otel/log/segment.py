"""One open segment of a log as a stream of uncompressed bytes."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import Final

import zstandard

from esper_otel.log.opening import open_to_read

CHUNK_BYTES: Final = 64 * 1024
_HEAD_BYTES: Final = 128
_BEHIND_BYTES: Final = 256
"""How much of what was read is looked at again before reading goes on: the end of a line, with its number."""

READ_ERRORS: Final = (OSError, EOFError, zlib.error, zstandard.ZstdError)
"""What reading a file that was cut or overwritten may raise."""


class OpenSegment:
    """A file opened for reading at an offset of its uncompressed content. Does not block on regular files."""

    def __init__(self, path: Path, offset: int) -> None:
        """Open ``path`` and go to ``offset`` (bytes, uncompressed), which may lie behind the end.

        Raises:
            OSError: the file cannot be opened, or is no regular file.
            EOFError, zlib.error, zstandard.ZstdError: it is not what its suffix says.
        """
        self._raw = open_to_read(path)
        try:
            self._stream = _uncompressed(self._raw, path.suffix)
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
        """Up to 64 KiB of what comes next, empty at the present end."""
        chunk = self._stream.read(CHUNK_BYTES) or b""
        if chunk:
            self._behind = (self._behind + chunk if len(chunk) < _BEHIND_BYTES else chunk)[-_BEHIND_BYTES:]
        return chunk

    def read_exactly(self, length: int) -> bytes:
        """The next ``length`` bytes; fewer where the file ends before."""
        parts = []
        while length > 0 and (part := self._stream.read(length)):
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def is_as_read(self) -> bool:
        """Whether what was read last still stands in front of where reading goes on; yes for a compressed file."""
        if self.compressed:
            return True
        reached, length = self._raw.tell(), len(self._behind)
        if not length:
            return reached <= self.size()
        return os.pread(self._raw.fileno(), length, reached - length) == self._behind

    def is_at(self, path: Path) -> bool:
        """Whether ``path`` is still this file, by inode."""
        own = os.fstat(self._raw.fileno())
        try:
            other = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)

    def size(self) -> int:
        """Bytes on disk now."""
        return os.fstat(self._raw.fileno()).st_size

    def begins_as_before(self) -> bool:
        """Whether the first bytes are those that were there when it was opened: cut at its end, not written anew."""
        return os.pread(self._raw.fileno(), len(self._head), 0) == self._head != b""

    def close(self) -> None:
        """Close the file."""
        if self._stream is not self._raw:
            self._stream.close()
        self._raw.close()

    def _go_to(self, offset: int) -> None:
        if not self.compressed:
            self._raw.seek(offset)
            return
        while offset > 0:
            skipped = self._stream.read(min(offset, CHUNK_BYTES))
            if not skipped:
                return
            offset -= len(skipped)


def _uncompressed(raw: io.FileIO, suffix: str) -> io.RawIOBase | io.BufferedIOBase:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="rb")
    if suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=False)  # type: ignore[return-value]  # a RawIOBase in all but name
    return raw
