"""Reading the event log of a run, finished or growing, ours or esper-lite's."""

from __future__ import annotations

import time
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.follower import MAX_READ_BYTES, Follower, Position
from esper_otel.log.layout import Series, resolve

RESCAN_S: Final = 0.2
"""How long a new rank's log may stay unnoticed: listing a directory on a network file system is not free."""


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
    ) -> None:
        """Find the logs that ``path`` means (:func:`esper_otel.log.layout.resolve`).

        Args:
            path: run directory, log file or telemetry directory.
            follow: whether more may come. A path that does not exist yet is then waited for.
            positions: what :attr:`positions` was, to go on exactly there.
            decode_events: whether records of ours come with their event decoded (:attr:`Record.event`), which is faster
                than to decode it later and of no use to who wants the payload's text.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        self._path = Path(path)
        self._follow = follow
        self._positions: dict[str, Position] = dict(positions or {})
        self._followers: dict[str, Follower] = {}
        self._scanned_at = -RESCAN_S
        self._turn = 0
        self._decode_events = decode_events
        self.taken_bytes = 0
        if follow:
            self._rescan()
        else:
            self._discover()

    @property
    def positions(self) -> dict[str, Position]:
        """Position behind the last returned record of each log, by name; plain JSON."""
        return self._positions | {name: follower.position for name, follower in self._followers.items()}

    @property
    def has_begun(self) -> bool:
        """Whether anything was read yet, by this reader or in front of the position that it began at."""
        return any(position["offset"] > 0 or position["segment"] > 1 for position in self.positions.values())

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the logs found so far."""
        return tuple(self._followers)

    def read(self, max_records: int = 1000) -> list[Record | BadLine]:
        """Up to ``max_records`` records that are there now, each log getting its turn; empty when there is nothing new.

        Does not wait. Order is kept within a log, not between logs. Fewer are given where their lines are long.
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
        self._turn += 1
        return found

    def unread_bytes(self) -> int:
        """Bytes on disk that were not returned yet; may be called from another thread."""
        return sum(follower.unread_bytes() for follower in list(self._followers.values()))

    def finish(self) -> None:
        """Stop expecting more: what :meth:`read` gives next ends with the logs, torn last lines included."""
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
        except FileNotFoundError:
            return  # followed before it exists, or removed while followed: open files are read on

    def _discover(self) -> None:
        for source in resolve(self._path):
            if isinstance(source, Series):
                self._path = source.directory  # stay with this run when `latest` moves on
            if source.name not in self._followers:
                position = self._positions.get(source.name)
                self._followers[source.name] = Follower(
                    source, position, follow=self._follow, decode_events=self._decode_events
                )
