"""Points of the NVML sampler over an imitation of the driver's library."""

from __future__ import annotations

import os
from collections.abc import Callable

from esper_otel.relay.gpu.reads import GpuPoints
from esper_otel.relay.gpu.sampler import NvmlSampler
from esper_otel.signals import hardware as hw
from esper_otel.signals.own_signal import OwnSignal
from tests.sensors.fake_nvml import FakeLibrary, driver
from tests.waiting import wait_for

NAME = "NVIDIA H100 80GB HBM3"


def sampler_over(said: list[str] | None = None, **options: object) -> NvmlSampler:
    arguments: dict[str, object] = {
        "environ": {},
        "own_pids": lambda: {os.getpid()},
        "say": (said if said is not None else []).append,
        "interval_s": 0.02,
        **options,
    }
    return NvmlSampler(**arguments)  # type: ignore[arg-type]  # options by name


def points_when(sampler: NvmlSampler, condition: Callable[[GpuPoints], bool]) -> GpuPoints:
    """The first points for which ``condition`` holds."""
    return wait_for(lambda: points if condition(points := sampler.points()) else None, "the awaited figures")


def sampled(library: FakeLibrary, said: list[str] | None = None, **options: object) -> GpuPoints:
    """Points after the first snapshots."""
    with driver(library):
        sampler = sampler_over(said, **options)
        sampler.start()
        try:
            points_when(sampler, lambda points: bool(points[hw.SNAPSHOT_AGE]))
            count = library.calls.count("nvmlDeviceGetPowerUsage")
            return points_when(sampler, lambda _: library.calls.count("nvmlDeviceGetPowerUsage") >= count + 3)
        finally:
            sampler.stop()


def values(points: GpuPoints, signal: OwnSignal, device: str = "cuda:0") -> dict[tuple[str, ...], float]:
    """Points of one device by the attributes beyond those of every GPU."""
    return {key[4:]: value for key, value in points[signal].items() if key[3] == device}
