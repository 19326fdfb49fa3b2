"""Where the time of an epoch goes: wall and CPU time by phase, on the host clock.

The clock is read, never waited for: on an accelerator these are the times of launching the work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class PhaseTime:
    """Sums of one phase: wall time and CPU time of this thread in s, and how often it ran."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    count: int = 0


@dataclass
class PhaseClock:
    """Adds up phases until they are taken."""

    times: dict[str, PhaseTime] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block under ``name``; also when it raises."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            spent = self.times.setdefault(name, PhaseTime())
            spent.wall_s += time.perf_counter() - wall
            spent.cpu_s += time.thread_time() - cpu
            spent.count += 1

    def take(self) -> dict[str, PhaseTime]:
        """What was added since the last call."""
        taken, self.times = self.times, {}
        return taken


def add_phases(into: dict[str, PhaseTime], more: dict[str, PhaseTime]) -> None:
    """Add the times of ``more`` to ``into``."""
    for name, spent in more.items():
        total = into.setdefault(name, PhaseTime())
        total.wall_s += spent.wall_s
        total.cpu_s += spent.cpu_s
        total.count += spent.count
