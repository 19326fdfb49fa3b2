"""Reports of a training process: the updates, the phases, and the state of the device and of the process."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from typing import Final

import torch

from esper_otel.events import CompilerStats, Event, PhaseDurations, TrainingUpdate
from esper_otel.sensors.allocator import AllocatorSensor
from esper_otel.sensors.compiler import CompilerSensor
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.snapshot import snapshot
from esper_otel.sensors.timing import PhaseTimer, summarise
from esper_otel.sensors.utilization import UtilizationProbe

REPORT_EVERY_S: Final = 2.0
"""Longest time between two reports of a loop that runs."""


class Reporter:
    """Emits what the sensors of one device found.

    Attributes:
        timer: the phase timer.
    """

    def __init__(self, device: torch.device, *, emit: Callable[..., None], faults: Faults) -> None:
        """``emit`` takes an event, and its time if it knows ``timestamp_ns``."""
        self.timer = PhaseTimer(device, faults=faults)
        self._device = device
        self._emit = emit
        self._is_dated = _takes_time(emit)
        self._faults = faults
        self._allocator = AllocatorSensor(device, faults=faults)
        self._compiler = CompilerSensor(faults=faults)
        self._utilization = UtilizationProbe(device, faults=faults)
        self._last_stats: CompilerStats | None = None
        self._unmeasured = 0
        self._reported_at = 0
        self._due_s = time.monotonic() + REPORT_EVERY_S

    def is_due(self) -> bool:
        """Return True if the last report is longer ago than :data:`REPORT_EVERY_S`."""
        return time.monotonic() >= self._due_s

    def has_new_steps(self, step: int) -> bool:
        """Return True if ``step`` is behind the last report."""
        return step > self._reported_at

    def emit_updates(self, updates: Iterable[tuple[TrainingUpdate, int]]) -> None:
        """Emit updates, each with its own time."""
        for event, time_ns in updates:
            if self._is_dated:
                self._emit(event, timestamp_ns=time_ns)
            else:
                self._emit(event)

    def report(self, step: int, events: Iterable[Event | None] = ()) -> None:
        """Emit the measurements since the last report, with further ``events``.

        ``step``: number of the last training step, from 1.
        """
        self._due_s = time.monotonic() + REPORT_EVERY_S
        phases = self._report_phases(step)
        allocator = self._allocator.take(step)
        compiler = self._report_compiler()
        found: list[Event | None] = [allocator, *events]
        window = step - self._reported_at
        if window:  # else the last snapshot still says it better
            found.append(
                snapshot(
                    str(self._device),
                    batch=step,
                    window=window,
                    phases=summarise(phases),
                    allocator=allocator,
                    compiler=compiler,
                    utilization=self._utilization.latest,
                )
            )
        for event in (*found, *self._faults.drain()):
            if event is not None:
                self._emit(event)
        self._reported_at = step
        self._utilization.request()

    def _report_phases(self, step: int) -> dict[str, list[float]]:
        durations = self.timer.harvest()
        unmeasured = sum(self.timer.unmeasured.values())
        if durations or unmeasured != self._unmeasured:
            self._emit(
                PhaseDurations(
                    device=str(self._device),
                    step=step,
                    durations_s={name: tuple(values) for name, values in durations.items()},
                    unmeasured=unmeasured - self._unmeasured,
                )
            )
        self._unmeasured = unmeasured
        return durations

    def _report_compiler(self) -> CompilerStats | None:
        reading = self._compiler.take()
        if reading is None:
            return None
        for news in reading.news:
            self._emit(news)
        if reading.stats != self._last_stats:
            self._emit(reading.stats)
            self._last_stats = reading.stats
        return reading.stats


def _takes_time(emit: Callable[..., None]) -> bool:
    try:
        return "timestamp_ns" in inspect.signature(emit).parameters
    except (TypeError, ValueError):  # a built-in function
        return False
