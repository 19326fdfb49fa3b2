"""Reading of one series of segments from a position, finished or still growing."""

from __future__ import annotations

import time
from typing import Final

from esper_otel.log.codec import Decoder, decode
from esper_otel.log.compression.compressed import DamagedError
from esper_otel.log.envelope import BadLine, Reason, Record
from esper_otel.log.layout import COMPRESSED, Source
from esper_otel.log.reading.lines import LineSplitter
from esper_otel.log.reading.marks import Place, is_marked, place_at, place_behind, told
from esper_otel.log.reading.patience import Patience, may_pass
from esper_otel.log.reading.segment import OpenSegment, stamp_of
from esper_otel.log.reading.taking import LineTaker
from esper_otel.log.reading.taking import Position as Position

MAX_READ_BYTES: Final = 32 * 1024 * 1024
"""Length of the lines that one read returns, plus at most one line: a thousand of the longest would fill 16 GB."""


class Follower(LineTaker):
    """The records of one source in the order of the log.

    Survives what happens to a growing file: rotation, compression of a closed segment, truncation, removal and
    re-creation, and not being there yet. Lines that were read and are gone, with others in their place or not, are
    noticed by the mark of the last one; reading then goes on behind what is left of them. ``follow`` says whether
    more may come; cleared, an unfinished last line is given as torn. A file system that fails is tried again, without
    end while ``follow`` is set.

    Attributes:
        follow: whether more may come.
        taken_bytes: length of the lines that the last :meth:`read` returned.
        patience: failures of the file system.
    """

    def __init__(self, source: Source, position: Position | None, *, follow: bool, decoder: Decoder = decode) -> None:
        """Open nothing before the first read. Without a position, reading begins with the oldest segment.

        ``decoder``: reader of whole lines.
        """
        super().__init__(source, position, decoder=decoder)
        self._file: OpenSegment | None = None
        self._is_abandoned = False
        self._is_refused = False
        self._failed_at = 0, -1
        self._parked: tuple[int, int, int] | None = None
        self._is_checked = self._stored is None
        self.patience = Patience()
        self.follow = follow

    def read(self, limit: int, max_bytes: int = MAX_READ_BYTES) -> list[Record | BadLine]:
        """Up to ``limit`` records that are there now; empty when there is nothing new.

        No more are taken once their lines have ``max_bytes``; how many they have is then :attr:`taken_bytes`. Does not
        wait while ``follow`` is set; after it, for a file system that fails.
        """
        found: list[Record | BadLine] = []
        self.taken_bytes = 0
        while len(found) < limit and self.taken_bytes < max_bytes:
            if wait_s := self.patience.wait_s:
                if self.follow:
                    break
                time.sleep(wait_s)
            try:
                goes_on = self._step(found, limit, max_bytes)
                self._note_success(goes_on)
            except OSError as error:
                goes_on = self._bear(found, error)
            if not goes_on:
                break
        return found

    @property
    def is_open(self) -> bool:
        """True if it has an open descriptor."""
        return self._file is not None

    def park(self) -> None:
        """Close the file, and leave it closed until it has more than was read of it."""
        reached = self._offset + self._lines.pending_bytes
        stamp = self._stamp()
        self._close_for_now()
        self._parked = stamp if stamp is not None and stamp[1] == reached else None

    def _step(self, found: list[Record | BadLine], limit: int, max_bytes: int) -> bool:
        """Take what was read, or read more, or go to the next file; whether there may be more."""
        if self._file is None and not (self._has_changed() and self._open(found)):
            return False
        return self._take_lines(found, limit, max_bytes) or self._read_chunk(found) or self._pass_end(found)

    def _note_success(self, goes_on: bool) -> None:
        """A failure is over once more was read than stood in front of it, or there is no more to read."""
        if self.patience.trouble is None or (goes_on and self._reached() <= self._failed_at):
            return
        self.patience.worked()
        self._is_refused = False

    def _reached(self) -> tuple[int, int]:
        return self._segment, self._file.reached if self._file is not None else -1

    def _has_changed(self) -> bool:
        if self._parked is not None and self.follow and self._stamp() == self._parked:
            return False
        self._parked = None
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        """Fingerprint of the file, which changes with it; None if it cannot be read."""
        try:
            located = self._source.locate(self._segment)
            return None if located is None or located.closed else stamp_of(located.path)
        except OSError:
            return None

    def _bear(self, found: list[Record | BadLine], error: OSError) -> bool:
        """Try again later, or go on without what cannot be read; whether to go on at once."""
        self._failed_at = max(self._failed_at, self._reached()) if self.patience.trouble else self._reached()
        self.patience.failed(error)
        if may_pass(error) and not self.patience.is_exhausted:
            self._close_for_now()
            return not self.follow
        behind = self._file.readable_behind() if self._file is not None else None
        if behind is not None:
            self._pass_bad_place(found, behind)
            return True
        self._close_for_now()
        if self.follow and may_pass(error):
            return False
        return self._give_up(found, error)

    def _pass_bad_place(self, found: list[Record | BadLine], behind: int) -> None:
        """A bad sector: what stands behind it can be read."""
        text = f"bytes {self._offset} to {behind}: {self.patience.trouble}"
        self._close_for_now()
        self._offset = behind
        found.append(self._bad(Reason.UNREADABLE, text))
        self.patience.worked()

    def _close_for_now(self) -> None:
        """Close the file; whether it still is what it was is looked at when it is opened again."""
        self._stored = self.position.get("last")
        self._is_checked = self._stored is None
        self.close()

    def unread_bytes(self) -> int:
        """Bytes on disk behind the position; a compressed segment as it lies there, the one in hand not at all.

        At least 1 while the file system fails: there may be more.
        """
        try:
            unread = self._unread_bytes()
        except OSError:
            unread = 1
        return max(unread, 1) if self.patience.trouble is not None else unread

    def _unread_bytes(self) -> int:
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
        """Close the file; the position is kept."""
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
            opened = OpenSegment(located.path, self._offset, self._damages)
        except FileNotFoundError:
            if located.path.is_symlink():
                raise  # a link that leads nowhere, as to a disk that is not mounted
            return False  # not created yet, or compressed or renamed a moment ago: the next call sees what became of it
        if self._source.locate(self._segment) != located:
            opened.close()  # rotated between the look and the opening: look again
            return self._open(found)
        self._file = opened
        self._lines = LineSplitter()
        return True

    def _check_mark(self, found: list[Record | BadLine]) -> bool:
        """Before the first read: check whether the stored position is still valid; False if it is too early to tell."""
        if self._is_checked or self._stored is None:
            return True
        try:
            is_there = is_marked(self._source, self._stored)
        except FileNotFoundError:
            return False
        except OSError:
            if not self.patience.is_exhausted:
                raise
            is_there = True
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
            found.append(self._bad(Reason.MISSING, f"segment {self._segment} was removed"))
            following = min((number for number in numbers if number > self._segment), default=numbers[0])
            place = place_behind(self._source, self._last_number()) or Place(following, 0)
            self._segment, self._offset, self._damages = place.segment, place.offset, 0
        return True

    def _read_chunk(self, found: list[Record | BadLine]) -> bool:
        assert self._file is not None
        if not self._file.is_as_read():
            self._find_place(found)
            return True
        try:
            chunk = self._file.read()
        except DamagedError as damage:
            self._pass_damage(found, str(damage))
            return True
        if chunk:
            self._lines.feed(chunk)
        return bool(chunk)

    def _pass_end(self, found: list[Record | BadLine]) -> bool:
        """At the current end of the file: return True if there is more to read, here or in another segment."""
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
        self._segment, self._offset, self._damages = segment, 0, 0

    def _find_place(self, found: list[Record | BadLine]) -> None:
        """Resume after the last surviving line: the file may have been rewritten at our offset."""
        known = self._last_number()
        place = place_behind(self._source, known)
        if place is None:
            is_same = self._file is None or self._file.begins_as_before()
            place = place_at(self._source, self._segment, self._offset if is_same else 0)
        if known is not None:
            text = told(known, place.last)
        else:
            text = f"{self._offset} bytes were read, {place.offset} of them are left"
        self.close()
        self._segment, self._offset, self._damages = place.segment, place.offset, 0
        self._stored, self._record = None, None
        self._known = place.last or known
        self._last_line = (place.line, b"", place.segment, place.offset)
        found.append(self._bad(Reason.TRUNCATED, text))

    def _give_up(self, found: list[Record | BadLine], error: OSError) -> bool:
        """Go on without a segment that cannot be read. One that grows is told once, and looked at again."""
        try:
            located = self._source.locate(self._segment)
        except OSError:
            located = None
        if not self._is_refused:
            found.append(self._bad(Reason.UNREADABLE, str(error)))
        if located is not None and located.closed:
            self.patience.worked()
            self._go_to(self._segment + 1)
            return True
        self._is_refused, self._is_abandoned = True, not self.follow
        return False
