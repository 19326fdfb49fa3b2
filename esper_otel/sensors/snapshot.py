"""The infrastructure snapshot: time, memory and compiler state over the last batches (plan, Appendix D.7)."""

from __future__ import annotations

import mmap
import time
from pathlib import Path
from typing import Any, Final

from esper_otel.events import AllocatorStats, CompilerStats, InfrastructureSnapshot
from esper_otel.sensors.timing import PhaseSummary

GIB: Final = 2.0**30

AVERAGED: Final = {
    "forward": "avg_forward_time_ms",
    "backward": "avg_backward_time_ms",
    "optimizer_step": "avg_optimizer_time_ms",
    "optimizer": "avg_optimizer_time_ms",
    "data_transfer": "avg_data_transfer_time_ms",
}
"""Phase -> field of its mean."""

_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = mmap.PAGESIZE


def snapshot(
    device: str,
    *,
    batch: int | None,
    window: int,
    phases: dict[str, PhaseSummary],
    allocator: AllocatorStats | None = None,
    compiler: CompilerStats | None = None,
    utilization: tuple[float, float] | None = None,
) -> InfrastructureSnapshot:
    """The snapshot of the sensors' readings; unknown values are absent.

    Args:
        device: device that was measured.
        batch: number of the last batch, from 1.
        window: batches covered.
        phases: summaries of the phases over the window.
        allocator: the allocator now, with its change over the window.
        compiler: the compiler's totals.
        utilization: of the device and of its memory bus, 0 to 100.
    """
    busy, bus = utilization or (None, None)
    means: dict[str, Any] = {
        AVERAGED[name]: summary.mean_s * 1e3 for name, summary in phases.items() if name in AVERAGED
    }
    return InfrastructureSnapshot(
        device=device,
        batch_idx=batch,
        batch_window=window,
        gpu_utilization_pct=busy,
        gpu_memory_bandwidth_pct=bus,
        process_cpu_time_s=time.process_time(),
        process_memory_bytes=resident_bytes(),
        **means,
        **_memory(allocator),
        **_compiler(compiler),
    )


def _memory(stats: AllocatorStats | None) -> dict[str, Any]:
    if stats is None:
        return {}
    allocated, reserved = stats.allocated_bytes or 0, stats.reserved_bytes or 0
    delta = stats.allocated_delta_bytes
    return {
        "cuda_memory_allocated_gb": allocated / GIB,
        "cuda_memory_reserved_gb": reserved / GIB,
        "cuda_memory_active_gb": (stats.active_bytes or 0) / GIB,
        "cuda_memory_inactive_gb": (stats.inactive_bytes or 0) / GIB,
        "cuda_memory_peak_gb": (stats.peak_bytes or 0) / GIB,
        "cuda_memory_fragmentation": 1.0 - allocated / reserved if reserved else None,
        "memory_allocated_delta_gb": None if delta is None else delta / GIB,
        "cuda_oom_events": stats.num_ooms,
    }


def _compiler(stats: CompilerStats | None) -> dict[str, Any]:
    if stats is None:
        return {}
    return {
        "compile_graph_breaks": stats.graph_breaks,
        "compile_recompilations": stats.recompilations,
        "compile_cache_hits": sum((stats.cache_hits or {}).values()),
        "compile_cache_misses": sum((stats.cache_misses or {}).values()),
        # Only a failed guard makes dynamo compile a frame again.
        "dynamo_guard_failures": stats.recompilations,
    }


def resident_bytes() -> int | None:
    """Resident memory of this process; None if the system does not report it."""
    if not _STATM.exists():
        return None
    return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
