"""Gradient health by layer, of the policy and of hosts: a few fused kernels now, arithmetic when the numbers arrive.

A layer is a module with parameters of its own: ``blocks.0.conv`` for its weight and its bias. The limits are those of
esper-lite's collector (PyTorch specialist's list, plan Appendix D.4).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

DEAD_ZERO_SHARE: Final = 0.9
"""Share of zero gradient entries above which a layer counts as dead."""

LARGE_ENTRY: Final = 10.0
EXPLODING_SHARE: Final = 0.1
"""Share of entries larger than 10 above which a layer counts as exploding."""

ROWS: Final = 5
"""Numbers per layer: square sum, zeros, large entries, NaNs, infinities."""


@dataclass(frozen=True, kw_only=True)
class GradientFlow:
    """State of a model's gradients before clipping.

    Attributes:
        norm_per_layer: L2 norm by layer.
        zero_fraction: share of all entries that are zero, 0 to 1.
        norm_ratio: largest over smallest layer norm among those above 0; None when no norm is finite and above 0.
        nan_layers: layers with a NaN entry, in order.
        dead_layers: layers beyond :data:`DEAD_ZERO_SHARE`.
        exploding_layers: layers beyond :data:`EXPLODING_SHARE`.
        health: :func:`layer_health` by layer, 0 to 1.
        nan_entries: entries that are NaN.
        inf_entries: entries that are infinite.
    """

    norm_per_layer: dict[str, float]
    zero_fraction: float
    norm_ratio: float | None
    nan_layers: tuple[str, ...]
    dead_layers: int
    exploding_layers: int
    health: dict[str, float]
    nan_entries: int
    inf_entries: int


class Layers:
    """The parameters of a model by layer; made once, measured often."""

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        named = list(named_parameters)
        self.parameters = [parameter for _, parameter in named]
        owners = [name.rpartition(".")[0] or name for name, _ in named]
        self.names = tuple(dict.fromkeys(owners))
        position = {name: index for index, name in enumerate(self.names)}
        layer_of = [position[owner] for owner in owners]
        sizes = [parameter.numel() for parameter in self.parameters]
        device = self.parameters[0].device
        entries = torch.tensor(layer_of).repeat_interleave(torch.tensor(sizes))
        self._layer_of_entry = entries.to(device)
        self.sizes = tuple(
            sum(size for size, owner in zip(sizes, layer_of, strict=True) if owner == index)
            for index in range(len(self.names))
        )

    @torch.no_grad()
    def measure(self) -> torch.Tensor:
        """Numbers [5, layers] of the gradients as they are now, on their device; for :meth:`flow`.

        Nothing waits. A parameter without a gradient counts as zeros.
        """
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in self.parameters]
        flat = torch.cat([grad.reshape(-1).float() for grad in grads])
        facts = torch.stack([flat.square(), flat == 0, flat.abs() > LARGE_ENTRY, flat.isnan(), flat.isinf()])
        return flat.new_zeros(ROWS, len(self.names)).index_add_(1, self._layer_of_entry, facts)

    def flow(self, numbers: Sequence[float]) -> GradientFlow:
        """Statistics from the result of :meth:`measure`, read from the device row by row."""
        n = len(self.names)
        squares, zeros, large, nans, infs = (numbers[row * n : (row + 1) * n] for row in range(ROWS))
        norms = [math.sqrt(square) if square >= 0.0 else math.nan for square in squares]
        positive = [norm for norm in norms if math.isfinite(norm) and norm > 0.0]
        shares = [count / size for count, size in zip(zeros, self.sizes, strict=True)]
        return GradientFlow(
            norm_per_layer=dict(zip(self.names, norms, strict=True)),
            zero_fraction=sum(zeros) / sum(self.sizes),
            norm_ratio=max(positive) / min(positive) if positive else None,
            nan_layers=tuple(name for name, count in zip(self.names, nans, strict=True) if count > 0),
            dead_layers=sum(share > DEAD_ZERO_SHARE for share in shares),
            exploding_layers=sum(count / size > EXPLODING_SHARE for count, size in zip(large, self.sizes, strict=True)),
            health=dict(zip(self.names, layer_health(norms, shares, self.sizes), strict=True)),
            nan_entries=int(sum(nans)),
            inf_entries=int(sum(infs)),
        )


def layer_health(norms: Sequence[float], zero_shares: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Health of each layer in [0, 1]: ``(1 - zero share) / (1 + max(0, |log10(rms / median rms)| - 1))``.

    ``rms`` is the layer's norm over the root of its size, the median goes over layers with a finite norm above 0. A
    layer within a decade of the median is only marked down for zeros; each further decade halves, thirds … its health.
    A layer whose norm is not finite, or 0, has health 0. Ours: the plan names the field and its range.
    """
    scales = [norm / math.sqrt(size) for norm, size in zip(norms, sizes, strict=True)]
    positive = [scale for scale in scales if math.isfinite(scale) and scale > 0.0]
    if not positive:
        return [0.0] * len(scales)
    middle = statistics.median(positive)
    return [
        (1.0 - share) / (1.0 + max(0.0, abs(math.log10(scale / middle)) - 1.0))
        if math.isfinite(scale) and scale > 0.0
        else 0.0
        for scale, share in zip(scales, zero_shares, strict=True)
    ]
