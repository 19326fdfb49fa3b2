"""Time of the phases of a training step on the clock of the device, without ever waiting for it.

A phase is bracketed by two events on the stream in use. They are read later, when the device has passed them, and used
again. On a CPU the same interface reads the host's clock.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
import torch

from esper_otel.sensors.faults import Faults
from esper_otel.sensors.marks import Marks, marks_of, named_device

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_POOL: Final = 512
"""Events of a timer: 256 passes in flight, some 60 steps of four phases that the host may be ahead of the device."""

MAX_UNREAD: Final = 65_536
"""Durations that are kept for a harvest; a loop that never harvests must not fill the memory."""

_NO_PHASE: Final[AbstractContextManager[None]] = nullcontext()


class PhaseSummary(msgspec.Struct, frozen=True):
    """Durations of a phase: how many, their sum, the smallest and the largest, in s."""

    count: int
    sum_s: float
    min_s: float
    max_s: float

    @property
    def mean_s(self) -> float:
        """Mean duration, s."""
        return self.sum_s / self.count


def summarise(durations: dict[str, list[float]]) -> dict[str, PhaseSummary]:
    """Summaries of the result of :meth:`PhaseTimer.harvest`."""
    return {name: PhaseSummary(len(v), sum(v), min(v), max(v)) for name, v in durations.items() if v}


class PhaseTimer:
    """Times phases on one device.

    ``phase`` measures the stream that is current when it is entered; work that it puts on other streams counts as far
    as that stream waits for it. Phases nest, may overlap between streams and threads, and pass exceptions through.
    Inside a region that torch.compile traces, and while a CUDA graph is captured, a phase does nothing (time the
    replay of a graph by a phase around it). Nothing here waits for the device, and nothing raises after construction.

    Attributes:
        unmeasured: passes that were not timed, by reason: ``pool_exhausted``, ``capture``, ``unread``.
        faults: reasons why nothing is measured.
    """

    def __init__(
        self,
        device: torch.device | str,
        *,
        pool_size: int = DEFAULT_POOL,
        marks: Marks | None = None,
        faults: Faults | None = None,
    ) -> None:
        """``pool_size``: events that may be in flight; a device that is not there is a fault, and all is a no-op."""
        self.device = named_device(device)
        self.unmeasured: dict[str, int] = {}
        self.faults = faults or Faults()
        self._is_on = True
        self._marks = marks or self._find_marks()
        self._pool_size = pool_size
        self._created = 0
        self._free: list[Any] = []
        self._pending: dict[Hashable, deque[tuple[str, Any, Any]]] = {}
        self._durations: dict[str, list[float]] = {}
        self._unread = 0
        self._lock = threading.Lock()
        self._collecting = threading.Lock()

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time the block under ``name``."""
        if torch.compiler.is_compiling() or not self._is_on:
            return _NO_PHASE
        if self._marks is None:
            return _HostPhase(self, name)
        return _DevicePhase(self, self._marks, name)

    def timed(self, name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorator: time every call under ``name``."""

        def decorate(function: Callable[P, R]) -> Callable[P, R]:
            @functools.wraps(function)
            def call(*args: P.args, **kwargs: P.kwargs) -> R:
                with self.phase(name):
                    return function(*args, **kwargs)

            return call

        return decorate

    def harvest(self) -> dict[str, list[float]]:
        """Durations in s of the passes completed since the last harvest, by phase. Does not wait for the rest."""
        self._collect()
        with self._lock:
            durations, self._durations, self._unread = self._durations, {}, 0
        return durations

    @property
    def in_flight(self) -> int:
        """Number of passes that the device has not completed, or that were not checked since."""
        return sum(len(queue) for queue in self._pending.values())

    def count_unmeasured(self, reason: str) -> None:
        """Count a pass that was not timed."""
        self.unmeasured[reason] = self.unmeasured.get(reason, 0) + 1

    def take(self) -> Any | None:
        """A free event, or None (counted) if all are in flight."""
        mark = self._pop_free()
        if mark is None:
            self._collect()
            mark = self._pop_free()
        if mark is None:
            self.count_unmeasured("pool_exhausted")
        return mark

    def give(self, mark: Any) -> None:
        """Put back an event that measured nothing."""
        self._free.append(mark)

    def add_pending(self, name: str, stream: Hashable, start: Any, end: Any) -> None:
        """Queue the pass for reading. Marks of one stream pass in their order."""
        self._pending.setdefault(stream, deque()).append((name, start, end))

    def add(self, name: str, seconds: float) -> None:
        """Keep one duration until the next harvest."""
        with self._lock:
            if self._unread >= MAX_UNREAD:
                self.count_unmeasured("unread")
                return
            self._unread += 1
            self._durations.setdefault(name, []).append(seconds)

    def lose(self, error: Exception) -> None:
        """The device is gone, or an event cannot be used: report it and stop measuring."""
        if self._is_on:
            self._is_on = False
            self.faults.note("timing", "device_lost", f"{self.device}: {error}")
        self._pending = {}
        self._free = []

    def _find_marks(self) -> Marks | None:
        try:
            return marks_of(self.device)
        except RuntimeError as error:
            self._is_on = False
            self.faults.note("timing", "no_device", str(error))
            return None

    def _pop_free(self) -> Any | None:
        assert self._marks is not None
        try:
            return self._free.pop()
        except IndexError:
            pass
        if self._created >= self._pool_size:
            return None
        self._created += 1
        return self._marks.new()

    def _collect(self) -> None:
        """Read the passes that completed; one further query for each stream."""
        marks = self._marks
        # An event query while a graph is captured on this thread would break the capture.
        if marks is None or not self._is_on or marks.is_capturing():
            return
        if not self._collecting.acquire(blocking=False):
            return  # another thread is at it
        try:
            for queue in list(self._pending.values()):
                self._collect_stream(marks, queue)
        except RuntimeError as error:
            self.lose(error)
        finally:
            self._collecting.release()

    def _collect_stream(self, marks: Marks, queue: deque[tuple[str, Any, Any]]) -> None:
        while queue and marks.has_passed(queue[0][2]):
            name, start, end = queue.popleft()
            self.add(name, marks.seconds(start, end))
            self._free += (start, end)


class _HostPhase(AbstractContextManager[None]):
    """A pass on the host's clock."""

    __slots__ = ("_name", "_start", "_timer")

    def __init__(self, timer: PhaseTimer, name: str) -> None:
        self._timer = timer
        self._name = name
        self._start = 0.0

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._timer.add(self._name, time.perf_counter() - self._start)


class _DevicePhase(AbstractContextManager[None]):
    """A pass between two events on the stream that is current on entry."""

    __slots__ = ("_marks", "_name", "_start", "_stream", "_timer")

    def __init__(self, timer: PhaseTimer, marks: Marks, name: str) -> None:
        self._timer = timer
        self._marks = marks
        self._name = name
        self._start: Any | None = None
        self._stream: Hashable = None

    def __enter__(self) -> None:
        try:
            if self._marks.is_capturing():
                self._timer.count_unmeasured("capture")
                return
            start = self._timer.take()
            if start is not None:
                self._stream = self._marks.stream()
                self._marks.record(start, self._stream)
                self._start = start
        except RuntimeError as error:
            self._timer.lose(error)

    def __exit__(self, *_: object) -> None:
        start, self._start = self._start, None
        if start is None:
            return
        try:
            if self._marks.is_capturing():
                self._timer.count_unmeasured("capture")
                self._timer.give(start)
                return
            end = self._timer.take()
            if end is None:
                self._timer.give(start)
                return
            self._marks.record(end, self._stream)
            self._timer.add_pending(self._name, self._stream, start, end)
        except RuntimeError as error:
            self._timer.lose(error)
