"""Gradient health of a model by layer: fused norms on the device, read once they have arrived."""

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

CHUNK: Final = 2**20
"""Entries of a CPU gradient summed at a time, since that copies them in double precision."""

WITHOUT_FLOAT64: Final = frozenset({"mps"})

_SINGLE: Final = frozenset({torch.float16, torch.bfloat16, torch.float32})


MOST_NAMES: Final = 16
"""Layers without a gradient that an event names; a large model whose body is frozen has hundreds."""


class _Measured(msgspec.Struct, frozen=True):
    """Contents of a copy: the step, layer and number of entries of each gradient, and the layers without one."""

    step: int | None
    layers: tuple[tuple[str, int], ...]
    missing: tuple[str, ...]


_Reduced = tuple[tuple[tuple[str, int], ...], torch.Tensor, torch.Tensor]


class GradientSensor:
    """Measures the gradients of the parameters on one device.

    A layer is a module with parameters of its own: ``fc1`` for ``fc1.weight`` and ``fc1.bias``. Of a DTensor the part
    that this rank holds is measured. Sparse gradients, and kinds that cannot be measured, are left out and named.
    ``measure`` starts two fused reductions and one copy of a few bytes; ``take`` gives the results when the device got
    there. Neither waits, neither raises.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, torch.nn.Parameter]],
        *,
        device: torch.device | str | None = None,
        marks: Marks | None = None,
        faults: Faults | None = None,
        model: str | None = None,
    ) -> None:
        """``device`` defaults to that of the first parameter; ``model``: its name in the events."""
        parameters = list(named_parameters)
        first = parameters[0][1].device if parameters else torch.device("cpu")
        self.device = named_device(device) if device is not None else first
        self.faults = faults or Faults()
        self._model = model
        self._parameters = [(name, p) for name, p in parameters if p.device == self.device]
        self._left_out: set[str] = set()
        self._dtype = torch.float32 if self.device.type in WITHOUT_FLOAT64 else torch.float64
        self._reader: DeferredReader[_Measured] | None = None
        try:
            marks = marks or marks_of(self.device)
            size = max(2 * len(self._parameters), 1)
            self._reader = DeferredReader(self.device, size, slots=SLOTS, marks=marks, dtype=self._dtype)
        except RuntimeError as error:
            self.faults.note("gradients", "no_device", str(error))

    @property
    def dropped(self) -> int:
        """Measurements dropped because the device was too far behind."""
        return self._reader.dropped if self._reader else 0

    @torch.no_grad()
    def measure(self, step: int | None = None, *, scale: torch.Tensor | float | None = None) -> None:
        """Start to measure the current gradients.

        Args:
            step: step that they belong to.
            scale: loss scale that they still carry, best a tensor on the device; norms are divided by it.
        """
        if self._reader is None or torch.compiler.is_compiling() or _is_capturing(self.device):
            return
        found = self._gradients()
        try:
            measured = self._measured(found)
            if measured is None:
                return
            layers, norms, nonzero = measured
            if isinstance(scale, torch.Tensor):
                norms = norms / scale.to(norms.device, non_blocking=True)
            elif scale is not None:
                norms = norms / scale
            self._reader.put(_Measured(step, layers, self._missing()), torch.cat([norms, nonzero]))
        except Exception as error:  # a device that is lost, or a tensor of a kind that torch itself does not know
            self._lose(error)

    def _gradients(self) -> list[tuple[str, torch.Tensor]]:
        """Name and gradient of each parameter with a measurable gradient."""
        found = []
        for name, parameter in self._parameters:
            if name in self._left_out:
                continue
            try:
                gradient = local_part(parameter.grad)
            except Exception as error:  # a tensor class of somebody else's
                self._leave_out(name, error)
                continue
            if gradient is None:
                continue
            if gradient.layout != torch.strided or gradient.device != self.device:
                self._leave_out(name, TypeError(f"its gradient is {gradient.layout} on {gradient.device}"))
                continue
            found.append((name, gradient))
        return found

    def _missing(self) -> tuple[str, ...]:
        """Layers none of whose parameters has a gradient; one that cannot be measured is there all the same."""
        layers: dict[str, bool] = {}
        for name, parameter in self._parameters:
            layer = _layer(name)
            layers[layer] = layers.get(layer, True) and name not in self._left_out and parameter.grad is None
        return tuple(layer for layer, is_missing in layers.items() if is_missing)

    def _measured(self, found: list[tuple[str, torch.Tensor]]) -> _Reduced | None:
        """Layer and entries, norm, and number of entries other than zero, of each gradient; None without any."""
        try:
            reduced = reduce([gradient for _, gradient in found], self._dtype)
        except Exception:  # one that cannot be measured must not cost the others
            found = [(name, gradient) for name, gradient in found if self._can_reduce(name, gradient)]
            reduced = reduce([gradient for _, gradient in found], self._dtype)
        if not found:
            return None
        return tuple((_layer(name), gradient.numel()) for name, gradient in found), *reduced

    def _can_reduce(self, name: str, gradient: torch.Tensor) -> bool:
        try:
            norms, _ = reduce([gradient], self._dtype)
            if type(norms) is not torch.Tensor:
                raise TypeError(f"its norm is a {type(norms).__name__}")
        except Exception as error:  # the boundary to kinds of tensors that are not known here
            self._leave_out(name, error)
            return False
        return True

    def _leave_out(self, name: str, error: Exception) -> None:
        self._left_out.add(name)
        self.faults.note("gradients", "unsupported", f"{name} is skipped: {error}")

    def take(self) -> list[GradientStats]:
        """The measurements that arrived since the last call, oldest first."""
        if self._reader is None:
            return []
        try:
            return [
                stats_of(str(self.device), m.step, m.layers, values, self._model, m.missing)
                for m, values in self._reader.take()
            ]
        except RuntimeError as error:
            self._lose(error)
            return []

    def _lose(self, error: Exception) -> None:
        self._reader = None
        self.faults.note("gradients", "device_lost", f"{self.device}: {error}")


def local_part(gradient: torch.Tensor | None) -> torch.Tensor | None:
    """This rank's part of ``gradient``; None for no gradient, or for summands that are not added up yet."""
    placements = getattr(gradient, "placements", None)
    if gradient is None or placements is None:
        return gradient
    if any(placement.is_partial() for placement in placements):
        return None
    part: torch.Tensor = gradient.to_local()  # type: ignore[attr-defined]  # a DTensor
    return part


def reduce(gradients: list[torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """L2 norm and number of entries other than zero of each gradient, in its order, on their device.

    Raises:
        Exception: torch cannot do this with one of them.
    """
    fused = [index for index, gradient in enumerate(gradients) if not gradient.is_cpu and gradient.dtype in _SINGLE]
    norms: dict[int, torch.Tensor] = {}
    nonzero: dict[int, torch.Tensor] = {}
    if fused:
        group = [gradients[index] for index in fused]
        # Norms in float32: in half precision the norm of a healthy layer overflows.
        norms.update(zip(fused, torch._foreach_norm(group, 2, dtype=torch.float32), strict=True))
        nonzero.update(zip(fused, torch._foreach_norm(group, 0, dtype=torch.float32), strict=True))
    for index, gradient in enumerate(gradients):
        if index not in norms:
            norms[index], nonzero[index] = fine_norm(gradient, dtype), torch.count_nonzero(_calculable(gradient))
    return _in_order(norms, dtype), _in_order(nonzero, dtype)


def _in_order(numbers: dict[int, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    if not numbers:
        return torch.empty(0, dtype=dtype)
    return torch.stack([numbers[index] for index in range(len(numbers))]).to(dtype)


def fine_norm(gradient: torch.Tensor, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """L2 norm, in chunks of double precision: a single-precision sum stops growing at 2**24 entries."""
    if gradient.is_complex():
        gradient = torch.view_as_real(gradient.resolve_conj())
    gradient = _calculable(gradient)
    unit = _largest(gradient) if gradient.dtype == torch.float64 and gradient.numel() else None
    parts = torch.split(gradient.reshape(-1), CHUNK)
    norms: list[torch.Tensor] = [
        torch.linalg.vector_norm(part if unit is None else part / unit, dtype=dtype) for part in parts
    ]
    whole: torch.Tensor = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    return whole if unit is None else unit * whole


def _calculable(gradient: torch.Tensor) -> torch.Tensor:
    """``gradient``, in single precision if it has 8 bits, with which torch does not calculate."""
    return gradient.float() if gradient.is_floating_point() and gradient.itemsize == 1 else gradient


def _largest(gradient: torch.Tensor) -> torch.Tensor:
    """Largest entry, to divide by before squaring: squares of 1e155 overflow, those of 1e-163 vanish; 1 for none."""
    found: torch.Tensor = torch.linalg.vector_norm(gradient, math.inf)
    return torch.where((found > 0) & torch.isfinite(found), found, torch.ones_like(found))


def stats_of(
    device: str,
    step: int | None,
    layers: tuple[tuple[str, int], ...],
    values: list[float],
    model: str | None = None,
    missing: tuple[str, ...] = (),
) -> GradientStats:
    """The event of one measurement.

    Args:
        device: where the gradients are.
        step: step that they belong to.
        layers: layer and number of entries of each parameter.
        values: L2 norm of each parameter's gradient, then its number of entries other than zero.
        model: its name.
        missing: layers without a gradient.
    """
    norms: dict[str, float] = {}
    zeros: dict[str, float] = {}
    entries: dict[str, int] = {}
    for index, (layer, count) in enumerate(layers):
        norms[layer] = math.hypot(norms.get(layer, 0.0), values[index])
        zeros[layer] = zeros.get(layer, 0.0) + max(count - values[len(layers) + index], 0.0)
        entries[layer] = entries.get(layer, 0) + count
    zero_fractions = {layer: zeros[layer] / entries[layer] for layer in norms if entries[layer]}
    nonfinite = tuple(layer for layer, norm in norms.items() if not math.isfinite(norm))
    return GradientStats(
        device=device,
        model=model,
        step=step,
        norm=math.hypot(*norms.values()),
        norm_per_layer=norms,
        norm_spread=_spread(norms),
        zero_fraction=sum(zeros.values()) / max(sum(entries.values()), 1),
        zero_fraction_per_layer=zero_fractions,
        nonfinite_layers=nonfinite,
        nonfinite_layer_count=len(nonfinite),
        dead_layer_count=sum(fraction > DEAD_ZERO_FRACTION for fraction in zero_fractions.values()),
        layers_without_gradient=missing[:MOST_NAMES],
        layers_without_gradient_count=len(missing),
    )


def _spread(norms: dict[str, float]) -> float | None:
    positive = [norm for norm in norms.values() if norm > 0 and math.isfinite(norm)]
    return max(positive) / min(positive) if positive else None


def _layer(parameter: str) -> str:
    return parameter.rpartition(".")[0] or parameter


def _is_capturing(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
