"""All sensors over one training loop, for any PyTorch trainer: a handful of lines in the loop."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ParamSpec, Self, TypeVar

import torch

from esper_otel.runtime.endings import before_end
from esper_otel.sensors.amp import ScalerSensor
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.layers import LayerGradients
from esper_otel.sensors.marks import named_device
from esper_otel.sensors.names import NAMES, ids_of, optimizer_of
from esper_otel.sensors.reporter import Reporter
from esper_otel.sensors.updating.sensor import AT_THE_END_S, UpdateSensor
from esper_otel.sensors.updating.unread import Names

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

    Nothing here waits for the device or raises into the loop. Each update is measured: its gradient norm where the loop
    clips, before and after, and where the optimizer steps; with gradient accumulation once per update, with a scaler
    without its scale. Any optimizer of the model's parameters counts, also one that is made later.

    Attributes:
        timer: the phase timer.
        steps: steps so far.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        optimizer: Any = None,
        *,
        emit: Callable[..., None],
        scaler: torch.amp.GradScaler | None = None,
        device: torch.device | str | None = None,
        every: int = 50,
        name: str | None = None,
    ) -> None:
        """Start to measure.

        Args:
            model: the model, wrapped or not.
            optimizer: its optimizer, wrapped or not; others of its parameters count as well.
            emit: takes the events, ``esper_otel.emit``.
            scaler: the gradient scaler.
            device: where phases and memory are measured; default that of the first parameter.
            every: steps between two reports, 1 or more; after 2 s there is one in any case.
            name: name of the model in metrics; default that of its class.
        """
        if every < 1:
            raise ValueError(f"every={every}: the number of steps between two reports must be 1 or more")
        first = next(model.parameters(), None)
        self.device = named_device(device if device is not None else first.device if first is not None else "cpu")
        self.steps = 0
        self._model = weakref.ref(model)  # a monitor that nobody closes must not keep the model in memory
        self._name = NAMES.name(model, name)
        inner = optimizer_of(optimizer)
        self._optimizer = weakref.ref(inner) if inner is not None else None
        self._emit = emit
        self._every = every
        self._faults = Faults()
        self._reporter = Reporter(self.device, emit=emit, faults=self._faults)
        self.timer = self._reporter.timer
        self._scaler = ScalerSensor(scaler, faults=self._faults) if scaler is not None else None
        self._layers = LayerGradients(
            self._named_parameters,
            model=self._name,
            faults=self._faults,
            device=self.device if device is not None else None,
        )
        self._updates = UpdateSensor(
            self._names_of, faults=self._faults, gradients=self._measure_layers, updated=self._emit_updates
        )
        self._updates.start()
        if optimizer is not None and self._optimizer is None:
            self._faults.note(
                "updates",
                "unsupported",
                f"{type(optimizer).__name__} is no torch.optim.Optimizer; others of the model's parameters are watched",
            )
        self._take_back = before_end(self._at_end_of_run)

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time a block; the names ``data_transfer``, ``forward``, ``backward``, ``optimizer_step`` are averaged too."""
        return self.timer.phase(name)

    def timed(self, name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorator: time every call."""
        return self.timer.timed(name)

    def step(self) -> None:
        """Call at the end of each training step; it emits the measurements every ``every`` steps, and after 2 s."""
        self.steps += 1
        if self._scaler is not None:
            self._scaler.observe(self.steps)
        if self.steps % self._every == 0 or self._reporter.is_due():
            self.report()

    def report(self) -> None:
        """Emit the measurements known so far. Work that the device has not reached comes with a later report."""
        self._report(0.0)

    def close(self) -> None:
        """Emit the measurements and stop; waits for numbers of the last updates, half a second at most."""
        self._take_back()
        self._updates.stop()
        self._hand_over()

    def _emit_updates(self) -> None:
        self._reporter.emit_updates(self._updates.take_new())

    def _hand_over(self) -> None:
        self._report(AT_THE_END_S)

    def _at_end_of_run(self) -> None:
        """Hand over what is new. Without a step since the last report this is the end of a run of another loop."""
        if self._reporter.has_new_steps(self.steps):
            self._hand_over()
        else:
            self._reporter.emit_updates(self._updates.take(AT_THE_END_S))

    def _report(self, wait_s: float) -> None:
        self._reporter.emit_updates(self._updates.take(wait_s))
        scaling = self._scaler.take() if self._scaler is not None else None
        self._reporter.report(self.steps, [scaling, *self._layers.take()])
        self._layers.ask()

    def _measure_layers(self, parameters: Sequence[torch.Tensor], scale: torch.Tensor | None) -> None:
        self._layers.measure(parameters, self.steps + 1, scale)

    def _named_parameters(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        model = self._model()
        return model.named_parameters() if model is not None else ()

    def _names_of(self, optimizer: torch.optim.Optimizer) -> Names | None:
        """Names of an optimizer of the model; None for somebody else's."""
        is_given = self._optimizer is not None and self._optimizer() is optimizer
        if not is_given and ids_of(optimizer).isdisjoint(id(p) for _, p in self._named_parameters()):
            return None
        return Names(self._name, type(optimizer).__name__)

    def __copy__(self) -> Self:
        """Return the monitor itself: a copied loop is still one loop."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return the monitor itself: a copied loop is still one loop."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Unpickle as a monitor that measures nothing: sensors belong to one process."""
        return _unattached, (self._every,)

    def __enter__(self) -> Self:
        """The monitor itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _unattached(every: int) -> TrainingMonitor:
    monitor = TrainingMonitor(torch.nn.Module(), emit=lambda _: None, device="cpu", every=every)
    monitor.close()
    return monitor
