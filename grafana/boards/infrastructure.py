"""Infrastructure: are the GPUs busy, does the memory hold, are power, heat and hardware in order."""

from __future__ import annotations

from typing import Final

from grafana.boards.hardware.details import DETAILS
from grafana.boards.hardware.health import HEALTH, NO_GPU, NO_GPU_NUMBER, OF_GPU
from grafana.boards.hardware.software import DEVICE_TIME, SENSORS, SOFTWARE
from grafana.layout.board import Board, Row
from grafana.panels.kinds import ANY_IS_BAD, stat_panel, timeseries_panel
from grafana.panels.limits import FRAGMENTATION
from grafana.queries.promql import divided, last, rate, total

NO_CUDA: Final = "there is no CUDA device, so that the caching allocator is not in use"

_BUSY = Row(
    "Are the GPUs busy?",
    (
        timeseries_panel(
            "utilization",
            "Utilization",
            "High and even. A GPU that idles waits for data or for the interpreter, or has no work.",
            ("{{device}} busy", last("hw.gpu.utilization", *OF_GPU, hw_gpu_task="general")),
            ("{{device}} memory bus", last("esper.gpu.memory_io.utilization", *OF_GPU)),
            ("{{device}} {{share}}", last("esper.gpu.process.utilization", *OF_GPU, "share")),
            limits=None,
            width=12,
            empty=NO_GPU,
        ),
        timeseries_panel(
            "activity",
            "Activity of the GPU's parts",
            "Tensor cores and memory work when the run uses mixed precision; shares of the peak.",
            ("{{device}} {{gpu_unit}}", last("esper.gpu.activity", *OF_GPU, "gpu_unit")),
            unit="percentunit",
            width=12,
            empty="there is no GPU, or one older than Hopper",
        ),
    ),
)

PROCESS: Final = timeseries_panel(
    "process",
    "Training process",
    "Memory is flat after the first rounds.",
    ("memory", last("tolaria.process.memory_usage", agg="sum")),
    ("processors in use", rate("tolaria.process.cpu_time")),
    unit="bytes",
    limits=None,
    second={"processors in use": "short"},
    empty="infrastructure snapshots come every few rounds of the trainer",
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
        PROCESS,
        stat_panel(
            "memory_health",
            "Fullest GPU",
            "Under its limits, with room for a larger batch.",
            ("memory in use", last("hw.gpu.memory.utilization", agg="max")),
            width=4,
            empty=NO_GPU_NUMBER,
        ),
        stat_panel(
            "fragmentation",
            "Fragmented",
            "Most of the reserved memory is allocated.",
            (
                "fragmented of reserved",
                divided(last("tolaria.allocator.fragmented", agg="max"), last("tolaria.allocator.reserved", agg="max")),
            ),
            limits=FRAGMENTATION,
            width=4,
            empty="there is no CUDA device",
        ),
        stat_panel(
            "ooms",
            "Out of memory, and flushes to prevent it",
            "Both 0.",
            ("errors", total("tolaria.allocator.ooms")),
            ("retries", total("tolaria.allocator.retries")),
            limits=ANY_IS_BAD,
            unit="none",
            width=16,
            horizontal=True,
            empty="there is no CUDA device",
        ),
    ),
)

INFRASTRUCTURE: Final = Board(
    domain="gpu",
    title="Infrastructure",
    description="Are the GPUs busy, does the memory hold, is the hardware in order, where does device time go.",
    rows=(_BUSY, _MEMORY, HEALTH, DEVICE_TIME, SOFTWARE, SENSORS, DETAILS),
)
