"""The only place where numbers leave the device during training, many at a time: every function here waits for it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

Scalars = dict[str, torch.Tensor]
"""Scalar tensors by name; a name ``head_kl.op`` belongs to the entry ``op`` of the map ``head_kl``."""

Numbers = list[float]


def read(scalars: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Every scalar as a float, in one transfer."""
    return read_with(scalars, {})[0]


def read_with(
    scalars: Mapping[str, torch.Tensor], arrays: Mapping[str, torch.Tensor]
) -> tuple[dict[str, float], dict[str, Numbers]]:
    """Every scalar as a float and every array as its entries in a row, in one transfer."""
    tensors = [*scalars.values(), *arrays.values()]
    if not tensors:
        return {}, {}
    device = max((tensor.device for tensor in tensors), key=lambda device: device.type != "cpu")
    flat = torch.cat([tensor.detach().to(device, torch.float64).reshape(-1) for tensor in tensors])
    entries: Numbers = flat.tolist()
    rows: dict[str, Numbers] = {}
    start = len(scalars)
    for name, array in arrays.items():
        rows[name] = entries[start : start + array.numel()]
        start += array.numel()
    return dict(zip(scalars, entries, strict=False)), rows


def read_rows(tensor: torch.Tensor) -> list[list[float]]:
    """A matrix of numbers as its rows."""
    rows: list[list[float]] = tensor.tolist()
    return rows


def read_indices(tensor: torch.Tensor) -> list[list[int]]:
    """A matrix of whole numbers as its rows."""
    rows: list[list[int]] = tensor.tolist()
    return rows


def by_map(values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The dotted entries of ``values`` as maps: ``head_kl.op`` becomes ``{"head_kl": {"op": …}}``."""
    maps: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        if "." in name:
            outer, inner = name.split(".", 1)
            maps.setdefault(outer, {})[inner] = value
    return maps
