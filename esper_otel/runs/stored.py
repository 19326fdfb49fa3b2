"""The file of an index: a head with what is asked of every run, and behind it what is read when it is asked for.

These are a column for each value that a list may be sorted by or have a condition on, and the entries of the runs. A
list of a hundred thousand runs shows fifty: the head has 10 MB, a column 0.1 to 1 MB, the entries have 60 MB.
"""

from __future__ import annotations

import os
import struct
import weakref
import zlib
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from esper_otel.log.listing import STEP_S
from esper_otel.log.opening import open_to_read
from esper_otel.runs.columns import Columns, most_common
from esper_otel.runs.entry import Entry, Known

VERSION: Final = 6
MAX_BYTES: Final = 512 * 1024 * 1024

_SIZES: Final = struct.Struct(">IQQ")
"""The beginning of the file: checksum of the head, its size and that of all columns and entries."""

_NOTE: Final = struct.Struct(">QQQI")
"""The next part: inode and time of the directory when all was last found as here, when that was, checksum."""

_START: Final = _SIZES.size + _NOTE.size
_MAX_SINGLE: Final = 200
"""Entries that are read one by one, before all of them are read at once."""

_ENTRY: Final = msgspec.msgpack.Decoder(Entry)


class Noted(NamedTuple):
    """A directory of runs as it was looked at. While it is the same, nobody made, moved or continued a run."""

    inode: int
    modified_ns: int
    at_ns: int

    def is_now(self, other: Noted) -> bool:
        """Return True if ``other``, looked at later, is the directory without a change since."""
        is_settled = self.at_ns - self.modified_ns >= STEP_S * 1e9
        return is_settled and (self.inode, self.modified_ns) == (other.inode, other.modified_ns)


class DamagedError(ValueError):
    """An index is not what was written."""


class Head(msgspec.Struct, array_like=True):
    """The part of an index that is read at once.

    Attributes:
        version: of all of the file.
        types: the sets of event types.
        names: name of each run's directory, or log file.
        runs: what is asked of each.
        ends: where each entry ends, in bytes behind the columns.
        checksums: of each entry.
        columns: size and checksum of each column, in their order.
        is_cut: whether columns of rare settings were left out.
    """

    version: int = VERSION
    types: list[tuple[str, ...]] = []
    names: list[str] = []
    runs: list[Known] = []
    ends: list[int] = []
    checksums: list[int] = []
    columns: dict[str, tuple[int, int]] = {}
    is_cut: bool = False


_HEAD: Final = msgspec.msgpack.Decoder(Head)


class Stored:
    """The file of an index, open: what another process puts in its place has other entries.

    Attributes:
        head: what was read of it.
        noted: the directory when all was found as it is here; None if that has not been since it was written.
    """

    def __init__(self, path: Path) -> None:
        """Read its head.

        Raises:
            OSError: it cannot be read.
            ValueError: it is damaged, or of another version.
        """
        self._path = path
        with open_to_read(path) as file:
            self._fd = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._fd)
        size = os.fstat(self._fd).st_size
        start = os.pread(self._fd, _START, 0)
        if len(start) < _START or size > MAX_BYTES:
            raise DamagedError("the index is too short or too long")
        checksum, self._head_size, self._entries_size = _SIZES.unpack_from(start)
        *noted, seal = _NOTE.unpack_from(start, _SIZES.size)
        self.noted = Noted(*noted) if seal == zlib.crc32(start[_SIZES.size : -4]) else None
        if size != _START + self._head_size + self._entries_size:
            raise DamagedError("the index has another size than it says")
        head = os.pread(self._fd, self._head_size, _START)
        if zlib.crc32(head) != checksum:
            raise DamagedError("the checksum of the index is wrong")
        self.head = _HEAD.decode(head)
        found = self.head
        sizes = {len(found.names), len(found.runs), len(found.ends), len(found.checksums)}
        if found.version != VERSION or len(sizes) != 1:
            raise DamagedError("the index is of another version")
        sizes_of_columns = [size for size, _ in found.columns.values()]
        self._start = _START + self._head_size + sum(sizes_of_columns)
        self._entries_size -= sum(sizes_of_columns)
        self._column_starts = dict(zip(found.columns, accumulate(sizes_of_columns, initial=0), strict=False))
        self._numbers: dict[str, int] = {}
        self._asked = 0
        self._entries = b""

    def encoded(self, name: str) -> bytes:
        """The entry of a run, encoded.

        Raises:
            DamagedError: it cannot be read, or is not what was written.
        """
        if not self._numbers:
            self._numbers = {name: number for number, name in enumerate(self.head.names)}
        number = self._numbers[name]
        start, end = self.head.ends[number - 1] if number else 0, self.head.ends[number]
        self._asked += 1
        if self._asked == _MAX_SINGLE:
            self._entries = self._read(self._entries_size, 0)
        found = self._entries[start:end] if self._entries else self._read(max(end - start, 0), start)
        if zlib.crc32(found) != self.head.checksums[number]:
            raise DamagedError(f"the entry of {name} in the index is damaged")
        return found

    def column(self, name: str) -> list[Any]:
        """A column of the head: its value for each run, in their order.

        Raises:
            DamagedError: it cannot be read, or is not what was written.
        """
        size, checksum = self.head.columns[name]
        found = self._read(size, _START + self._head_size + self._column_starts[name] - self._start)
        if zlib.crc32(found) != checksum:
            raise DamagedError(f"the column {name} of the index is damaged")
        values: list[Any] = msgspec.msgpack.decode(found, type=list)
        if len(values) != len(self.head.names):
            raise DamagedError(f"the column {name} of the index has another length than the runs")
        return values

    def note(self, noted: Noted) -> None:
        """Write in place that all was found as it is here: to replace the file would change the directory."""
        content = _NOTE.pack(*noted, 0)[:-4]
        with suppress(OSError):
            fd = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                if os.path.sameopenfile(fd, self._fd):  # nobody replaced it
                    os.pwrite(fd, content + zlib.crc32(content).to_bytes(4, "big"), _SIZES.size)
            finally:
                os.close(fd)

    def _read(self, size: int, start: int) -> bytes:
        try:
            return os.pread(self._fd, size, self._start + start)
        except OSError as error:
            raise DamagedError(f"the index cannot be read: {error.strerror}") from error


def entry_of(encoded: bytes) -> Entry:
    """The entry.

    Raises:
        DamagedError: it is none.
    """
    try:
        return _ENTRY.decode(encoded)
    except msgspec.MsgspecError as error:
        raise DamagedError(f"an entry of the index is damaged: {error}") from error


def sealed(head: bytes, rest: bytes = b"") -> bytes:
    """The content of the file: ``head``, columns and entries behind what tells whether they are what was written."""
    return _SIZES.pack(zlib.crc32(head), len(head), len(rest)) + bytes(_NOTE.size) + head + rest


def content_of(
    types: list[tuple[str, ...]], runs: dict[str, Known], entries: Sequence[bytes], columns: Columns
) -> bytes:
    """Bytes of an index of ``runs``, with their encoded ``entries`` and their ``columns`` in the same order."""
    ends, checksums = list(accumulate(map(len, entries))), list(map(zlib.crc32, entries))
    kept, is_cut = most_common(columns)
    encoded = {name: msgspec.msgpack.encode(values) for name, values in kept.items()}
    parts = {name: (len(each), zlib.crc32(each)) for name, each in encoded.items()}
    head = Head(VERSION, types, list(runs), list(runs.values()), ends, checksums, parts, is_cut)
    return sealed(msgspec.msgpack.encode(head), b"".join([*encoded.values(), *entries]))
