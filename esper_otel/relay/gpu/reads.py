"""Readings of a GPU with one call each: state that the driver keeps, in base units, checked for plausibility."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from esper_otel.events.vocabulary import VIOLATIONS
from esper_otel.relay.gpu.calls import Calls
from esper_otel.relay.gpu.devices import Gpu
from esper_otel.relay.metrics.families import AttributeValues
from esper_otel.signals import hardware as hw
from esper_otel.signals.own_signal import OwnSignal

GpuPoints = dict[OwnSignal, dict[AttributeValues, float]]

ALL_LINKS: Final = 0xFFFFFFFF
"""Scope of an NVLink field that stands for the sum over all links."""

MAX_BYTES: Final = 2.0**63
MAX_COUNT: Final = 2.0**63
NS: Final = 1e-9

_VALUE_MEMBERS: Final = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Member of a field's value by its type number."""


def put(points: GpuPoints, signal: OwnSignal, gpu: Gpu, value: float | None, *rest: str) -> None:
    """Add one point; None is skipped."""
    if value is not None:
        points.setdefault(signal, {})[(*gpu.attributes, *rest)] = value


def utilization(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Share of the time that the GPU, its memory, encoder and decoder were busy."""
    rates = calls.ask(gpu.uuid, "nvmlDeviceGetUtilizationRates", gpu.handle)
    if rates is not None:
        name = "nvmlDeviceGetUtilizationRates"
        put(points, hw.UTILIZATION, gpu, _percent(calls, name, rates.gpu), "general")
        put(points, hw.MEMORY_BUSY, gpu, _percent(calls, name, rates.memory))


def codecs(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Share of the time that the encoder and decoder were busy."""
    for task in ("Encoder", "Decoder"):
        function = f"nvmlDeviceGet{task}Utilization"
        answer = calls.ask(gpu.uuid, function, gpu.handle)
        if answer is not None:
            put(points, hw.UTILIZATION, gpu, _percent(calls, function, answer[0]), task.lower())


def memory(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Memory of the GPU or the MIG instance, without the driver's reserve."""
    name = "nvmlDeviceGetMemoryInfo"
    info = calls.ask(gpu.uuid, name, gpu.handle, calls.nvml.nvmlMemory_v2, variant=(2,))
    if info is None:
        info = calls.ask(gpu.uuid, name, gpu.handle)
    if info is None:
        return
    limit = calls.number(name, info.total, 1, MAX_BYTES)
    usage = calls.number(name, info.used, 0, limit) if limit is not None else None
    put(points, hw.MEMORY_LIMIT, gpu, limit)
    put(points, hw.MEMORY_USAGE, gpu, usage)
    if limit is not None and usage is not None:
        put(points, hw.MEMORY_UTILIZATION, gpu, usage / limit)


def power(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Power draw and the limit in force."""
    for function, signal in (
        ("nvmlDeviceGetPowerUsage", hw.POWER),
        ("nvmlDeviceGetEnforcedPowerLimit", hw.POWER_LIMIT),
    ):
        answer = calls.ask(gpu.uuid, function, gpu.handle)
        if answer is not None:
            put(points, signal, gpu, _scaled(calls.number(function, answer, 0, 100e6), 1e-3))


def temperature(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Temperature of the core; older drivers have the first function only, newer ones will have the second only."""
    answer = None
    for function in ("nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"):
        if answer is None:
            answer = calls.ask(gpu.uuid, function, gpu.handle, calls.nvml.NVML_TEMPERATURE_GPU)
    if answer is not None:
        put(points, hw.TEMPERATURE, gpu, calls.number(function, answer, 0, 200), "gpu_core")


def temperature_limits(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Temperatures at which the driver slows the GPU down and switches it off."""
    function = "nvmlDeviceGetTemperatureThreshold"
    for kind, threshold in (
        ("high.degraded", calls.nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
        ("high.critical", calls.nvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN),
    ):
        answer = calls.ask(gpu.uuid, function, gpu.handle, threshold, variant=(threshold,))
        if answer is not None:
            put(points, hw.TEMPERATURE_LIMIT, gpu, calls.number(function, answer, 0, 200), kind)


def clocks(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """The four clocks, MHz at the driver."""
    function = "nvmlDeviceGetClockInfo"
    for number, clock in enumerate(("graphics", "sm", "memory", "video")):
        answer = calls.ask(gpu.uuid, function, gpu.handle, number, variant=(number,))
        if answer is not None:
            put(points, hw.CLOCK, gpu, _scaled(calls.number(function, answer, 0, 50_000), 1e6), clock)


def violations(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Time that each limit throttled the clocks, as counted by the driver, ns there."""
    function = "nvmlDeviceGetViolationStatus"
    for number, violation in enumerate(VIOLATIONS):
        answer = calls.ask(gpu.uuid, function, gpu.handle, number, variant=(number,))
        if answer is not None:
            seconds = _scaled(calls.number(function, answer.violationTime, 0, 2.0**63), NS)
            put(points, hw.VIOLATION_TIME, gpu, seconds, violation)


def errors(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """ECC errors since the driver was loaded, and PCIe replays."""
    function = "nvmlDeviceGetTotalEccErrors"
    for number, kind in enumerate(("corrected", "uncorrected")):
        answer = calls.ask(gpu.uuid, function, gpu.handle, number, calls.nvml.NVML_VOLATILE_ECC, variant=(number,))
        if answer is not None:
            put(points, hw.ERRORS, gpu, calls.number(function, answer, 0, MAX_COUNT), kind)
    function = "nvmlDeviceGetPcieReplayCounter"
    replays = calls.ask(gpu.uuid, function, gpu.handle)
    if replays is not None:
        put(points, hw.ERRORS, gpu, calls.number(function, replays, 0, MAX_COUNT), "pcie_replay")


def rows(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Memory rows that were replaced by spare ones."""
    function = "nvmlDeviceGetRemappedRows"
    answer = calls.ask(gpu.uuid, function, gpu.handle)
    if answer is None:
        return
    corrected, uncorrected, pending, failed = (calls.number(function, value, 0, 2.0**32) for value in answer)
    put(points, hw.REMAPPED_ROWS, gpu, corrected, "corrected")
    put(points, hw.REMAPPED_ROWS, gpu, uncorrected, "uncorrected")
    put(points, hw.REMAP_PENDING, gpu, pending)
    put(points, hw.REMAP_FAILED, gpu, failed)


def pcie_rate(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Rate over PCIe. Expensive: the driver measures for 20 ms in each call; KB/s there."""
    function = "nvmlDeviceGetPcieThroughput"
    for number, direction in enumerate(("transmit", "receive")):
        answer = calls.ask(gpu.uuid, function, gpu.handle, number, variant=(number,))
        if answer is not None:
            rate = _scaled(calls.number(function, answer, 0, 1e10), 1024.0)
            put(points, hw.PCIE_RATE, gpu, rate, direction)


def pcie_link(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Generation and width of the PCIe link, which falls back when the slot or cable is bad."""
    for function, signal in (
        ("nvmlDeviceGetCurrPcieLinkGeneration", hw.PCIE_GENERATION),
        ("nvmlDeviceGetCurrPcieLinkWidth", hw.PCIE_WIDTH),
    ):
        answer = calls.ask(gpu.uuid, function, gpu.handle)
        if answer is not None:
            put(points, signal, gpu, calls.number(function, answer, 0, 64))


def fields(gpu: Gpu, calls: Calls, points: GpuPoints) -> None:
    """Values that the driver has under field numbers only, in one call: memory temperature, bytes moved, health."""
    nvml = calls.nvml
    wanted: tuple[tuple[int, int], ...] = (
        (nvml.NVML_FI_DEV_MEMORY_TEMP, 0),
        (nvml.NVML_FI_DEV_PCIE_COUNT_TX_BYTES, 0),
        (nvml.NVML_FI_DEV_PCIE_COUNT_RX_BYTES, 0),
        (nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_TX, ALL_LINKS),
        (nvml.NVML_FI_DEV_NVLINK_THROUGHPUT_DATA_RX, ALL_LINKS),
        (nvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, 0),
    )
    answers = calls.ask(gpu.uuid, "nvmlDeviceGetFieldValues", gpu.handle, list(wanted))
    if answers is None:
        return
    hottest, sent, received, link_sent, link_received, action = (_field(calls, answer) for answer in answers)
    if hottest is not None and hottest <= 200:
        put(points, hw.TEMPERATURE, gpu, hottest, "memory")
    put(points, hw.IO, gpu, sent, "transmit")
    put(points, hw.IO, gpu, received, "receive")
    put(points, hw.NVLINK_IO, gpu, _scaled(link_sent, 1024.0), "transmit")
    put(points, hw.NVLINK_IO, gpu, _scaled(link_received, 1024.0), "receive")
    state = "ok" if not action else "degraded"
    for name in ("ok", "degraded", "failed"):
        put(points, hw.STATUS, gpu, float(name == state), name)


def _field(calls: Calls, answer: Any) -> float | None:
    """Value of a field; None if the GPU has none (NVML answers each field by itself)."""
    if answer.nvmlReturn != 0 or not 0 <= answer.valueType < len(_VALUE_MEMBERS):
        return None
    value = getattr(answer.value, _VALUE_MEMBERS[answer.valueType])
    return calls.number("nvmlDeviceGetFieldValues", value, 0, 2.0**63)


def _percent(calls: Calls, function: str, value: Any) -> float | None:
    return _scaled(calls.number(function, value, 0, 100), 0.01)


def _scaled(number: float | None, factor: float) -> float | None:
    return None if number is None else number * factor


Read = Callable[[Gpu, Calls, GpuPoints], None]
"""A way to read some figures of a GPU."""
