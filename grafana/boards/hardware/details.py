"""Infrastructure: memory and load as esper-lite's own fields report them, and the links of the GPUs."""

from __future__ import annotations

from typing import Final

from grafana.boards.hardware.health import NO_GPU, OF_GPU
from grafana.layout.board import Row
from grafana.panels.kinds import ANY_IS_BAD, stat_panel, timeseries_panel
from grafana.queries.promql import last, total

_OF_DEVICE: Final = ("device",)
_NO_FIELDS: Final = "no CUDA device, or a producer that does not report these fields"

DETAILS: Final = Row(
    "What do the training's own figures say?",
    (
        timeseries_panel(
            "device_memory",
            "Memory by device, in snapshots",
            "Flat after the first rounds; the peak stays below what the device has.",
            ("allocated {{device}}", last("tolaria.cuda_memory.allocated", *_OF_DEVICE)),
            ("reserved {{device}}", last("tolaria.cuda_memory.reserved", *_OF_DEVICE)),
            ("peak {{device}}", last("tolaria.cuda_memory.peak", *_OF_DEVICE, agg="max")),
            ("in use {{device}}", last("tolaria.cuda_memory.active", *_OF_DEVICE)),
            ("cached {{device}}", last("tolaria.cuda_memory.inactive", *_OF_DEVICE)),
            limits=None,
            empty=_NO_FIELDS,
        ),
        timeseries_panel(
            "device_memory_growth",
            "Growth of tensor memory",
            "Around 0. Always above it is a leak.",
            ("{{device}}", last("tolaria.cuda_memory.allocated_delta", *_OF_DEVICE)),
            empty=_NO_FIELDS,
        ),
        timeseries_panel(
            "update_memory",
            "Memory at the policy update",
            "Flat: the update needs the same each time.",
            ("allocated", last("tamiyo.cuda_memory.allocated", agg="max")),
            ("reserved", last("tamiyo.cuda_memory.reserved", agg="max")),
            ("peak", last("tamiyo.cuda_memory.peak", agg="max")),
            limits=None,
            empty=_NO_FIELDS,
        ),
        timeseries_panel(
            "fragmentation_by_source",
            "Unused share of the reserved memory",
            "Below 20 %.",
            ("snapshots {{device}}", last("tolaria.cuda_memory.fragmentation", *_OF_DEVICE, agg="max")),
            ("policy update", last("tamiyo.cuda_memory.fragmentation", agg="max")),
            limits="tamiyo.cuda_memory.fragmentation",
            unit="percentunit",
            empty=_NO_FIELDS,
        ),
        timeseries_panel(
            "device_load",
            "Load by device, in snapshots",
            "High and even, as the driver's own figures above.",
            ("busy {{device}}", last("tolaria.gpu_utilization.ratio", *_OF_DEVICE)),
            ("memory bus {{device}}", last("tolaria.gpu_memory_bandwidth.ratio", *_OF_DEVICE)),
            empty=_NO_FIELDS,
        ),
        stat_panel(
            "snapshot_ooms",
            "Out-of-memory errors",
            "0.",
            ("errors", total("tolaria.cuda_memory.ooms")),
            limits=ANY_IS_BAD,
            unit="none",
            width=8,
            height=8,
            empty=_NO_FIELDS,
        ),
        timeseries_panel(
            "pcie_throughput",
            "Traffic over PCIe",
            "Bursts while batches are copied. Always near the link's limit, the copies are the bottleneck.",
            (
                "{{device}} {{network_io_direction}}",
                last("esper.gpu.pcie.throughput", *OF_GPU, "network_io_direction"),
            ),
            empty=NO_GPU,
        ),
        timeseries_panel(
            "pcie_link",
            "PCIe link",
            "The generation falls when the GPU idles; under load both are at their maximum.",
            ("generation {{device}}", last("esper.gpu.pcie.generation", *OF_GPU)),
            ("lanes {{device}}", last("esper.gpu.pcie.width", *OF_GPU)),
            unit="short",
            empty=NO_GPU,
        ),
    ),
    is_open=False,
)
