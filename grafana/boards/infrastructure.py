"""Infrastructure: are the GPUs busy, does the memory hold, are power, heat and hardware in order."""

from __future__ import annotations

from typing import Final

from grafana.board import Board, Row
from grafana.boards.infrastructure_software import DEVICE_TIME, SENSORS, SOFTWARE
from grafana.limits import FRAGMENTATION
from grafana.panel_kinds import ANY_IS_BAD, stat_panel, timeseries_panel
from grafana.promql import Prom, divided, increase, last, rate, raw, select, total

OF_GPU: Final = ("device",)
NO_GPU: Final = "No GPU, or its driver does not answer: see the faults of the sensors below."
NO_CUDA: Final = "No CUDA device: the caching allocator is not in use."
_NOT_THIS_GPU: Final = "No GPU, or one that does not tell."

_BUSY = Row(
    "Are the GPUs busy?",
    (
        timeseries_panel(
            "utilization",
            "Utilization",
            "High and even. A GPU that idles waits for data, for the interpreter, or for nobody.",
            ("{{device}} busy", last("hw.gpu.utilization", *OF_GPU, hw_gpu_task="general")),
            ("{{device}} memory bus", last("esper.gpu.memory_io.utilization", *OF_GPU)),
            limits=None,
            empty=NO_GPU,
        ),
        timeseries_panel(
            "activity",
            "Activity of the GPU's parts",
            "Tensor cores and memory work when the run uses mixed precision; shares of the peak.",
            ("{{device}} {{gpu_unit}}", last("esper.gpu.activity", *OF_GPU, "gpu_unit")),
            empty="No GPU, or one older than Hopper.",
        ),
        timeseries_panel(
            "shares",
            "Who uses the GPU",
            "This run alone.",
            ("{{device}} {{share}}", last("esper.gpu.process.utilization", *OF_GPU, "share")),
            empty=_NOT_THIS_GPU,
        ),
    ),
)

_MEMORY = Row(
    "Does the memory hold?",
    (
        timeseries_panel(
            "gpu_memory",
            "Memory of the GPU",
            "Flat after the first rounds, with room to the limit.",
            ("{{device}} in use", last("hw.gpu.memory.usage", *OF_GPU)),
            ("{{device}} limit", last("hw.gpu.memory.limit", *OF_GPU)),
            ("{{device}} {{share}}", last("esper.gpu.process.memory", *OF_GPU, "share")),
            empty=NO_GPU,
        ),
        timeseries_panel(
            "allocator",
            "Caching allocator",
            "Allocated is flat from round to round; reserved lies not far above it.",
            ("{{device}} allocated", last("tolaria.allocator.allocated", *OF_GPU)),
            ("{{device}} active", last("tolaria.allocator.active", *OF_GPU)),
            ("{{device}} inactive", last("tolaria.allocator.inactive", *OF_GPU)),
            ("{{device}} reserved", last("tolaria.allocator.reserved", *OF_GPU)),
            ("{{device}} peak", last("tolaria.allocator.peak", *OF_GPU)),
            ("{{device}} change", last("tolaria.allocator.allocated_delta", *OF_GPU)),
            empty=NO_CUDA,
        ),
        timeseries_panel(
            "process",
            "Training process",
            "Memory is flat after the first rounds.",
            ("memory", last("tolaria.process.memory_usage", agg="sum")),
            ("processors in use", rate("tolaria.process.cpu_time")),
            unit="bytes",
            limits=None,
            second={"processors in use": "short"},
            empty="Infrastructure snapshots come every few rounds of the trainer.",
        ),
        stat_panel(
            "memory_health",
            "Memory in trouble",
            "Memory and fragmentation under their limits, no errors, hardly a retry.",
            ("GPU memory", last("hw.gpu.memory.utilization", agg="max")),
            width=4,
            empty=NO_GPU,
        ),
        stat_panel(
            "fragmentation",
            "Fragmentation",
            "Little of what is reserved is not allocated.",
            (
                "fragmented of reserved",
                divided(last("tolaria.allocator.fragmented", agg="max"), last("tolaria.allocator.reserved", agg="max")),
            ),
            limits=FRAGMENTATION,
            width=4,
            empty=NO_CUDA,
        ),
        stat_panel(
            "ooms",
            "Out of memory, and flushes to prevent it",
            "Both 0.",
            ("errors", total("tolaria.allocator.ooms")),
            ("retries", total("tolaria.allocator.retries")),
            limits=ANY_IS_BAD,
            unit="none",
            width=8,
            horizontal=True,
            empty=NO_CUDA,
        ),
    ),
)


def _energy() -> Prom:
    """Energy since the driver was loaded, over all GPUs, within the time shown."""
    text = f"sum(increase({select('hw.energy')}[$__range]))"
    return raw(text, unit="joule", signals=("hw.energy",))


_HEALTH = Row(
    "Are power, heat and hardware in order?",
    (
        timeseries_panel(
            "power",
            "Power",
            "Under the limit that is in force.",
            ("{{device}} draw", last("hw.power", *OF_GPU)),
            ("{{device}} limit", last("esper.gpu.power_limit", *OF_GPU)),
            empty=NO_GPU,
        ),
        timeseries_panel(
            "temperature",
            "Temperature",
            "Well under the temperature at which the driver slows the GPU down.",
            ("{{device}} {{hw_sensor_location}}", last("hw.temperature", *OF_GPU, "hw_sensor_location", agg="max")),
            ("{{device}} {{hw_limit_type}}", last("hw.temperature.limit", *OF_GPU, "hw_limit_type", agg="min")),
            limits="hw.temperature",
            empty=NO_GPU,
        ),
        timeseries_panel(
            "clocks",
            "Clock rates",
            "Flat at the top while the GPU works.",
            ("{{device}} {{clock}}", last("esper.gpu.clock", *OF_GPU, "clock")),
            empty=NO_GPU,
        ),
        timeseries_panel(
            "throttling",
            "Share of time in which clocks were held back",
            "Nothing but idle and application clocks; sw_power_cap is the power limit at work.",
            ("{{device}} {{throttle_reason}}", rate("esper.gpu.throttle.time", *OF_GPU, "throttle_reason")),
            ("{{device}} driver: {{violation}}", rate("esper.gpu.violation.time", *OF_GPU, "violation")),
            empty=NO_GPU,
        ),
        timeseries_panel(
            "energy_per_update",
            "Energy of a policy update",
            "Flat: more energy for the same update is a slower or a hotter GPU.",
            ("{{device}} last update", last("esper.gpu.energy_per_update", *OF_GPU)),
            empty=NO_GPU,
        ),
        timeseries_panel(
            "errors",
            "Hardware errors and XIDs",
            "Nothing. Corrected errors may come now and then.",
            ("{{device}} {{error_type}}", increase("hw.errors", *OF_GPU, "error_type")),
            ("{{device}} XID {{xid}}", increase("esper.gpu.xid_errors", *OF_GPU, "xid")),
            empty=NO_GPU,
        ),
        stat_panel(
            "hardware",
            "Hardware",
            "0 failed, degraded, and rows; no XID at all.",
            ("failed", last("hw.status", agg="max", hw_state="failed")),
            ("degraded", last("hw.status", agg="max", hw_state="degraded")),
            ("remap failed", last("esper.gpu.row_remap_failed", agg="max")),
            ("remap pending", last("esper.gpu.row_remap_pending", agg="max")),
            ("remapped rows", last("esper.gpu.remapped_rows", agg="sum")),
            ("last XID", last("esper.gpu.last_xid", agg="max")),
            limits=ANY_IS_BAD,
            width=12,
            unit="none",
            horizontal=True,
            empty=NO_GPU,
        ),
        stat_panel(
            "energy",
            "Energy in the time shown",
            "What the run costs.",
            ("all", _energy()),
            ("for updates", total("esper.gpu.update_energy")),
            width=12,
            decimals=1,
            horizontal=True,
            empty=NO_GPU,
        ),
        timeseries_panel(
            "links",
            "PCIe and NVLink",
            "Little over PCIe between rounds: hosts and data stay on the GPU.",
            ("{{device}} PCIe {{network_io_direction}}", rate("hw.gpu.io", *OF_GPU, "network_io_direction")),
            (
                "{{device}} NVLink {{network_io_direction}}",
                rate("esper.gpu.nvlink.io", *OF_GPU, "network_io_direction"),
            ),
            width=12,
            empty=_NOT_THIS_GPU,
        ),
    ),
)

INFRASTRUCTURE: Final = Board(
    domain="gpu",
    title="Infrastructure",
    description="Are the GPUs busy, does the memory hold, is the hardware in order, where does device time go.",
    rows=(_BUSY, _MEMORY, _HEALTH, DEVICE_TIME, SOFTWARE, SENSORS),
)
