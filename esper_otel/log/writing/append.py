"""The active segment of one rank's log, opened for appending."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from esper_otel.log.layout import Series
from esper_otel.log.opening import Descriptor, open_to_change


class AppendFile:
    """Appends whole lines with write(2) to an ``O_APPEND`` descriptor; there is no buffer that a kill could lose."""

    def __init__(self, series: Series, segment_bytes: int) -> None:
        """Create it without opening a file. ``segment_bytes``: size at which a segment is closed."""
        self._series = series
        self._segment_bytes = segment_bytes
        self._file: Descriptor | None = None
        self._size = 0
        self._is_torn = False

    @property
    def is_open(self) -> bool:
        """True if a file is open."""
        return self._file is not None

    def open(self) -> None:
        """Open or create the active segment, and its directory if missing.

        A line that an earlier process left unfinished is ended first, so that nothing merges with it.

        Raises:
            OSError: it cannot be created.
        """
        self._series.directory.mkdir(parents=True, exist_ok=True)
        fd = open_to_change(self._series.active, os.O_RDWR | os.O_APPEND)
        self._file = Descriptor(fd)
        self._size = os.fstat(fd).st_size
        self._is_torn = self._size > 0 and os.pread(fd, 1, self._size - 1) != b"\n"

    def write(self, data: memoryview) -> int:
        """Write as much of ``data`` as the system accepts in one call, and return its size. May block on disk.

        Raises:
            OSError: nothing was written; EBADF if other code closed the file, even if its number is in use again.
        """
        number = self._opened.number
        self._opened.status()
        if self._is_torn:
            self._size += os.write(number, b"\n")
            self._is_torn = False
        written = os.write(number, data)
        self._size += written
        return written

    def is_removed(self) -> bool:
        """True if the open file was removed, so that its contents are lost."""
        try:
            return self._opened.is_removed(self._series.active)
        except OSError:
            return False  # other code closed it, which the next write notices

    def follow_move(self) -> bool:
        """Continue in the directory of the open file if that was renamed; returns True if so. Needs Linux."""
        moved = self._file.moved_from(self._series.active) if self._file is not None else None
        if moved is not None:
            self._series.move(moved.parent)
        return moved is not None

    def is_due(self, more: int) -> bool:
        """True if ``more`` bytes would exceed the segment's size limit."""
        return self._size > 0 and self._size + more > self._segment_bytes

    def rotate(self) -> Path:
        """Close the segment under its number, begin the next, and return the path of the closed one.

        Raises:
            OSError: it could not be renamed, or the next one not created.
        """
        self.follow_move()
        closed = self._series.closed_path(self._series.numbers()[-1])
        self._series.active.rename(closed)
        self.close()
        self.open()
        return closed

    def close(self) -> None:
        """Close the file; no effect if none is open."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    @property
    def _opened(self) -> Descriptor:
        if self._file is None:
            raise OSError(errno.EBADF, "the log is not open")
        return self._file
