"""Lines decoded by the metrics pipeline, passed on to the deliveries while they are at the same position.

Each pipeline has a position of its own, so that an endpoint that is down holds up nothing but its own signal. As long
as a delivery keeps up, though, decoding every line again would be half of the relay's work. Lines that a delivery does
not fetch in time are dropped here; it then reads the log itself until it has caught up.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.log.reader import LogReader
from esper_otel.log.reading.follower import Position
from esper_otel.relay.ingest import Ingest, Ingested

MAX_LINES: Final = 8_000
"""Lines that wait: some 20 MB of decisions, a second of the fastest training."""

MAX_BYTES: Final = 64 * 1024 * 1024
"""Length of the lines that wait: a log may have long ones."""

PACE_S: Final = 0.2
"""How long whoever is ahead waits for room, counted from when a delivery moved last: one that works moves every few
ms, and one that waits for its endpoint must hold up neither the metrics nor the other signal."""

Positions = dict[str, Position]


class Batch(msgspec.Struct, frozen=True):
    """A batch of lines with its positions.

    Attributes:
        start: position in front of the first line.
        end: position behind the last one.
        ingest: state of the ingest behind the last one.
        size_bytes: length of the lines in the log.
        number: its place among all batches.
    """

    start: Positions
    end: Positions
    ingest: Any
    lines: list[Ingested]
    size_bytes: int
    number: int


class Reader(msgspec.Struct):
    """A reader of batches.

    Attributes:
        next: number of the first batch that it has not passed.
        moved_at: when it was found at another place than before, monotonic s: it works, and is worth waiting for.
        positions: where it was then.
    """

    next: int
    moved_at: float
    positions: Positions = {}


class Handover:
    """A short queue of batches, each beginning where the one before ended. Safe for use by several threads.

    A batch is kept until all readers passed it, as long as there is room.

    Attributes:
        waits: whether the log is finished, so that who puts and who takes wait for each other.
    """

    def __init__(self, positions: Mapping[str, Position], *, waits: bool = False) -> None:
        """The first batch begins at ``positions``.

        ``waits``: :meth:`put` lets a delivery that works catch up instead of forgetting lines, which it would have to
        decode a second time. For finished logs, of which nobody watches the newest metrics.
        """
        self.waits = waits
        self._changed = threading.Condition()
        self._readers: list[Reader] = []
        self._put = 0
        self._batches: deque[Batch] = deque()
        self._held = 0
        self._held_bytes = 0
        self._tail: Positions = dict(positions)

    def join(self) -> Reader:
        """Register a reader of batches in one thread."""
        with self._changed:
            reader = Reader(self._put - len(self._batches), time.monotonic())
            self._readers.append(reader)
            return reader

    def leave(self, reader: Reader) -> None:
        """Stop keeping batches for ``reader``."""
        with self._changed:
            self._readers = [other for other in self._readers if other is not reader]
            self._drop_passed()

    def put(self, end: Positions, ingest: Any, lines: list[Ingested], size_bytes: int) -> None:
        """Add the lines between the end of the last batch and ``end``; without room the oldest are dropped.

        ``size_bytes`` is their length in the log.
        """
        with self._changed:
            while self.waits and not self._fits(len(lines), size_bytes):
                if not self._changed.wait(self._patience_s()):
                    break
            self._batches.append(Batch(self._tail, end, ingest, lines, size_bytes, self._put))
            self._put += 1
            self._tail = end
            self._held += len(lines)
            self._held_bytes += size_bytes
            while not self._fits(0, 0):
                self._drop_first()
            self._changed.notify_all()

    def _patience_s(self) -> float:
        """Time to wait for readers that have not passed the oldest batch, as long as they advance."""
        holding = [reader.moved_at for reader in self._readers if reader.next <= self._put - len(self._batches)]
        return max(holding, default=0.0) + PACE_S - time.monotonic()

    def _fits(self, lines: int, size_bytes: int) -> bool:
        return self._held + lines <= MAX_LINES and self._held_bytes + size_bytes <= MAX_BYTES

    def take(self, reader: Reader, positions: Mapping[str, Position]) -> Batch | None:
        """The batch that begins at ``positions``, None if there is none; ``reader`` has then passed it."""
        with self._changed:
            batch = next((batch for batch in self._batches if batch.start == positions), None)
            if positions != reader.positions:
                reader.positions, reader.moved_at = dict(positions), time.monotonic()
            if batch is not None or positions == self._tail:
                reader.next = self._put if batch is None else batch.number + 1
                self._drop_passed()
            return batch

    def wait(self, positions: Mapping[str, Position], timeout_s: float) -> None:
        """Return once there is a batch that begins at ``positions``, at the latest after ``timeout_s``."""
        with self._changed:
            self._changed.wait_for(lambda: any(batch.start == positions for batch in self._batches), timeout_s)

    def _drop_passed(self) -> None:
        wanted = min((reader.next for reader in self._readers), default=self._put)
        while self._batches and self._batches[0].number < wanted:
            self._drop_first()
        self._changed.notify_all()

    def _drop_first(self) -> None:
        batch = self._batches.popleft()
        self._held -= len(batch.lines)
        self._held_bytes -= batch.size_bytes

    def is_at_tail(self, positions: Mapping[str, Position]) -> bool:
        """Return True if a reader at ``positions`` has everything that was put."""
        with self._changed:
            return self._tail == positions


class LineFeed:
    """The ingested lines of a log from a position: from a handover if it has them, else read and decoded here.

    Not safe for use by several threads.
    """

    def __init__(
        self,
        path: Path,
        *,
        follow: bool,
        stored: Mapping[str, Any] | None,
        handover: Handover | None,
        own_id: str | None = None,
        follows: Callable[[int], bool] | None = None,
    ) -> None:
        """Go on from what :attr:`state` was, else begin at the start.

        ``own_id`` is that of :class:`Ingest`, ``follows`` that of :class:`LogReader`.

        Raises:
            FileNotFoundError: there is nothing to read and ``follow`` is off.
        """
        self._path = path
        self._follow = follow
        self._handover = handover
        self._as_reader = handover.join() if handover is not None else None
        self._positions: Positions = dict(stored["positions"]) if stored else {}
        self._ingest_state: Any = stored["ingest"] if stored else None
        self._reader: LogReader | None = None
        self._own_id = own_id
        self._follows = follows
        self._ingest = Ingest(self._ingest_state, own_id)
        self._is_finishing = False
        self._read_here()

    @property
    def state(self) -> dict[str, Any]:
        """Position to store; plain JSON."""
        return {"positions": self._positions, "ingest": self._ingest_state}

    def read(self, limit: int) -> list[Ingested]:
        """The available next lines, about ``limit`` of them; empty if there is nothing new."""
        handed = self._take_over(limit)
        if handed:
            return handed
        if self._handover is not None and not self._is_finishing and self._handover.is_at_tail(self._positions):
            return []  # what comes next will be handed over
        items = self._read_here().read(limit)
        lines = [self._ingest.take(item) for item in items]
        self._positions, self._ingest_state = self._read_here().positions, self._ingest.state
        return lines

    def unread_bytes(self) -> int:
        """Bytes on disk behind the position; may be called from another thread."""
        with LogReader(self._path, follow=True, positions=self._positions, follows=self._follows) as rest:
            return rest.unread_bytes()

    def wait(self, stop: threading.Event, timeout_s: float) -> None:
        """Wait for more to read, for ``timeout_s`` at most.

        A log that grows is looked at after ``timeout_s`` or when ``stop`` is set: its lines come one by one, and to be
        woken by each would cost more than they do.
        """
        if self._handover is not None and self._handover.waits:
            self._handover.wait(self._positions, timeout_s)
        else:
            stop.wait(timeout_s)

    def finish(self) -> None:
        """Stop expecting more: the next reads end with the log, torn last lines included."""
        if not self._is_finishing:
            self._is_finishing = True
            self._read_here().finish()

    def reopen(self) -> None:
        """Expect more again, from the current position on."""
        if self._is_finishing:
            self._is_finishing = False
            self._close_reader()

    def close(self) -> None:
        """Close all files."""
        if self._handover is not None and self._as_reader is not None:
            self._handover.leave(self._as_reader)
            self._as_reader = None
        self._close_reader()

    def _take_over(self, limit: int) -> list[Ingested]:
        lines: list[Ingested] = []
        while self._handover is not None and len(lines) < limit:
            self._as_reader = self._as_reader or self._handover.join()  # it leaves when it is closed
            batch = self._handover.take(self._as_reader, self._positions)
            if batch is None:
                break
            lines += batch.lines
            self._positions, self._ingest_state = batch.end, batch.ingest
            self._close_reader()
        return lines

    def _read_here(self) -> LogReader:
        if self._reader is None:
            self._reader = LogReader(
                self._path,
                follow=self._follow,
                positions=self._positions,
                decode_events=True,
                follows=self._follows,
            )
            self._ingest = Ingest(self._ingest_state, self._own_id)
            if self._is_finishing:
                self._reader.finish()
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
