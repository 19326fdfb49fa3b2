"""Infrastructure: are power, heat and hardware in order."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import ANY_IS_BAD, stat_panel, timeseries_panel
from grafana.queries.promql import Prom, increase, last, only_where, rate, raw, select, total
from grafana.queries.truth import whole_run

OF_GPU: Final = ("device",)
NO_GPU_NUMBER: Final = "there is no GPU"
NO_GPU: Final = "there is no GPU, or its driver does not answer (see the faults of the sensors below)"
_NOT_THIS_GPU: Final = "there is no GPU, or it does not report that"


def _held_back(name: str, by: str) -> Prom:
    return only_where(rate(name, *OF_GPU, by), "> 0")


def _energy() -> Prom:
    """Energy of all GPUs over the whole run."""
    text = f"sum({whole_run('increase', select('hw.energy'))})"
    return raw(text, unit="joule", signals=("hw.energy",))


HEALTH: Final = Row(
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
            "Share of time with throttled clocks",
            "Nothing but idle and application clocks; sw_power_cap is the power limit at work.",
            (
                "{{device}} {{throttle_reason}}",
                _held_back("esper.gpu.throttle.time", "throttle_reason"),
            ),
            (
                "{{device}} driver: {{violation}}",
                _held_back("esper.gpu.violation.time", "violation"),
            ),
            empty="the clocks were not throttled, or there is no GPU",
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
            "Empty. Occasional corrected errors are harmless.",
            ("{{device}} {{error_type}}", only_where(increase("hw.errors", *OF_GPU, "error_type"), "> 0")),
            ("{{device}} XID {{xid}}", only_where(increase("esper.gpu.xid_errors", *OF_GPU, "xid"), "> 0")),
            unit="none",
            empty="no errors, or no GPU",
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
            empty=NO_GPU_NUMBER,
        ),
        stat_panel(
            "energy",
            "Energy since the run began",
            "Energy used by the run's GPUs.",
            ("all", _energy()),
            ("for updates", total("esper.gpu.update_energy")),
            width=12,
            decimals=1,
            horizontal=True,
            empty=NO_GPU_NUMBER,
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
            width=24,
            empty=_NOT_THIS_GPU,
        ),
    ),
    is_open=False,
)
