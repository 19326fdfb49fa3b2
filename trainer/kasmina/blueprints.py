"""Seed blueprints: the modules that can be grown. Each maps features [N, C, H, W] to a change of the same shape.

The last layer of every blueprint starts at zero, so a seed that has not learned changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import nn

Factory = Callable[[int], nn.Module]


class Noop(nn.Module):
    """Changes nothing and has no parameters: the control against which growth has to pay."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Zeros of the shape of ``features``."""
        return torch.zeros_like(features)


class Affine(nn.Module):
    """A normalisation with a learned scale and shift per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalised features times scale plus shift."""
        return self.norm(features)  # type: ignore[no-any-return]


class SpatialAttention(nn.Module):
    """Single-head self-attention over the positions of the feature map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query_key_value = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.out = _zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Attention-weighted mixture of the positions."""
        n, c, h, w = features.shape
        q, k, v = self.query_key_value(features).flatten(2).transpose(1, 2).chunk(3, dim=-1)
        mixed = torch.softmax(q @ k.transpose(1, 2) * c**-0.5, dim=-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(n, c, h, w))  # type: ignore[no-any-return]


def _zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _conv(channels_in: int, channels_out: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, groups=groups)


def _conv_small(c: int) -> nn.Module:
    return nn.Sequential(_conv(c, c, 1), nn.ReLU(), _zeroed(_conv(c, c, 1)))


def _conv_light(c: int) -> nn.Module:
    return nn.Sequential(_conv(c, c, 3), nn.GroupNorm(1, c), nn.ReLU(), _zeroed(_conv(c, c, 1)))


def _conv_heavy(c: int) -> nn.Module:
    return nn.Sequential(_conv(c, 4 * c, 3), nn.GroupNorm(1, 4 * c), nn.ReLU(), _zeroed(_conv(4 * c, c, 3)))


def _depthwise(c: int) -> nn.Module:
    return nn.Sequential(_conv(c, 2 * c, 3, groups=c), nn.GroupNorm(1, 2 * c), nn.ReLU(), _zeroed(_conv(2 * c, c, 1)))


def _bottleneck(c: int) -> nn.Module:
    narrow = max(2, c // 2)
    return nn.Sequential(
        _conv(c, narrow, 1), nn.ReLU(), _conv(narrow, narrow, 3), nn.ReLU(), _zeroed(_conv(narrow, c, 1))
    )


@dataclass(frozen=True)
class Blueprint:
    """One kind of seed: its id and how to build its body for a number of channels."""

    blueprint_id: str
    build: Factory


BLUEPRINTS: Final[dict[str, Blueprint]] = {
    name: Blueprint(name, build)
    for name, build in (
        ("noop", lambda c: Noop()),
        ("conv_light", _conv_light),
        ("attention", SpatialAttention),
        ("norm", Affine),
        ("depthwise", _depthwise),
        ("bottleneck", _bottleneck),
        ("conv_small", _conv_small),
        ("conv_heavy", _conv_heavy),
    )
}
"""Every blueprint by id; the order is the order of the policy's choices."""
