"""The machine of the figures, described in words."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "torch",
    "msgspec",
    "opentelemetry-sdk",
    "prometheus-client",
    "tensorboard",
    "wandb",
    "mlflow-skinny",
)


def machine() -> dict[str, str]:
    """Processor, memory, system, versions."""
    model = _first("/proc/cpuinfo", "model name") or platform.machine()
    memory = _first("/proc/meminfo", "MemTotal")
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{int(memory.split()[0]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": f"Linux {platform.release().split('-')[0]}, {_interpreter()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def load() -> float:
    """Mean number of runnable processes over the last minute."""
    return os.getloadavg()[0]


def _interpreter() -> str:
    """Version and build of Python: its optimisation changes every figure by a tenth, so Debian's own is measured."""
    build = "the distribution's build" if sys.base_prefix == "/usr" else "not the distribution's build"
    return f"CPython {platform.python_version()} ({platform.python_compiler()}, {build})"


def _first(path: str, name: str) -> str:
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
