"""Reading of the event log of a run, finished or growing, ours or esper-lite's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from esper_otel.log.codec import decode, decode_with_event
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.layout import Series, Source, resolve
from esper_otel.log.opening import max_open_files
from esper_otel.log.reading.follower import MAX_READ_BYTES, Follower, Position
from esper_otel.log.reading.patience import Patience

RESCAN_S: Final = 0.2
"""Longest time until a new rank's log is noticed: listing a directory on a network file system is not free."""


class LogReader:
    """The records of a run, of all its ranks, from a position on.

    Example::

        with LogReader("telemetry/latest", follow=False) as reader:
            while batch := reader.read(1000):
                for item in batch:
                    ...

    Memory does not grow with the size of the log. Not safe for use by several threads.

    Attributes:
        taken_bytes: length of the lines that the last :meth:`read` returned.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        follow: bool = False,
        positions: Mapping[str, Position] | None = None,
        *,
        decode_events: bool = False,
        follows: Callable[[int], bool] | None = None,
    ) -> None:
        """Find the logs of ``path`` (:func:`esper_otel.log.layout.resolve`).

        Args:
            path: run directory, log file or telemetry directory.
            follow: whether more may come. A path that does not exist yet is then waited for.
            positions: an earlier value of :attr:`positions`, to resume exactly there.
            decode_events: whether records of ours come with their event decoded (:attr:`Record.event`), which is faster
                than to decode it later and of no use to who wants the payload's text.
            follows: whether a rank's log is read; default all. Asked anew until it says so.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        self._path = Path(path)
        self._follow = follow
        self._positions: dict[str, Position] = dict(positions or {})
        self._followers: dict[str, Follower] = {}
        self._scanned_at = -RESCAN_S
        self._turn = 0
        self._decoder = decode_with_event if decode_events else decode
        self._follows = follows
        self._patience = Patience()
        self._max_open = max_open_files()
        self._opened: dict[Follower, None] = {}
        self.taken_bytes = 0
        if follow:
            self._rescan()
        else:
            self._discover()

    @property
    def positions(self) -> dict[str, Position]:
        """Position after the last returned record of each log, by name; plain JSON."""
        return self._positions | {name: follower.position for name, follower in self._followers.items()}

    @property
    def has_begun(self) -> bool:
        """True if anything was read, by this reader or before the position that it started from."""
        return any(position["offset"] > 0 or position["segment"] > 1 for position in self.positions.values())

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the logs found so far."""
        return tuple(self._followers)

    def read(self, max_records: int = 1000) -> list[Record | BadLine]:
        """Return up to ``max_records`` available records, taking turns between logs; empty if there is nothing new.

        Waits for nothing but a file system that fails, and for that only when not following. Order is kept within a
        log, not between logs. Fewer are given where their lines are long.
        """
        if self._follow:
            self._rescan()
        found: list[Record | BadLine] = []
        followers = list(self._followers.values())
        self.taken_bytes = 0
        for step in range(len(followers)):
            if len(found) >= max_records or self.taken_bytes >= MAX_READ_BYTES:
                break
            share = -(-(max_records - len(found)) // (len(followers) - step))
            follower = followers[(self._turn + step) % len(followers)]
            found += follower.read(share, MAX_READ_BYTES - self.taken_bytes)
            self.taken_bytes += follower.taken_bytes
            if len(followers) > self._max_open:
                self._bound_open(follower)
        self._turn += 1
        return found

    @property
    def read_errors(self) -> int:
        """Failures of the file system so far."""
        return self._patience.errors + sum(follower.patience.errors for follower in self._followers.values())

    @property
    def trouble(self) -> str | None:
        """Path and error of what cannot be read now, for people; None if all is well."""
        named = {str(self._path): self._patience} | {name: one.patience for name, one in self._followers.items()}
        return next((f"{name}: {one.trouble}" for name, one in named.items() if one.trouble is not None), None)

    def unread_bytes(self) -> int:
        """Bytes on disk that were not returned yet; may be called from another thread."""
        return sum(follower.unread_bytes() for follower in list(self._followers.values()))

    def ends(self) -> dict[str, tuple[int, int]]:
        """Current end of each log as segment and byte, for :meth:`has_passed`."""
        return {name: follower.end() for name, follower in self._followers.items()}

    def has_passed(self, ends: Mapping[str, tuple[int, int]]) -> bool:
        """Return True if everything before ``ends`` was returned."""
        return all(follower.place >= ends[name] for name, follower in self._followers.items() if name in ends)

    def finish(self) -> None:
        """Stop expecting more: the next :meth:`read` calls end with the logs, torn last lines included."""
        self._follow = False
        self._rescan(force=True)
        for follower in self._followers.values():
            follower.follow = False

    def close(self) -> None:
        """Close all files; positions stay readable."""
        for follower in self._followers.values():
            follower.close()

    def __enter__(self) -> Self:
        """The reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all files."""
        self.close()

    def _rescan(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._scanned_at < RESCAN_S:
            return
        self._scanned_at = now
        try:
            self._discover()
            self._patience.worked()
        except FileNotFoundError:
            return  # followed before it exists, or removed while followed: open files are read on
        except OSError as error:
            self._patience.failed(error)  # the next look is as soon as ever: whoever waits for nothing new asks seldom

    def _bound_open(self, follower: Follower) -> None:
        """Close the files that were read longest ago, as a process may have so many open only."""
        self._opened.pop(follower, None)
        if follower.is_open:
            self._opened[follower] = None
        while len(self._opened) > self._max_open:
            oldest = next(iter(self._opened))
            del self._opened[oldest]
            oldest.park()

    def _discover(self) -> None:
        for source in resolve(self._path):
            if isinstance(source, Series):
                self._path = source.directory  # stay with this run when `latest` moves on
            if source.name not in self._followers and self._is_wanted(source):
                position = self._positions.get(source.name)
                self._followers[source.name] = Follower(source, position, follow=self._follow, decoder=self._decoder)

    def _is_wanted(self, source: Source) -> bool:
        if self._follows is None:
            return True
        return self._follows(source.rank if isinstance(source, Series) else 0)  # findings are those of rank 0's relay
