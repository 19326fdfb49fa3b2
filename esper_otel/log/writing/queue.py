"""The queue of events that are recorded and not encoded yet: in Python, and in C where that part was built."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sized
from typing import Any, Final, Protocol

from esper_otel.log.queued import Queued
from esper_otel.native import core

SLICE_EVENTS: Final = 64
SLICE_COST: Final = 1024
"""Most of what one slice costs: 1 for an event whose values were copied, 4 for one of which they are, 16 for any other.

Each slice has the encoder wait for the interpreter's lock twice, and training for the encoder.
"""

_EVENT_COST: Final = SLICE_COST // SLICE_EVENTS
_MOST_BYTES: Final = 1024**3
_LEAST_BYTES: Final = 4 * 1024**2

Taken = tuple[bytes | list[Queued], int]
"""Encoded lines, or events that the encoder in Python encodes, and their number."""


class EventQueue(Sized, Protocol):
    """Events in the order in which they came. ``put`` is for any thread, ``take`` and ``drop`` for the encoder's.

    Attributes:
        limit: most events that may wait.
        offset_ns: what makes the monotonic clock the run's Unix time, for events whose values are copied.
        is_open: whether recorders may copy values into it; events may be put all the same.
        refuse: called for each event that does not fit.
        is_idle: whether the encoder sleeps; the next event sets it to False and wakes it.
        wake: called for that.
    """

    limit: int
    offset_ns: int
    is_open: bool
    is_idle: bool
    refuse: Callable[[], None]
    wake: Callable[[], None]

    def put(self, item: Queued, /) -> None:
        """Append an event, or refuse it where the queue is full. Never blocks, never raises."""

    def take(self, first_seq: int, cost: int, step_ns: int, shift_ns: int, within_ns: int, /) -> Taken:
        """The first events, as lines numbered from ``first_seq`` or as they are; they stay until they are dropped.

        In lines, times within ``within_ns`` of ``step_ns`` are shifted by ``shift_ns``.
        """

    def drop(self, count: int, /) -> None:
        """Drop the first ``count`` events."""


class PythonQueue:
    """The queue in Python: it copies nothing, every event is encoded in Python."""

    def __init__(self, limit: int, refuse: Callable[[], None]) -> None:
        """``refuse`` is called for each event that finds ``limit`` others."""
        self.limit = limit
        self.offset_ns = 0
        self.is_open = False
        self.is_idle = False
        self.refuse = refuse
        self.wake: Callable[[], None] = _nothing
        self._items: deque[Queued] = deque()

    def __len__(self) -> int:
        """Number of events that wait."""
        return len(self._items)

    def put(self, item: Queued) -> None:
        """Append an event. Takes about 0.1 µs."""
        if len(self._items) < self.limit:
            self._items.append(item)
            if self.is_idle:
                self.is_idle = False
                self.wake()
        else:
            self.refuse()

    def take(self, first_seq: int, cost: int, step_ns: int, shift_ns: int, within_ns: int) -> Taken:
        """The first events, as they are."""
        count = min(len(self._items), cost // _EVENT_COST)
        return [self._items[place] for place in range(count)], count

    def drop(self, count: int) -> None:
        """Drop the first ``count`` events."""
        for _ in range(count):
            self._items.popleft()


def event_queue(limit: int, buffer_bytes: int, refuse: Callable[[], None]) -> EventQueue:
    """The queue in C, or the one in Python where there is none.

    Args:
        limit: most events that may wait.
        buffer_bytes: most bytes that copied values may take, within 4 MiB and 1 GiB.
        refuse: called for each event that does not fit.
    """
    module = core()
    if module is None:
        return PythonQueue(limit, refuse)
    queue: Any = module.Queue()
    queue.limit, queue.bytes, queue.refuse = limit, min(max(buffer_bytes, _LEAST_BYTES), _MOST_BYTES), refuse
    queue.plans, queue.is_open, queue.wake = {}, True, _nothing
    found: EventQueue = queue
    return found


def let_go(queue: EventQueue) -> None:
    """End the references of a queue to its writer, which refers to it: no collector sees those of the part in C."""
    queue.is_idle = False
    queue.refuse = queue.wake = _nothing


def _nothing() -> None:
    """Do nothing: the run has not begun, or has ended."""
