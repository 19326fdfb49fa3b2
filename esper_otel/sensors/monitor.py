"""All sensors over one training loop, for any PyTorch trainer: a handful of lines in the loop, nothing else to wire."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, Self, TypeVar

import torch

from esper_otel.events import CompilerStats, Event, PhaseDurations
from esper_otel.sensors.allocator import AllocatorSensor
from esper_otel.sensors.amp import ScalerSensor
from esper_otel.sensors.compiler import CompilerSensor
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.gradients import GradientSensor
from esper_otel.sensors.marks import named_device
from esper_otel.sensors.snapshot import snapshot
from esper_otel.sensors.timing import PhaseTimer, summarise
from esper_otel.sensors.utilization import UtilizationProbe

P = ParamSpec("P")
R = TypeVar("R")


class TrainingMonitor:
    """Phase times, gradients, allocator, compiler and loss scaling of one model's training.

    Example::

        esper_otel.configure()
        monitor = TrainingMonitor(model, optimizer, emit=esper_otel.emit)
        for x, y in loader:
            with monitor.phase("forward"):
                loss = criterion(model(x), y)
            with monitor.phase("backward"):
                loss.backward()
            with monitor.phase("optimizer_step"):
                optimizer.step()
            optimizer.zero_grad()
            monitor.step()
        monitor.close()
        esper_otel.shutdown()

    Nothing here waits for the device or raises into the loop. Gradients are measured by a hook before
    ``optimizer.step()``, with gradient accumulation therefore once per update, with a scaler after its unscaling.

    Attributes:
        timer: the phase timer.
        steps: steps so far.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        emit: Callable[[Event], None],
        scaler: torch.amp.GradScaler | None = None,
        device: torch.device | str | None = None,
        every: int = 50,
    ) -> None:
        """``emit`` takes the events (``esper_otel.emit``); ``every``: steps between reports, 1 or more."""
        if every < 1:
            raise ValueError(f"every={every}: the number of steps between two reports must be 1 or more")
        first = next(model.parameters(), None)
        self.device = named_device(device if device is not None else first.device if first is not None else "cpu")
        self.steps = 0
        self._emit = emit
        self._every = every
        self._reported_at = 0
        self._faults = Faults()
        self.timer = PhaseTimer(self.device, faults=self._faults)
        self._gradients = GradientSensor(model.named_parameters(), device=self.device, faults=self._faults)
        self._allocator = AllocatorSensor(self.device, faults=self._faults)
        self._compiler = CompilerSensor(faults=self._faults)
        self._utilization = UtilizationProbe(self.device, faults=self._faults)
        self._scaler = ScalerSensor(scaler, faults=self._faults) if scaler is not None else None
        self._unmeasured = 0
        self._is_gradient_due = True
        self._last_stats: CompilerStats | None = None
        self._hook = optimizer.register_step_pre_hook(self._before_update) if optimizer is not None else None

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time a block; the names ``data_transfer``, ``forward``, ``backward``, ``optimizer_step`` are averaged too."""
        return self.timer.phase(name)

    def timed(self, name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorator: time every call."""
        return self.timer.timed(name)

    def step(self) -> None:
        """Call at the end of each training step; every so many steps, what was measured is emitted."""
        self.steps += 1
        if self._scaler is not None:
            self._scaler.observe(self.steps)
        if self.steps % self._every == 0:
            self.report()

    def report(self) -> None:
        """Emit what is known by now. What the device has not reached comes with a later report."""
        phases = self._report_phases()
        allocator = self._allocator.take(self.steps)
        scaling = self._scaler.take() if self._scaler is not None else None
        compiler = self._report_compiler()
        events: list[Event | None] = [allocator, scaling, *self._gradients.take()]
        window = self.steps - self._reported_at
        if window:  # else the last snapshot still says it better
            events.append(
                snapshot(
                    str(self.device),
                    batch=self.steps,
                    window=window,
                    phases=summarise(phases),
                    allocator=allocator,
                    compiler=compiler,
                    utilization=self._utilization.latest,
                )
            )
        for event in (*events, *self._faults.drain()):
            if event is not None:
                self._emit(event)
        self._reported_at = self.steps
        self._is_gradient_due = True
        self._utilization.request()

    def close(self) -> None:
        """Emit what is known and let go of the optimizer. Does not wait: passes still in flight are not told of."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self.report()

    def __enter__(self) -> Self:
        """The monitor itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _report_phases(self) -> dict[str, list[float]]:
        durations = self.timer.harvest()
        unmeasured = sum(self.timer.unmeasured.values())
        if durations or unmeasured != self._unmeasured:
            self._emit(
                PhaseDurations(
                    device=str(self.device),
                    step=self.steps,
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

    def _before_update(self, optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        """Measure the first update after each report, so that the numbers have arrived by the next."""
        if self._is_gradient_due:
            self._is_gradient_due = False
            # A fused optimizer under a scaler divides by this itself, after the hook.
            scale = getattr(optimizer, "grad_scale", None)
            self._gradients.measure(self.steps + 1, scale=scale if isinstance(scale, torch.Tensor) else None)
