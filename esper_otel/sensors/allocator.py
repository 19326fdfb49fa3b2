"""State of the CUDA caching allocator. Its statistics are on the host: reading them never waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from esper_otel.events import AllocatorStats
from esper_otel.sensors.faults import Faults
from esper_otel.sensors.marks import named_device

ReadStats = Callable[[torch.device], Mapping[str, int]]


def stats_of(device: str, stats: Mapping[str, int], before: int | None, batch: int | None) -> AllocatorStats:
    """The event of one reading.

    Args:
        device: the device.
        stats: result of ``torch.cuda.memory_stats``.
        before: bytes allocated at the reading before this one, None at the first.
        batch: number of the batch, from 1.
    """
    allocated, reserved = stats["allocated_bytes.all.current"], stats["reserved_bytes.all.current"]
    return AllocatorStats(
        device=device,
        batch_idx=batch,
        allocated_bytes=allocated,
        reserved_bytes=reserved,
        active_bytes=stats["active_bytes.all.current"],
        inactive_bytes=stats["inactive_split_bytes.all.current"],
        peak_bytes=stats["allocated_bytes.all.peak"],
        fragmentation_bytes=reserved - allocated,
        allocated_delta_bytes=None if before is None else allocated - before,
        num_alloc_retries=stats["num_alloc_retries"],
        num_ooms=stats["num_ooms"],
    )


class AllocatorSensor:
    """Reads the allocator of one device; silent on a CPU, which has none."""

    def __init__(
        self, device: torch.device | str, *, read: ReadStats | None = None, faults: Faults | None = None
    ) -> None:
        """``read`` defaults to ``torch.cuda.memory_stats``."""
        self.device = named_device(device)
        self.faults = faults or Faults()
        self._read = read or torch.cuda.memory_stats
        self._before: int | None = None
        self._is_on = self.device.type == "cuda"
        if self._is_on and read is None and not torch.cuda.is_available():
            self._is_on = False
            self.faults.note("allocator", "no_device", f"{self.device} was requested but torch finds no CUDA device")

    def take(self, batch: int | None = None) -> AllocatorStats | None:
        """The current state (some 100 µs on the host), with the change since the last call; None if there is none."""
        if not self._is_on:
            return None
        try:
            event = stats_of(str(self.device), self._read(self.device), self._before, batch)
        except (RuntimeError, KeyError) as error:
            self._is_on = False
            self.faults.note("allocator", "unreadable", f"{self.device}: {error!r}")
            return None
        self._before = event.allocated_bytes
        return event
