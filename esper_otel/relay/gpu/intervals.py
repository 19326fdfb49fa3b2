"""Readings of a GPU over an interval between samples: energy, throttling, shares of processes, activity of parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from ctypes import c_uint
from pathlib import Path
from typing import Any, Final

from esper_otel.events.vocabulary import THROTTLE_REASONS
from esper_otel.relay.gpu.calls import Calls
from esper_otel.relay.gpu.devices import Gpu
from esper_otel.relay.gpu.reads import MAX_BYTES, GpuPoints, put
from esper_otel.signals import hardware as hw

LONGEST_INTERVAL_S: Final = 30.0
"""Longest gap between samples whose state is assumed in between (a suspended machine or hung driver exceeds it)."""

PERCENT_UNITS: Final = {
    "NVML_GPM_METRIC_GRAPHICS_UTIL": "graphics",
    "NVML_GPM_METRIC_SM_UTIL": "sm",
    "NVML_GPM_METRIC_SM_OCCUPANCY": "sm_occupancy",
    "NVML_GPM_METRIC_ANY_TENSOR_UTIL": "tensor",
    "NVML_GPM_METRIC_DRAM_BW_UTIL": "dram",
    "NVML_GPM_METRIC_FP64_UTIL": "fp64",
    "NVML_GPM_METRIC_FP32_UTIL": "fp32",
    "NVML_GPM_METRIC_FP16_UTIL": "fp16",
    "NVML_GPM_METRIC_INTEGER_UTIL": "integer",
}
"""GPM metric -> part of the GPU; all are percentages of a peak."""


class Energy:
    """Energy of each GPU: the driver's own counter, or power times time."""

    def __init__(self) -> None:
        """Start without measurements."""
        self.joules: dict[str, float] = {}
        self._power: dict[str, tuple[float, float]] = {}

    def read(self, gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
        """Read one GPU; mJ at the driver."""
        function = "nvmlDeviceGetTotalEnergyConsumption"
        answer = calls.ask(gpu.uuid, function, gpu.handle)
        joules = None
        if answer is not None:
            millijoules = calls.number(function, answer, 0, 2.0**63)
            joules = None if millijoules is None else millijoules * 1e-3
        elif calls.is_barred(gpu.uuid, function):
            joules = self._integrate(gpu, calls)
        if joules is not None:
            self.joules[gpu.uuid] = joules
            put(points, hw.ENERGY, gpu, joules)

    def _integrate(self, gpu: Gpu, calls: Calls) -> float | None:
        answer = calls.ask(gpu.uuid, "nvmlDeviceGetPowerUsage", gpu.handle)
        if answer is None:
            return None
        watts, now = float(answer) * 1e-3, time.monotonic()
        before, at = self._power.get(gpu.uuid, (watts, now))
        self._power[gpu.uuid] = (watts, now)
        seconds = min(now - at, LONGEST_INTERVAL_S)
        return self.joules.get(gpu.uuid, 0.0) + (before + watts) / 2 * seconds


class Throttling:
    """Time under each throttle reason: the state at a sample covers the time since the one before."""

    def __init__(self) -> None:
        """Start without measurements."""
        self._seconds: dict[str, dict[str, float]] = {}
        self._at: dict[str, float] = {}

    def read(self, gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
        """Read one GPU."""
        bits = calls.ask(gpu.uuid, "nvmlDeviceGetCurrentClocksEventReasons", gpu.handle)
        if bits is None:
            return
        now = time.monotonic()
        elapsed = min(now - self._at.get(gpu.uuid, now), LONGEST_INTERVAL_S)
        self._at[gpu.uuid] = now
        seconds = self._seconds.setdefault(gpu.uuid, dict.fromkeys(THROTTLE_REASONS, 0.0))
        for bit, reason in enumerate(THROTTLE_REASONS):
            if int(bits) >> bit & 1:
                seconds[reason] += elapsed
            put(points, hw.THROTTLE_TIME, gpu, seconds[reason], reason)


class Processes:
    """Use of a GPU by the processes of this run and by all others."""

    def __init__(self, own_pids: Callable[[], set[int]], proc: Path = Path("/proc")) -> None:
        """``own_pids`` gives the run's processes."""
        self._own_pids = own_pids
        self._proc = proc
        self._newest: dict[str, int] = {}

    def read(self, gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
        """Read one GPU."""
        own = self._own_pids()
        self._read_memory(gpu, calls, points, own)
        self._read_utilization(gpu, calls, points, own)

    def _read_memory(self, gpu: Gpu, calls: Calls, points: GpuPoints, own: set[int]) -> None:
        function = "nvmlDeviceGetComputeRunningProcesses"
        processes = calls.ask(gpu.uuid, function, gpu.handle)
        if processes is None or not self._are_ours_to_name([p.pid for p in processes]):
            return
        used = [(process.pid, calls.number(function, process.usedGpuMemory, 0, MAX_BYTES)) for process in processes]
        for share, total in _shares(used, own).items():
            put(points, hw.PROCESS_MEMORY, gpu, total, share)

    def _read_utilization(self, gpu: Gpu, calls: Calls, points: GpuPoints, own: set[int]) -> None:
        function = "nvmlDeviceGetProcessUtilization"
        since = self._newest.get(gpu.uuid, 0)
        samples = calls.ask(gpu.uuid, function, gpu.handle, since)
        if samples is None or not self._are_ours_to_name([s.pid for s in samples]):
            return
        used = [(sample.pid, calls.number(function, sample.smUtil, 0, 100)) for sample in samples]
        for sample in samples:
            self._newest[gpu.uuid] = max(self._newest.get(gpu.uuid, 0), int(sample.timeStamp))
        for share, total in _shares(used, own).items():
            put(points, hw.PROCESS_UTILIZATION, gpu, min(total / 100.0, 1.0), share)

    def _are_ours_to_name(self, pids: list[int]) -> bool:
        """True if the driver's process numbers are valid here: in a container they may be the host's."""
        return not pids or any((self._proc / str(pid)).exists() for pid in pids)


class Activity:
    """Activity of the parts of a GPU between two samples, from its own counters (GPM)."""

    def __init__(self) -> None:
        """Samples are made at the first reading."""
        self._samples: dict[str, list[Any]] = {}
        self._is_primed: set[str] = set()
        self._supported: dict[str, bool] = {}

    def read(self, gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
        """Take a sample of one GPU or MIG instance and compare it with the one before."""
        if gpu.instance is None and not self._is_supported(gpu, calls):
            return
        samples = self._samples.get(gpu.uuid)
        if samples is None:
            samples = [calls.ask(gpu.uuid, "nvmlGpmSampleAlloc") for _ in range(2)]
            self._samples[gpu.uuid] = samples
        before, now = samples
        if before is None or now is None or not self._sample(gpu, calls, now):
            return
        samples.reverse()
        if gpu.uuid in self._is_primed:
            self._compare(gpu, calls, points, before, now)
        self._is_primed.add(gpu.uuid)

    def _is_supported(self, gpu: Gpu, calls: Calls) -> bool:
        known = self._supported.get(gpu.uuid)
        if known is None:
            support = calls.ask(gpu.uuid, "nvmlGpmQueryDeviceSupport", gpu.handle)
            known = self._supported[gpu.uuid] = support is not None and bool(support.isSupportedDevice)
        return known

    def _sample(self, gpu: Gpu, calls: Calls, sample: Any) -> bool:
        if gpu.instance is not None:
            handle = calls.ask(gpu.uuid, "nvmlDeviceGetDeviceHandleFromMigDeviceHandle", gpu.handle)
            return calls.ask(gpu.uuid, "nvmlGpmMigSampleGet", handle, c_uint(gpu.instance), sample) is not None
        return calls.ask(gpu.uuid, "nvmlGpmSampleGet", gpu.handle, sample) is not None

    def _compare(self, gpu: Gpu, calls: Calls, points: GpuPoints, before: Any, now: Any) -> None:
        nvml = calls.nvml
        request = nvml.c_nvmlGpmMetricsGet_t()
        request.version = nvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(PERCENT_UNITS)
        request.sample1, request.sample2 = before, now
        for index, name in enumerate(PERCENT_UNITS):
            request.metrics[index].metricId = getattr(nvml, name)
        if calls.ask(gpu.uuid, "nvmlGpmMetricsGet", request) is None:
            return
        for index, unit in enumerate(PERCENT_UNITS.values()):
            metric = request.metrics[index]
            if metric.nvmlReturn == 0:
                percent = calls.number("nvmlGpmMetricsGet", metric.value, 0, 100.0001)
                put(points, hw.ACTIVITY, gpu, None if percent is None else min(percent / 100.0, 1.0), unit)


def _shares(used: list[tuple[int, float | None]], own: set[int]) -> dict[str, float]:
    """Joint use by the run's processes and the others; empty if the driver does not know it of one of them."""
    shares = {"run": 0.0, "others": 0.0}
    for pid, amount in used:
        if amount is None:
            return {}
        shares["run" if pid in own else "others"] += amount
    return shares
