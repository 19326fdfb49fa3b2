"""The hooks in torch that make events of a training that knows nothing of them."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import esper_otel
from esper_otel.automatic.checkpoints import Checkpoints
from esper_otel.automatic.imports import when_imported
from esper_otel.automatic.loaders import Loaders
from esper_otel.automatic.naming import Naming
from esper_otel.automatic.passes import Passes
from esper_otel.automatic.phases import BACKWARD, BEFORE_BACKWARD, OPTIMIZER_STEP, Phases
from esper_otel.automatic.threads import TrainingThread
from esper_otel.events import Event, Throughput
from esper_otel.log.posix import in_forked_children
from esper_otel.runtime.endings import before_end
from esper_otel.sensors.amp import ScalerSensor
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.marks import named_device
from esper_otel.sensors.reporter import Reporter
from esper_otel.sensors.updating.funnel import FUNNEL, Watcher
from esper_otel.sensors.updating.patches import Patches
from esper_otel.sensors.updating.sensor import AT_THE_END_S, UpdateSensor
from esper_otel.sensors.updating.stepping import closure_of

MOST_SCALERS: Final = 8


class Recorder(Watcher):
    """Records the training of the process from its first update on."""

    def __init__(self, open_run: Callable[[], bool]) -> None:
        """``open_run`` opens a run unless there is one, and returns whether events are recorded."""
        self.faults = Faults()
        self._open_run = open_run
        self._is_on = True
        self._is_recording = False
        self._process = os.getpid()
        self._naming = Naming(self.faults)
        self._updates = UpdateSensor(self._naming.names, faults=self.faults, gradients=self._naming.measure)
        self._checkpoints = Checkpoints()
        self._passes = Passes(lambda: self._steps, self._evaluates)
        self._loaders = Loaders(self._data_wait_began, self._data_wait_ended, self._passes)
        self._patches = Patches()
        self._thread = TrainingThread()
        self._reporter: Reporter | None = None
        self._phases: Phases | None = None
        self._take_back: Callable[[], None] = lambda: None
        self._scalers: dict[int, ScalerSensor] = {}
        self._steps = self._reported_steps = 0
        self._reported_s = time.monotonic()
        self._hooks: list[Any] = []
        self._closures: set[int] = set()  # of ids: not every optimizer can be hashed

    def start(self) -> None:
        """Install the hooks."""
        self._updates.start()
        FUNNEL.add(self)
        self._hooks = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        self._checkpoints.patch(self._patches, self._tick)
        self._thread.start()
        when_imported("torch.utils.data.dataloader", functools.partial(self._loaders.patch, self._patches))
        self._take_back = before_end(self._hand_over)
        in_forked_children(self._in_child)

    def stop(self) -> None:
        """Report what is left and take the hooks out."""
        self._hand_over()
        self._is_on = False
        self._take_back()
        self._updates.stop()
        FUNNEL.remove(self)
        hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook.remove()
        self._patches.undo()
        self._thread.stop()

    # The funnel

    def before_backward(self, loss: torch.Tensor | None) -> None:
        """A backward pass begins: what came before it, since the last update or batch, is over."""
        if not self._is_on:
            return
        if self._phases is None and loss is not None:
            self._begin(loss.device)
        if self._phases is not None:
            self._phases.enter(BACKWARD)

    def after_backward(self) -> None:
        """It ended; what follows until the step is clipping and the like, or the step of a closure."""
        if self._phases is not None and self._is_on:
            self._phases.enter(OPTIMIZER_STEP if len(self._closures) else None)

    def scale_updated(self, scaler: torch.amp.GradScaler) -> None:
        """Read the scale."""
        if id(scaler) not in self._scalers:
            if len(self._scalers) >= MOST_SCALERS:
                return
            self._scalers[id(scaler)] = ScalerSensor(scaler, faults=self.faults)
        self._scalers[id(scaler)].observe(self._steps)

    # The optimizers

    def _before_step(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling() or not self._is_on or self._phases is None:
            return
        try:
            if closure_of(args, kwargs):
                self._closures.add(id(optimizer))
                self._phases.enter(BEFORE_BACKWARD)
            else:
                self._phases.enter(OPTIMIZER_STEP)
        except Exception as error:
            self._lose(error)

    def _after_step(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if torch.compiler.is_compiling() or not self._is_on:
            return
        try:
            self._closures.discard(id(optimizer))
            if self._phases is not None:
                self._phases.enter(BEFORE_BACKWARD)
            self._steps += 1
            self._passes.updated()
            self._thread.updated()
            self._naming.step = self._steps + 1
            if not self._is_recording:
                self._open()
            self._tick()
        except Exception as error:
            self._lose(error)

    # Reports

    def _begin(self, device: torch.device) -> None:
        self._reporter = Reporter(named_device(device), emit=esper_otel.emit, faults=self.faults)
        self._phases = Phases(self._reporter.timer)

    def _open(self) -> None:
        """The first update: this process trains."""
        self._is_recording = True
        if not self._open_run():
            self._is_on = False
            return
        self._reported_s = time.monotonic()

    def _tick(self) -> None:
        if not (self._is_recording and self._is_on):
            return
        _emit(self._updates.take_new())
        _emit(self._passes.take())
        if self._reporter is None or self._reporter.is_due():
            self._report()

    def _hand_over(self) -> None:
        if self._is_recording and self._is_on and os.getpid() == self._process:
            self._thread.tell()
            self._report(AT_THE_END_S, is_last=True)

    def _report(self, wait_s: float = 0.0, *, is_last: bool = False) -> None:
        if self._reporter is None:
            self._begin(torch.device("cpu"))
        assert self._reporter is not None
        _emit(self._updates.take(wait_s))
        _emit(self._passes.take(is_last=is_last))
        _emit(self._checkpoints.take())
        self._reporter.report(self._steps, self._events())

    def _events(self) -> Iterable[Event | None]:
        now = time.monotonic()
        seconds, steps = now - self._reported_s, self._steps - self._reported_steps
        self._reported_s, self._reported_steps = now, self._steps
        waited_s = self._phases.take_waited_s() if self._phases is not None else 0.0
        samples = self._loaders.take_samples()
        yield from self._naming.take()
        yield from (sensor.take() for sensor in self._scalers.values())
        if steps:
            yield Throughput(
                samples=samples,
                step_time_ms=1e3 * seconds / steps,
                dataloader_wait_ms=1e3 * waited_s / steps if samples is not None else None,
            )

    # The data loaders

    def _evaluates(self) -> bool:
        return not torch.is_grad_enabled() or self._naming.is_evaluated()

    def _data_wait_began(self) -> float | None:
        if not self._is_on or self._phases is None:
            return None
        return self._phases.wait_began()

    def _data_wait_ended(self, began: float | None) -> None:
        if began is not None and self._is_on and self._phases is not None:
            self._phases.wait_ended(began)
            self._tick()

    def _lose(self, error: Exception) -> None:
        self._is_on = False
        self.faults.note("autolog", "unreadable", f"{type(error).__name__}: {error}. Nothing more is recorded")

    def _in_child(self) -> None:
        """In a forked child: a run that was opened is its parent's; otherwise the child may train by itself."""
        if self._is_recording:
            self._is_on = False
            self._updates.stop()
        else:
            self._process = os.getpid()
            self._take_back = before_end(self._hand_over)


def _emit(events: Iterable[tuple[Event, int]]) -> None:
    for event, time_ns in events:
        esper_otel.emit(event, timestamp_ns=time_ns)
