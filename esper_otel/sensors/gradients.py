"""Gradient health of a model by layer: fused norms on the device, read when they have arrived."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec
import torch

from esper_otel.events import GradientStats
from esper_otel.sensors.deferred import DeferredReader
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.marks import Marks, marks_of, named_device

DEAD_ZERO_FRACTION: Final = 0.9
"""Share of zero entries above which a layer counts as dead; the plan's limit."""

SLOTS: Final = 4


class _Measured(msgspec.Struct, frozen=True):
    """What a copy holds: the step, and layer and number of entries of each parameter with a gradient."""

    step: int | None
    layers: tuple[tuple[str, int], ...]


class GradientSensor:
    """Measures the gradients of the parameters on one device.

    A layer is a module with parameters of its own: ``fc1`` for ``fc1.weight`` and ``fc1.bias``. Sparse gradients are
    left out. ``measure`` starts two fused reductions and one copy of a few bytes; ``take`` gives the results when the
    device got there. Neither waits, neither raises.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
        *,
        device: torch.device | str | None = None,
        marks: Marks | None = None,
        faults: Faults | None = None,
    ) -> None:
        """``device`` defaults to that of the first parameter."""
        parameters = list(named_parameters)
        first = parameters[0][1].device if parameters else torch.device("cpu")
        self.device = named_device(device) if device is not None else first
        self.faults = faults or Faults()
        self._parameters = [(_layer(name), p) for name, p in parameters if p.device == self.device]
        self._reader: DeferredReader[_Measured] | None = None
        try:
            marks = marks or marks_of(self.device)
            self._reader = DeferredReader(self.device, max(2 * len(self._parameters), 1), slots=SLOTS, marks=marks)
        except RuntimeError as error:
            self.faults.note("gradients", "no_device", str(error))

    @property
    def dropped(self) -> int:
        """Measurements left out because the device was too far behind."""
        return self._reader.dropped if self._reader else 0

    @torch.no_grad()
    def measure(self, step: int | None = None, *, scale: torch.Tensor | None = None) -> None:
        """Start to measure the gradients that are there now.

        Args:
            step: step that they belong to.
            scale: loss scale that they still carry, a tensor on the device; norms are divided by it.
        """
        if self._reader is None or torch.compiler.is_compiling():
            return
        found = [
            (layer, p.grad) for layer, p in self._parameters if p.grad is not None and p.grad.layout == torch.strided
        ]
        if not found or _is_capturing(self.device):
            return
        gradients = [gradient for _, gradient in found]
        try:
            # Norms in float32: in half precision the norm of a healthy layer overflows.
            norms = torch.stack(torch._foreach_norm(gradients, 2, dtype=torch.float32))
            nonzero = torch.stack(torch._foreach_norm(gradients, 0, dtype=torch.float32))
            if scale is not None:
                norms = norms / scale.to(norms.device, non_blocking=True)
            layers = tuple((layer, gradient.numel()) for layer, gradient in found)
            self._reader.put(_Measured(step, layers), torch.cat([norms, nonzero]))
        except RuntimeError as error:
            self._lose(error)

    def take(self) -> list[GradientStats]:
        """The measurements that arrived since the last call, oldest first."""
        if self._reader is None:
            return []
        try:
            return [stats_of(str(self.device), m.step, m.layers, values) for m, values in self._reader.take()]
        except RuntimeError as error:
            self._lose(error)
            return []

    def _lose(self, error: RuntimeError) -> None:
        self._reader = None
        self.faults.note("gradients", "device_lost", f"{self.device}: {error}")


def stats_of(device: str, step: int | None, layers: tuple[tuple[str, int], ...], values: list[float]) -> GradientStats:
    """The event of one measurement.

    Args:
        device: where the gradients are.
        step: step that they belong to.
        layers: layer and number of entries of each parameter.
        values: L2 norm of each parameter's gradient, then its number of entries other than zero.
    """
    squares: dict[str, float] = {}
    zeros: dict[str, float] = {}
    entries: dict[str, int] = {}
    for index, (layer, count) in enumerate(layers):
        squares[layer] = squares.get(layer, 0.0) + values[index] ** 2
        zeros[layer] = zeros.get(layer, 0.0) + max(count - values[len(layers) + index], 0.0)
        entries[layer] = entries.get(layer, 0) + count
    norms = {layer: math.sqrt(square) for layer, square in squares.items()}
    zero_fractions = {layer: zeros[layer] / entries[layer] for layer in norms if entries[layer]}
    nonfinite = tuple(layer for layer, norm in norms.items() if not math.isfinite(norm))
    return GradientStats(
        device=device,
        step=step,
        norm=math.sqrt(sum(squares.values())),
        norm_per_layer=norms,
        norm_spread=_spread(norms),
        zero_fraction=sum(zeros.values()) / max(sum(entries.values()), 1),
        zero_fraction_per_layer=zero_fractions,
        nonfinite_layers=nonfinite,
        nonfinite_layer_count=len(nonfinite),
        dead_layer_count=sum(fraction > DEAD_ZERO_FRACTION for fraction in zero_fractions.values()),
    )


def _spread(norms: dict[str, float]) -> float | None:
    positive = [norm for norm in norms.values() if norm > 0 and math.isfinite(norm)]
    return max(positive) / min(positive) if positive else None


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0] or parameter


def _is_capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
