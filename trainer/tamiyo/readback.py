"""The one place where numbers of a policy update leave the device, many at a time."""

from __future__ import annotations

from collections.abc import Mapping

import torch

Scalars = dict[str, torch.Tensor]
"""Scalar tensors by name; a name ``head_kl.op`` belongs to the entry ``op`` of the map ``head_kl``."""


def read(scalars: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Every scalar as a float, in one transfer. Waits for the device."""
    if not scalars:
        return {}
    device = max((value.device for value in scalars.values()), key=lambda device: device.type != "cpu")
    rows = [value.detach().to(device, torch.float64).reshape(()) for value in scalars.values()]
    values: list[float] = torch.stack(rows).tolist()
    return dict(zip(scalars, values, strict=True))


def by_map(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The dotted entries of ``values`` as maps: ``head_kl.op`` becomes ``{"head_kl": {"op": …}}``."""
    maps: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        if "." in name:
            outer, inner = name.split(".", 1)
            maps.setdefault(outer, {})[inner] = value
    return maps
