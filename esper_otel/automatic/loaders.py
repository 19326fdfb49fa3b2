"""The data loaders of the process: how long training waits for a batch, and how many samples it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch

from esper_otel.automatic.passes import Passes
from esper_otel.sensors.updating.patches import Function, Patches

DEPTH = 3
"""Containers inside one another in which the first tensor of a batch is looked for."""


class Loaders:
    """Watches every iterator of ``torch.utils.data.DataLoader``."""

    def __init__(
        self, began: Callable[[], float | None], ended: Callable[[float | None], None], passes: Passes
    ) -> None:
        """``began`` is called before a batch is asked for, ``ended`` with what it returned, after it came."""
        self._began = began
        self._ended = ended
        self._passes = passes
        self._samples: int | None = None

    def patch(self, patches: Patches) -> None:
        """Replace the method that gives a batch."""
        from torch.utils.data import dataloader

        patches.attribute(dataloader._BaseDataLoaderIter, "__next__", self._wrap)

    def take_samples(self) -> int | None:
        """Samples since the last call; None where no loader gave any."""
        samples, self._samples = self._samples, None
        return samples

    def _wrap(self, original: Function) -> Function:
        def next_batch(iterator: Any) -> Any:
            began = None
            with suppress(Exception):
                began = self._began()
                self._passes.asked(iterator)
            try:
                batch = original(iterator)
            except StopIteration:
                with suppress(Exception):
                    self._passes.exhausted(iterator)
                raise
            with suppress(Exception):
                self._ended(began)
                size = size_of(batch)
                self._passes.given(iterator, size)
                if size is not None:
                    self._samples = (self._samples or 0) + size
            return batch

        return next_batch


def size_of(batch: Any, depth: int = DEPTH) -> int | None:
    """Length of the first tensor in a batch; None if there is none."""
    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.ndim else None
    if depth == 0:
        return None
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else ()
    return next((size for part in parts if (size := size_of(part, depth - 1)) is not None), None)
