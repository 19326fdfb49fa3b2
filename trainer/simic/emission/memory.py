"""Memory in use against the limit: of the process, and of the GPU if there is one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import torch

from esper_otel.events import Event, MemoryWarning
from esper_otel.sensors import resident_bytes
from trainer.recipes import Recipe
from trainer.simic import detectors

GIB: Final = 2.0**30
_CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_MEMINFO: Final = Path("/proc/meminfo")


def memory_warnings(recipe: Recipe) -> list[Event]:
    """A warning for each memory that is nearly used up. Reads two small numbers; waits for nothing."""
    pools = {"cpu": (resident_bytes(), _budget_bytes(recipe))}
    if recipe.device.startswith("cuda") and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(recipe.device).total_memory
        pools[recipe.device] = (torch.cuda.memory_reserved(recipe.device), total)
    return [
        warning
        for device, (used, total) in pools.items()
        if used is not None and total is not None and (warning := _warning(device, used, total)) is not None
    ]


def _warning(device: str, used: int, total: int) -> Event | None:
    share = detectors.memory_pressure(used, total)
    if share is None:
        return None
    return MemoryWarning(
        device=device,
        gpu_utilization=share,
        gpu_allocated_gb=used / GIB,
        gpu_total_gb=total / GIB,
        threshold=detectors.MEMORY_LIMIT,
    )


def _budget_bytes(recipe: Recipe) -> int | None:
    return _machine_bytes() if recipe.memory_budget_gb is None else int(recipe.memory_budget_gb * GIB)


@cache
def _machine_bytes() -> int | None:
    """Memory limit of the container, or memory of the machine; None if both are unknown."""
    for path in _CGROUP_LIMITS:
        text = path.read_text().strip() if path.exists() else ""
        if text.isdecimal() and int(text) < 2**60:  # beyond stands for no limit
            return int(text)
    if not _MEMINFO.exists():
        return None
    return int(_MEMINFO.read_text().split()[1]) * 1024
