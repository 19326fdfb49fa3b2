"""Gradients by layer, once a report, before they are clipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch

from esper_otel.events import GradientStats
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.gradients import GradientSensor

Named = Callable[[], Iterable[tuple[str, torch.nn.Parameter]]]


class LayerGradients:
    """Measures the first gradients after each report: where they are clipped, else where the optimizer steps.

    One sensor for each device. It follows parameters that are added or replaced.
    """

    def __init__(self, named: Named, *, model: str, faults: Faults, device: torch.device | None = None) -> None:
        """``named`` gives the parameters as they are now; ``device``: to measure on that one alone."""
        self._named = named
        self._model = model
        self._faults = faults
        self._device = device
        self._known: tuple[int, ...] = ()
        self._sensors: list[GradientSensor] = []
        self._is_due = True
        self._is_on = True

    def ask(self) -> None:
        """Measure the next gradients."""
        self._is_due = True

    def measure(self, parameters: Sequence[torch.Tensor], step: int, scale: torch.Tensor | None = None) -> None:
        """Measure the gradients of the model if they are due and ``parameters`` are its own. Never raises."""
        if not (self._is_due and self._is_on and parameters):
            return
        try:
            if self._renew(parameters):
                self._is_due = False
                for sensor in self._sensors:
                    sensor.measure(step, scale=scale)
        except Exception as error:  # a model of somebody else's
            self._is_on = False
            self._faults.note("gradients", "unreadable", f"{self._model}: {type(error).__name__}: {error}")

    def take(self) -> list[GradientStats]:
        """The measurements that arrived since the last call."""
        return [stats for sensor in self._sensors for stats in sensor.take()]

    def _renew(self, parameters: Sequence[torch.Tensor]) -> bool:
        """Make sensors for the parameters as they are now; returns False if none of ``parameters`` is among them."""
        named = list(self._named())
        ids = tuple(id(p) for _, p in named)
        if frozenset(ids).isdisjoint(map(id, parameters)):
            return False
        if ids != self._known:
            self._known = ids
            self._sensors = [
                GradientSensor(named, device=device, faults=self._faults, model=self._model)
                for device in dict.fromkeys([self._device] if self._device else [p.device for _, p in named])
            ]
        return True
