"""Slices of the queue: as many of its first events as are encoded at once, and their lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from esper_otel.events.declare import Event
from esper_otel.log.queued import Queued
from esper_otel.log.writing.encoding import Encoding
from esper_otel.log.writing.plans import Plans
from esper_otel.log.writing.queue import SLICE_COST, PythonQueue, event_queue

MAX_QUEUED_EVENTS: Final = 65_536
MIN_QUEUED_EVENTS: Final = 1024

Clock = Callable[[], tuple[int, int, int, int]]
"""Offset from the monotonic clock to Unix time; time, shift and reach of the clock's latest step; all in ns."""


class Slices:
    """Encodes what is queued, in C where values were copied or can be, else in Python.

    Attributes:
        queue: the events that wait.
    """

    def __init__(
        self,
        encoding: Encoding,
        buffer_bytes: int,
        refuse: Callable[[], None],
        settle: Callable[[list[Queued]], list[Queued]],
        clock: Clock,
    ) -> None:
        """Start with an empty queue.

        Args:
            encoding: the encoder in Python, which counts the lines of both.
            buffer_bytes: encoded bytes that may wait for the disk; the queue is bounded likewise.
            refuse: called for each event that finds the queue full.
            settle: corrects the times of events that are about to be encoded.
            clock: the same for events whose values were copied.
        """
        self._encoding = encoding
        self._buffer_bytes = buffer_bytes
        self._settle = settle
        self._clock = clock
        self.queue = event_queue(MAX_QUEUED_EVENTS, buffer_bytes, refuse)
        self.queue.offset_ns = clock()[0]
        is_native = encoding.is_planned and not isinstance(self.queue, PythonQueue)
        self._plans = Plans(self.queue, encoding) if is_native else None

    def bind(self, recorder: Any, event: type[Event], group_id: str, severity: str | None) -> None:
        """Have ``recorder`` copy the values of ``event`` into the queue from now on, where that can be done."""
        if self._plans is not None and self.queue.is_open:
            self._plans.bind(recorder, event, group_id, severity)

    @contextmanager
    def first(self, cost: int = SLICE_COST) -> Iterator[tuple[bytes, int, int]]:
        """The next lines, the number of events that have one, and that of all; none is lost if the block raises.

        Args:
            cost: most of what the slice may cost, see :data:`SLICE_COST`.
        """
        before = self._encoding.seq
        try:
            self.queue.offset_ns, *step = self._clock()
            taken, count = self.queue.take(before + 1, cost, *step)
            lines, written = self._lines_of(taken, count)
            if written:
                self._bound_queue(len(lines) / written)
            yield lines, written, count
        except BaseException:
            self._encoding.seq = before
            raise
        self.queue.drop(count)

    def _lines_of(self, taken: bytes | list[Queued], count: int) -> tuple[bytes, int]:
        if isinstance(taken, bytes):
            self._encoding.seq += count
            return taken, count
        found = self._encoding.lines_of(self._settle(taken))
        if self._plans is not None:
            self._plans.learn(taken)
        return found

    def _bound_queue(self, line_bytes: float) -> None:
        """Limit the queue like the buffer: live events take about as much memory as their lines."""
        fitting = int(self._buffer_bytes / max(line_bytes, 1.0))
        self.queue.limit = min(max(fitting, MIN_QUEUED_EVENTS), MAX_QUEUED_EVENTS)
