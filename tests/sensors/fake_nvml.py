"""An imitation of libnvidia-ml, the driver's C library, beneath the real binding (pynvml).

Each function takes what the binding hands to C and answers as the driver does: an error number, and values written
through the pointers that it was given.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pynvml

OK, NOT_SUPPORTED, INSUFFICIENT_SIZE, TIMEOUT, NOT_FOUND, LOST = 0, 3, 7, 10, 6, 15

MIG_HANDLES = 0x10000


@dataclass
class FakeGpu:
    """State of one GPU, in the driver's units."""

    uuid: str
    name: str = "NVIDIA H100 80GB HBM3"
    gpu_percent: int = 87
    memory_percent: int = 41
    power_mw: int = 612_345
    power_limit_mw: int = 700_000
    energy_mj: int | None = 1_000_000
    temperature: int = 61
    memory_temperature: int = 74
    clocks_mhz: tuple[int, ...] = (1980, 1980, 2619, 1545)
    total_bytes: int = 81_559 * 2**20
    used_bytes: int = 20_000 * 2**20
    reasons: int = 0
    violations_ns: dict[int, int] = field(default_factory=lambda: {0: 2_500_000_000, 1: 0})
    ecc: tuple[int, int] = (3, 0)
    replays: int = 5
    rows: tuple[int, int, int, int] = (1, 0, 0, 0)
    pcie_kb: tuple[int, int] = (1000, 2000)
    pcie_bytes: tuple[int, int] = (123_456, 654_321)
    nvlink_kib: tuple[int, int] | None = None
    recovery: int = 0
    processes: dict[int, int] = field(default_factory=dict)
    samples: list[tuple[int, int, int]] = field(default_factory=list)
    gpm: dict[int, float] | None = None
    mig: list[FakeMig] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)


@dataclass
class FakeMig:
    uuid: str
    instance: int
    total_bytes: int = 10 * 2**30
    used_bytes: int = 2**30
    gpm: dict[int, float] = field(default_factory=dict)


class FakeLibrary:
    """The library. ``hooks`` run before the function of that name, and may block or raise."""

    def __init__(self, gpus: list[FakeGpu], init_result: int = OK) -> None:
        self.gpus = gpus
        self.init_result = init_result
        self.hooks: dict[str, Callable[[], None]] = {}
        self.xids: list[tuple[int, int]] = []
        self.calls: list[str] = []
        self.samples = 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        function = getattr(type(self), f"c_{name}", None)
        if function is None:
            raise AttributeError(name)

        def call(*args: Any) -> int:
            self.calls.append(name)
            if name in self.hooks:
                self.hooks[name]()
            handle = number_of(args[0]) if args and isinstance(args[0], pynvml.c_nvmlDevice_t) else None
            if handle is not None:
                failing = self.gpu(handle).failing
                if name in failing:
                    return failing[name]
            return int(function(self, *args))

        return call

    def gpu(self, handle: int) -> FakeGpu:
        return self.gpus[(handle % MIG_HANDLES) // 16 - 1]

    def instance(self, handle: int) -> FakeMig | None:
        return self.gpu(handle).mig[handle // MIG_HANDLES - 1] if handle >= MIG_HANDLES else None

    def c_nvmlInitWithFlags(self, _flags: Any) -> int:  # noqa: N802 - the library's names
        return self.init_result

    def c_nvmlShutdown(self) -> int:  # noqa: N802
        return OK

    def c_nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self.gpus)
        return OK

    def c_nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:  # noqa: N802
        point(handle, 16 * (index.value + 1))
        return OK

    def c_nvmlDeviceGetUUID(self, handle: Any, buffer: Any, _size: Any) -> int:  # noqa: N802
        number = number_of(handle)
        mig = self.instance(number)
        buffer.value = (mig or self.gpu(number)).uuid.encode()
        return OK

    def c_nvmlDeviceGetName(self, handle: Any, buffer: Any, _size: Any) -> int:  # noqa: N802
        buffer.value = self.gpu(number_of(handle)).name.encode()
        return OK

    def c_nvmlDeviceGetMigMode(self, handle: Any, current: Any, pending: Any) -> int:  # noqa: N802
        current._obj.value = pending._obj.value = int(bool(self.gpu(number_of(handle)).mig))
        return OK

    def c_nvmlDeviceGetMaxMigDeviceCount(self, _handle: Any, count: Any) -> int:  # noqa: N802
        count._obj.value = 7
        return OK

    def c_nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: Any, out: Any) -> int:  # noqa: N802
        number = number_of(handle)
        if index.value >= len(self.gpu(number).mig):
            return NOT_FOUND
        point(out, MIG_HANDLES * (index.value + 1) + number)
        return OK

    def c_nvmlDeviceGetGpuInstanceId(self, handle: Any, out: Any) -> int:  # noqa: N802
        mig = self.instance(number_of(handle))
        assert mig is not None
        out._obj.value = mig.instance
        return OK

    def c_nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: Any, out: Any) -> int:  # noqa: N802
        point(out, number_of(handle) % MIG_HANDLES)
        return OK

    def c_nvmlDeviceGetUtilizationRates(self, handle: Any, out: Any) -> int:  # noqa: N802
        gpu = self.gpu(number_of(handle))
        out._obj.gpu, out._obj.memory = gpu.gpu_percent, gpu.memory_percent
        return OK

    def c_nvmlDeviceGetMemoryInfo_v2(self, handle: Any, out: Any) -> int:  # noqa: N802
        number = number_of(handle)
        memory = self.instance(number) or self.gpu(number)
        out._obj.total, out._obj.used = memory.total_bytes, memory.used_bytes
        return OK

    def c_nvmlDeviceGetPowerUsage(self, handle: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = self.gpu(number_of(handle)).power_mw
        return OK

    def c_nvmlDeviceGetEnforcedPowerLimit(self, handle: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = self.gpu(number_of(handle)).power_limit_mw
        return OK

    def c_nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, out: Any) -> int:  # noqa: N802
        energy = self.gpu(number_of(handle)).energy_mj
        if energy is None:
            return NOT_SUPPORTED
        out._obj.value = energy
        return OK

    def c_nvmlDeviceGetTemperature(self, handle: Any, _sensor: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = self.gpu(number_of(handle)).temperature
        return OK

    def c_nvmlDeviceGetTemperatureThreshold(self, _handle: Any, kind: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = {0: 95, 1: 90}[kind.value]
        return OK

    def c_nvmlDeviceGetClockInfo(self, handle: Any, kind: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = self.gpu(number_of(handle)).clocks_mhz[kind.value]
        return OK

    def c_nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = self.gpu(number_of(handle)).reasons
        return OK

    def c_nvmlDeviceGetViolationStatus(self, handle: Any, policy: Any, out: Any) -> int:  # noqa: N802
        found = self.gpu(number_of(handle)).violations_ns.get(policy.value)
        if found is None:
            return NOT_SUPPORTED
        out._obj.violationTime = found
        return OK

    def c_nvmlDeviceGetTotalEccErrors(self, handle: Any, kind: Any, _counter: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = self.gpu(number_of(handle)).ecc[kind.value]
        return OK

    def c_nvmlDeviceGetPcieReplayCounter(self, handle: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = self.gpu(number_of(handle)).replays
        return OK

    def c_nvmlDeviceGetRemappedRows(self, handle: Any, *outs: Any) -> int:  # noqa: N802
        for out, value in zip(outs, self.gpu(number_of(handle)).rows, strict=True):
            out._obj.value = value
        return OK

    def c_nvmlDeviceGetPcieThroughput(self, handle: Any, counter: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = self.gpu(number_of(handle)).pcie_kb[counter.value]
        return OK

    def c_nvmlDeviceGetCurrPcieLinkGeneration(self, _handle: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = 5
        return OK

    def c_nvmlDeviceGetCurrPcieLinkWidth(self, _handle: Any, out: Any) -> int:  # noqa: N802
        out._obj.value = 16
        return OK

    def c_nvmlDeviceGetFieldValues(self, handle: Any, count: Any, out: Any) -> int:  # noqa: N802
        gpu = self.gpu(number_of(handle))
        known: dict[int, tuple[int, str, int]] = {
            pynvml.NVML_FI_DEV_MEMORY_TEMP: (1, "uiVal", gpu.memory_temperature),
            pynvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES: (3, "ullVal", gpu.pcie_bytes[0]),
            pynvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES: (3, "ullVal", gpu.pcie_bytes[1]),
            pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION: (1, "uiVal", gpu.recovery),
        }
        if gpu.nvlink_kib is not None:
            known[pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX] = (3, "ullVal", gpu.nvlink_kib[0])
            known[pynvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX] = (3, "ullVal", gpu.nvlink_kib[1])
        for index in range(count.value):
            answer = out._obj[index]
            if answer.fieldId not in known:
                answer.nvmlReturn = NOT_SUPPORTED
                continue
            answer.valueType, member, value = known[answer.fieldId]
            setattr(answer.value, member, value)
        return OK

    def c_nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Any, count: Any, out: Any) -> int:  # noqa: N802
        processes = self.gpu(number_of(handle)).processes
        if out is None:
            count._obj.value = len(processes)
            return INSUFFICIENT_SIZE if processes else OK
        count._obj.value = len(processes)
        for index, (pid, used) in enumerate(processes.items()):
            out[index].pid, out[index].usedGpuMemory = pid, used
        return OK

    def c_nvmlDeviceGetProcessUtilization(self, handle: Any, out: Any, count: Any, since: Any) -> int:  # noqa: N802
        samples = [s for s in self.gpu(number_of(handle)).samples if s[1] > since.value]
        if not samples:
            return NOT_FOUND
        count._obj.value = len(samples)
        if out is None:
            return INSUFFICIENT_SIZE
        for index, (pid, at, percent) in enumerate(samples):
            out[index].pid, out[index].timeStamp, out[index].smUtil = pid, at, percent
        return OK

    def c_nvmlGpmQueryDeviceSupport(self, handle: Any, out: Any) -> int:  # noqa: N802
        out._obj.isSupportedDevice = int(self.gpu(number_of(handle)).gpm is not None)
        return OK

    def c_nvmlGpmSampleAlloc(self, out: Any) -> int:  # noqa: N802
        self.samples += 1
        point(out, 256 * self.samples)
        return OK

    def c_nvmlGpmSampleGet(self, handle: Any, sample: Any) -> int:  # noqa: N802
        self.sampled = self.gpu(number_of(handle)).gpm
        return OK

    def c_nvmlGpmMigSampleGet(self, handle: Any, instance: Any, sample: Any) -> int:  # noqa: N802
        self.sampled = next(m.gpm for m in self.gpu(number_of(handle)).mig if m.instance == instance.value)
        return OK

    def c_nvmlGpmMetricsGet(self, request: Any) -> int:  # noqa: N802
        wanted = request._obj
        if number_of(wanted.sample1) == number_of(wanted.sample2):
            return 2
        for index in range(wanted.numMetrics):
            metric = wanted.metrics[index]
            value = (self.sampled or {}).get(metric.metricId)
            metric.nvmlReturn, metric.value = (NOT_SUPPORTED, 0.0) if value is None else (OK, value)
        return OK

    def c_nvmlEventSetCreate(self, out: Any) -> int:  # noqa: N802
        point(out, 99)
        return OK

    def c_nvmlDeviceRegisterEvents(self, _handle: Any, _kinds: Any, _set: Any) -> int:  # noqa: N802
        return OK

    def c_nvmlEventSetWait_v2(self, _set: Any, out: Any, _timeout: Any) -> int:  # noqa: N802
        if not self.xids:
            return TIMEOUT
        index, xid = self.xids.pop(0)
        out._obj.eventType, out._obj.eventData = pynvml.nvmlEventTypeXidCriticalError, xid
        ctypes.memmove(ctypes.addressof(out._obj), ctypes.byref(ctypes.c_void_p(16 * (index + 1))), 8)
        return OK


def number_of(handle: Any) -> int:
    """The address that a handle holds."""
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def point(reference: Any, address: int) -> None:
    """Make the handle behind ``reference`` hold ``address``."""
    ctypes.memmove(ctypes.addressof(reference._obj), ctypes.byref(ctypes.c_void_p(address)), 8)


@contextmanager
def driver(library: FakeLibrary) -> Iterator[FakeLibrary]:
    """Put ``library`` where the binding has loaded libnvidia-ml."""
    before, cache = pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache)
    pynvml.nvmlLib = library
    pynvml._nvmlGetFunctionPointer_cache.clear()
    try:
        yield library
    finally:
        pynvml.nvmlLib = before
        pynvml._nvmlGetFunctionPointer_cache.clear()
        pynvml._nvmlGetFunctionPointer_cache.update(cache)
