"""GPU metrics as the driver reports them, sampled by the relay.

Where OpenTelemetry's conventions have a metric (``hw.*``) its name is used; what they do not cover is ``esper.gpu.*``.
``hw.gpu.utilization`` and ``hw.gpu.memory.utilization`` are plain numbers from 0 to 1 here and not of unit ``1``: some
translators append ``_ratio`` for that unit and others do not, and a metric has one Prometheus name on every path.
"""

from typing import Final

from esper_otel.events.declare import Threshold
from esper_otel.events.limits import above
from esper_otel.signals.own_signal import OwnSignal, own_signal

_STATUS: Final = "Limits of esper-lite's system status."

GPU: Final = ("hw.id", "hw.name", "hw.type", "device")
"""Attributes of every metric of a GPU: its UUID, its model, ``gpu``, and its name in torch (``cuda:0``)."""


def _gpu(
    name: str, instrument: str, unit: str, description: str, *attributes: str, limits: Threshold | None = None
) -> OwnSignal:
    return own_signal(name, instrument, unit, description, *GPU, *attributes, limits=limits)


UTILIZATION: Final = _gpu(
    "hw.gpu.utilization",
    "gauge",
    "",
    "Share of time during which the GPU worked on the task, 0 to 1.",
    "hw.gpu.task",
    limits=above(0.8, 0.95, _STATUS),
)
MEMORY_BUSY: Final = _gpu(
    "esper.gpu.memory_io.utilization", "gauge", "", "Share of time during which memory was read or written, 0 to 1."
)
MEMORY_LIMIT: Final = _gpu("hw.gpu.memory.limit", "updowncounter", "By", "Memory of the GPU.")
MEMORY_USAGE: Final = _gpu("hw.gpu.memory.usage", "updowncounter", "By", "Memory in use by anyone.")
MEMORY_UTILIZATION: Final = _gpu(
    "hw.gpu.memory.utilization", "gauge", "", "Memory in use over memory, 0 to 1.", limits=above(0.75, 0.9, _STATUS)
)
POWER: Final = _gpu("hw.power", "gauge", "W", "Power draw.")
POWER_LIMIT: Final = _gpu("esper.gpu.power_limit", "gauge", "W", "Power limit in force.")
ENERGY: Final = _gpu("hw.energy", "counter", "J", "Energy used since the driver was loaded, or since sampling began.")
TEMPERATURE: Final = _gpu(
    "hw.temperature",
    "gauge",
    "Cel",
    "Temperature.",
    "hw.sensor_location",
    limits=above(80.0, None, "Limits of esper-lite's web dashboard."),
)
TEMPERATURE_LIMIT: Final = _gpu(
    "hw.temperature.limit", "gauge", "Cel", "Temperature limit at which the driver intervenes.", "hw.limit_type"
)
CLOCK: Final = _gpu("esper.gpu.clock", "gauge", "Hz", "Clock rate.", "clock")
THROTTLE_TIME: Final = _gpu(
    "esper.gpu.throttle.time",
    "counter",
    "s",
    "Time during which the clocks were throttled, by reason, estimated from samples.",
    "throttle_reason",
)
VIOLATION_TIME: Final = _gpu(
    "esper.gpu.violation.time",
    "counter",
    "s",
    "Time during which a limit throttled the clocks, by limit, as counted by the driver.",
    "violation",
)
ERRORS: Final = _gpu("hw.errors", "counter", "{error}", "Hardware errors.", "error.type")
XID_ERRORS: Final = _gpu("esper.gpu.xid_errors", "counter", "{error}", "XID errors that the driver reported.", "xid")
LAST_XID: Final = _gpu("esper.gpu.last_xid", "gauge", "", "Code of the latest XID error; absent before the first.")
REMAPPED_ROWS: Final = _gpu(
    "esper.gpu.remapped_rows", "gauge", "{row}", "Memory rows remapped after errors.", "error.type"
)
REMAP_PENDING: Final = _gpu("esper.gpu.row_remap_pending", "gauge", "", "1 while a remapping waits for a reset.")
REMAP_FAILED: Final = _gpu("esper.gpu.row_remap_failed", "gauge", "", "1 after a remapping failed: replace the GPU.")
STATUS: Final = _gpu(
    "hw.status",
    "updowncounter",
    "",
    "1 for the current state of the GPU: degraded when it asks for a reset, failed when it is lost.",
    "hw.state",
)
IO: Final = _gpu("hw.gpu.io", "counter", "By", "Bytes over PCIe.", "network.io.direction")
PCIE_RATE: Final = _gpu(
    "esper.gpu.pcie.throughput", "gauge", "By/s", "Rate over PCIe in a short window.", "network.io.direction"
)
PCIE_GENERATION: Final = _gpu("esper.gpu.pcie.generation", "gauge", "", "Generation of the PCIe link now.")
PCIE_WIDTH: Final = _gpu("esper.gpu.pcie.width", "gauge", "{lane}", "Lanes of the PCIe link now.")
NVLINK_IO: Final = _gpu("esper.gpu.nvlink.io", "counter", "By", "Bytes over NVLink.", "network.io.direction")
PROCESS_UTILIZATION: Final = _gpu(
    "esper.gpu.process.utilization",
    "gauge",
    "",
    "Share of time during which the processes of this run, or of others, used the GPU, 0 to 1.",
    "share",
)
PROCESS_MEMORY: Final = _gpu(
    "esper.gpu.process.memory", "gauge", "By", "Memory of the processes of this run, or of others.", "share"
)
ACTIVITY: Final = _gpu(
    "esper.gpu.activity",
    "gauge",
    "",
    "Share of the peak of a part of the GPU, 0 to 1, between two samples (GPM; Hopper and newer).",
    "gpu_unit",
)
UPDATE_ENERGY: Final = own_signal(
    "esper.gpu.update_energy",
    "counter",
    "J",
    "Energy used between policy updates, running total.",
    "device",
)
ENERGY_PER_UPDATE: Final = own_signal(
    "esper.gpu.energy_per_update",
    "gauge",
    "J",
    "Energy used for the last policy update, measured from the end of the previous one.",
    "device",
)
SNAPSHOT_AGE: Final = own_signal(
    "esper.nvml.snapshot_age", "gauge", "s", "Age of the GPU figures; grows while the driver does not respond."
)
CALLS: Final = own_signal("esper.nvml.calls", "counter", "{call}", "Calls to the GPU driver.", "call")
CALL_TIME: Final = own_signal("esper.nvml.call.time", "counter", "s", "Time spent in calls to the GPU driver.", "call")
FAULTS: Final = own_signal(
    "esper.nvml.faults", "counter", "{fault}", "Figures that the GPU driver could not give.", "call", "reason"
)

HARDWARE_SIGNALS: Final = (
    UTILIZATION,
    MEMORY_BUSY,
    MEMORY_LIMIT,
    MEMORY_USAGE,
    MEMORY_UTILIZATION,
    POWER,
    POWER_LIMIT,
    ENERGY,
    TEMPERATURE,
    TEMPERATURE_LIMIT,
    CLOCK,
    THROTTLE_TIME,
    VIOLATION_TIME,
    ERRORS,
    XID_ERRORS,
    LAST_XID,
    REMAPPED_ROWS,
    REMAP_PENDING,
    REMAP_FAILED,
    STATUS,
    IO,
    PCIE_RATE,
    PCIE_GENERATION,
    PCIE_WIDTH,
    NVLINK_IO,
    PROCESS_UTILIZATION,
    PROCESS_MEMORY,
    ACTIVITY,
    UPDATE_ENERGY,
    ENERGY_PER_UPDATE,
    SNAPSHOT_AGE,
    CALLS,
    CALL_TIME,
    FAULTS,
)
