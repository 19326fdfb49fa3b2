"""The infrastructure snapshot: time, memory and compiler state over the last rounds, as far as the machine tells."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any, Final

import torch

from esper_otel.events import InfrastructureSnapshot
from trainer.simic.observer import RoundEnd
from trainer.tolaria.phases import PhaseTime, add_phases

GIB: Final = 2.0**30
_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = resource.getpagesize()

_TIMED: Final = {
    "avg_forward_time_ms": "forward",
    "avg_backward_time_ms": "backward",
    "avg_optimizer_time_ms": "optimizer",
    "avg_data_transfer_time_ms": "data_transfer",
}


class Window:
    """Adds rounds up until a snapshot is taken."""

    def __init__(self) -> None:
        self._phases: dict[str, PhaseTime] = {}
        self._rounds = 0
        self._allocated_before: int | None = None

    def add(self, end: RoundEnd) -> None:
        """Count one round."""
        add_phases(self._phases, end.phases)
        self._rounds += 1

    def take(self, batch: int, device: str) -> InfrastructureSnapshot:
        """The snapshot of the rounds since the last one. Fields that the machine cannot tell are absent."""
        times: dict[str, Any] = {
            field: self._phases[name].wall_s / self._phases[name].count * 1e3
            for field, name in _TIMED.items()
            if name in self._phases
        }
        snapshot = InfrastructureSnapshot(
            device=device,
            batch_idx=batch,
            batch_window=self._rounds,
            process_cpu_time_s=time.process_time(),
            process_memory_bytes=_resident_bytes(),
            **times,
            **self._cuda(device),
        )
        self._phases, self._rounds = {}, 0
        return snapshot

    def _cuda(self, device: str) -> dict[str, Any]:
        if not device.startswith("cuda") or not torch.cuda.is_available():
            return {}
        stats = torch.cuda.memory_stats(device)
        allocated, reserved = stats["allocated_bytes.all.current"], stats["reserved_bytes.all.current"]
        before, self._allocated_before = self._allocated_before, allocated
        return {
            "cuda_memory_allocated_gb": allocated / GIB,
            "cuda_memory_reserved_gb": reserved / GIB,
            "cuda_memory_active_gb": stats["active_bytes.all.current"] / GIB,
            "cuda_memory_inactive_gb": stats["inactive_split_bytes.all.current"] / GIB,
            "cuda_memory_peak_gb": stats["allocated_bytes.all.peak"] / GIB,
            "cuda_memory_fragmentation": 1.0 - allocated / reserved if reserved else None,
            "memory_allocated_delta_gb": None if before is None else (allocated - before) / GIB,
            "cuda_oom_events": stats["num_ooms"],
        }


def _resident_bytes() -> int | None:
    if not _STATM.exists():
        return None
    return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
