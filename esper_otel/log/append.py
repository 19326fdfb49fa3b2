"""The active segment of one rank's log, opened for appending."""

from __future__ import annotations

import os
from pathlib import Path

from esper_otel.log.layout import Series
from esper_otel.log.opening import open_to_change


class AppendFile:
    """Appends whole lines with write(2) to an ``O_APPEND`` descriptor; there is no buffer that a kill could lose."""

    def __init__(self, series: Series, segment_bytes: int) -> None:
        """``segment_bytes``: size at which a segment is closed. Nothing is opened yet."""
        self._series = series
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._size = 0
        self._is_torn = False

    @property
    def is_open(self) -> bool:
        """Whether a file is open."""
        return self._fd >= 0

    def open(self) -> None:
        """Open or create the active segment, and its directory if that is missing.

        A line that an earlier process left unfinished is ended first, so that nothing merges with it.

        Raises:
            OSError: it cannot be created.
        """
        self._series.directory.mkdir(parents=True, exist_ok=True)
        fd = open_to_change(self._series.active, os.O_RDWR | os.O_APPEND)
        self._fd = fd
        self._size = os.fstat(fd).st_size
        self._is_torn = self._size > 0 and os.pread(fd, 1, self._size - 1) != b"\n"

    def write(self, data: memoryview) -> int:
        """Write as much of ``data`` as the system takes in one call; the number of bytes. May block on the disk.

        Raises:
            OSError: nothing was written.
        """
        if self._is_torn:
            self._size += os.write(self._fd, b"\n")
            self._is_torn = False
        written = os.write(self._fd, data)
        self._size += written
        return written

    def is_removed(self) -> bool:
        """Whether the open file has no name any more, so that what was written to it is gone."""
        return os.fstat(self._fd).st_nlink == 0

    def is_due(self, more: int) -> bool:
        """Whether ``more`` bytes would make the segment longer than it should be."""
        return self._size > 0 and self._size + more > self._segment_bytes

    def rotate(self) -> Path:
        """Close the segment under its number and begin the next; the path of the closed one.

        Raises:
            OSError: it could not be renamed, or the next one not created.
        """
        closed = self._series.closed_path(self._series.numbers()[-1])
        self._series.active.rename(closed)
        self.close()
        self.open()
        return closed

    def close(self) -> None:
        """Close the file; without effect when none is open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
