"""Weights as evidence: a digest for comparing two runs, and a plain archive without pickles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch


def digest(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of ``weights``, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(weights):
        array = weights[name].detach().cpu().contiguous().numpy()
        total.update(f"{name}:{array.dtype}:{array.shape};".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def save_npz(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write ``weights`` as a NumPy archive, one array per name.

    Raises:
        OSError: the file cannot be written.
    """
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # The stubs take the names for options.
