"""The L2 norm of a whole gradient, as ``clip_grad_norm_`` computes it, left on the devices that hold it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import torch

from esper_otel.sensors.gradients import CHUNK, fine_norm

_HALF: Final = frozenset({torch.float16, torch.bfloat16})


class ShardedError(Exception):
    """Ranks hold parts of a gradient or of a norm: only communication would give the whole."""


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """``tensor``, or the replica of a DTensor that each rank has.

    Raises:
        ShardedError: this rank has a part of it, or a summand.
    """
    placements = getattr(tensor, "placements", None)
    if placements is None:
        return tensor
    if all(placement.is_replicate() for placement in placements):
        replica: torch.Tensor = tensor.to_local()  # type: ignore[attr-defined]  # a DTensor
        return replica
    raise ShardedError


@torch.no_grad()
def total_norms(gradients: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """L2 norm of the gradients on each device, one scalar a device; the norm of all is that of these numbers.

    Half precision is summed in single precision, where the norm of a healthy layer would overflow. Of a sparse gradient
    the stored values count.

    Raises:
        ShardedError: ranks hold parts of one of them.
        Exception: torch cannot take the norm of one of them.
    """
    by_device: dict[torch.device, list[torch.Tensor]] = {}
    for gradient in gradients:
        values = _values(whole(gradient))
        by_device.setdefault(values.device, []).append(values)
    return [_norm_on_device(group) for group in by_device.values()]


def _values(gradient: torch.Tensor) -> torch.Tensor:
    return gradient if gradient.layout == torch.strided else gradient.coalesce().values()


def _norm_on_device(gradients: list[torch.Tensor]) -> torch.Tensor:
    norms: list[torch.Tensor] = []
    small = [one for one in gradients if not (one.is_cpu and one.numel() > CHUNK)]
    halves = [one for one in small if one.dtype in _HALF]
    others = [one for one in small if one.dtype not in _HALF] if halves else small
    if halves:
        norms += torch._foreach_norm(halves, 2, dtype=torch.float32)
    if others:
        norms += torch._foreach_norm(others, 2)
    if len(small) < len(gradients):
        norms += [fine_norm(one).float() for one in gradients if one.is_cpu and one.numel() > CHUNK]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
