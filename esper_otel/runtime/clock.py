"""Clock of a run: correct after a suspend or a clock correction, and steady between them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from time import monotonic_ns
from typing import Final

import msgspec

from esper_otel.log.queued import Queued

TOLERANCE_NS: Final = 1_000_000_000
"""Difference from the machine's clock that is ignored: small corrections would put events out of order."""

_READ_WITHIN_NS: Final = 50_000_000
"""Both clocks must be read within this time: a process that is stopped between them would see a step."""


class _Step(msgspec.Struct, frozen=True):
    """A correction of the run's clock by ``shift_ns`` at ``at_ns`` (its time before); ``until_ns`` is monotonic."""

    at_ns: int
    shift_ns: int
    until_ns: int

    def corrected(self, item: Queued) -> Queued:
        """``item`` with a corrected time, if it was taken between the step and its discovery."""
        event, timestamp_ns, group_id, severity, message = item
        if abs(timestamp_ns - self.at_ns) > TOLERANCE_NS:
            return item
        return event, timestamp_ns + self.shift_ns, group_id, severity, message


class RunClock:
    """Monotonic clock plus an offset to Unix time, which follows steps of the machine's clock of more than 1 s.

    The monotonic clock stands still while a machine is suspended, and a machine may start with a wrong time of day.

    Attributes:
        clock_offset_ns: what makes the monotonic clock the run's Unix time, ns.
    """

    def __init__(self, on_step: Callable[[float], None] = lambda _: None) -> None:
        """``on_step`` is called with the seconds of each step, on the thread that found it."""
        self.clock_offset_ns = time.time_ns() - monotonic_ns()
        self._on_step = on_step
        self._step: _Step | None = None
        self._checking = threading.Lock()

    def now_ns(self) -> int:
        """Unix time in ns on the run's clock."""
        self._follow_steps()
        return monotonic_ns() + self.clock_offset_ns

    def settle(self, items: list[Queued]) -> list[Queued]:
        """Return ``items``; after a step, the times taken before its discovery are corrected."""
        self._follow_steps()
        step = self._step
        if step is None:
            return items
        if monotonic_ns() > step.until_ns:
            self._step = None
            return items
        return [step.corrected(item) for item in items]

    def state(self) -> tuple[int, int, int, int]:
        """For times that are not in a list of events: the offset; of the latest step its time, shift and reach, ns."""
        self._follow_steps()
        step = self._step
        if step is None or monotonic_ns() > step.until_ns:
            return self.clock_offset_ns, 0, 0, 0
        return self.clock_offset_ns, step.at_ns, step.shift_ns, TOLERANCE_NS

    def _follow_steps(self) -> None:
        if not self._checking.acquire(blocking=False):
            return  # another thread is at it
        try:
            before_ns = monotonic_ns()
            shift_ns = time.time_ns() - before_ns - self.clock_offset_ns
            after_ns = monotonic_ns()
            if abs(shift_ns) <= TOLERANCE_NS or after_ns - before_ns > _READ_WITHIN_NS:
                return
            self._step = _Step(before_ns + self.clock_offset_ns, shift_ns, after_ns + TOLERANCE_NS)
            self.clock_offset_ns += shift_ns
        finally:
            self._checking.release()
        self._on_step(shift_ns / 1e9)
