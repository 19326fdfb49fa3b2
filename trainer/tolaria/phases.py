"""Time of an epoch by phase on the device's clock, and the CPU time of its dispatch.

On an accelerator a phase is timed by events on the stream, read when the device has passed them; nothing waits. On the
CPU it is the host's clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from esper_otel.sensors import PhaseTimer, summarise


@dataclass
class PhaseTime:
    """Sums of one phase: time on the device and CPU time of this thread in s, and how often it was timed."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    count: int = 0


class PhaseClock:
    """Sums up phases until they are taken."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """``device``: device of the timed work."""
        self._timer = PhaseTimer(device)
        self._cpu_s: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the block under ``name``, even if it raises."""
        cpu = time.thread_time()
        try:
            with self._timer.phase(name):
                yield
        finally:
            self._cpu_s[name] = self._cpu_s.get(name, 0.0) + time.thread_time() - cpu

    def take(self) -> dict[str, PhaseTime]:
        """Phases completed since the last call; the rest comes with a later one."""
        return {
            name: PhaseTime(wall_s=summary.sum_s, cpu_s=self._cpu_s.pop(name, 0.0), count=summary.count)
            for name, summary in summarise(self._timer.harvest()).items()
        }


def add_phases(into: dict[str, PhaseTime], more: dict[str, PhaseTime]) -> None:
    """Add the times of ``more`` to ``into``."""
    for name, spent in more.items():
        total = into.setdefault(name, PhaseTime())
        total.wall_s += spent.wall_s
        total.cpu_s += spent.cpu_s
        total.count += spent.count
