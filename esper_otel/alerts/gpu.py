"""Alerts about the hardware of GPUs."""

from typing import Any, Final

from esper_otel.alerts.alert import KEEP, Alert, on_count, text
from esper_otel.alerts.promql import GPU, RUN, metric, series

_BY_GPU: Final = ", ".join(GPU)
_THROTTLES: Final = "~hw_slowdown|sw_thermal|hw_thermal|hw_power_brake"
_HARDWARE_XIDS: Final = "48|61|62|63|64|74|79|92|94|95|119|120"


def _alert(name: str, **fields: Any) -> Alert:
    return Alert(name=name, domain="gpu", **fields)


def _on_count(name: str, counter: str, **fields: Any) -> Alert:
    return on_count(name, counter, domain="gpu", **fields)


ALERTS: Final = (
    _alert(
        "GpuThrottled",
        severity="warning",
        concern="throttle",
        by=(*GPU, "throttle_reason"),
        expr=f"sum by ({_BY_GPU}, throttle_reason) (\n  rate("
        f"{metric('esper.gpu.throttle.time', throttle_reason=_THROTTLES)}[5m])\n) > 0.1",
        hold="10m",
        summary=text("""
            {{ $labels.device }} of {{ $labels.instance }} is throttled {{ $value | humanizePercentage }} of the time
            ({{ $labels.throttle_reason }})
        """),
        reason=text("""
            Throttling a tenth of the time for 10 min lowers the throughput. The software power cap is left out: a fully
            loaded GPU runs at it.
        """),
        meaning="The GPU lowers its clocks because of heat or at the request of its power supply.",
        look=(metric("hw.temperature"), metric("hw.power"), metric("esper.gpu.clock")),
        act="Check the node's cooling; hw_power_brake comes from the power supply.",
        fires={series("esper.gpu.throttle.time", throttle_reason="hw_thermal"): "0x100 0+9x300"},
        quiet={
            series("esper.gpu.throttle.time", throttle_reason="hw_thermal"): "0x100 0+9x8 72x300",
            series("esper.gpu.throttle.time", throttle_reason="sw_power_cap"): "0+15x400",
        },
        sample={"throttle_reason": "hw_thermal"},
    ),
    _alert(
        "GpuHot",
        severity="warning",
        concern="temperature",
        by=GPU,
        expr=f"max by ({_BY_GPU}) ({metric('hw.temperature', hw_sensor_location='gpu_core')}) > 85",
        hold="10m",
        summary="{{ $labels.device }} of {{ $labels.instance }} is at {{ $value | humanize }} °C",
        reason=text("""
            esper-lite's screens turn red above 80; data-centre GPUs slow down from about 87, so 85 is the last warning.
        """),
        meaning="The GPU is about to slow itself down.",
        look=(metric("hw.temperature"), metric("hw.temperature.limit"), metric("hw.power")),
        act="Check the node's cooling.",
        fires={series("hw.temperature", hw_sensor_location="gpu_core"): "60x100 88x300"},
        quiet={series("hw.temperature", hw_sensor_location="gpu_core"): "60x100 82x300"},
    ),
    _alert(
        "GpuEccUncorrected",
        expr=f"sum by ({_BY_GPU}) (increase({metric('hw.errors', error_type='uncorrected')}[15m])) > 0",
        by=GPU,
        keep=KEEP,
        fires={series("hw.errors", error_type="uncorrected"): "2x100 3x140"},
        quiet={series("hw.errors", error_type="uncorrected"): "2x240"},
        at=26,
        severity="critical",
        concern="gpu_hardware",
        summary='{{ $value | printf "%.0f" }} memory error(s) that ECC could not correct on {{ $labels.device }}',
        reason=text("""
            An uncorrected error means that a number was wrong, or that the driver ended the process; one is enough.
        """),
        meaning="The memory of the GPU had an error that could not be corrected.",
        look=(metric("hw.errors"), metric("esper.gpu.remapped_rows"), metric("esper.gpu.row_remap_pending")),
        act=text("""
            Discard results since the last checkpoint before the error. Drain the node and reset the GPU to remap the
            row; replace it when GpuRowRemapFailed fires.
        """),
    ),
    _alert(
        "GpuRowRemapFailed",
        severity="critical",
        concern="gpu_hardware",
        by=GPU,
        expr=f"max by ({_BY_GPU}) ({metric('esper.gpu.row_remap_failed')}) == 1",
        summary="{{ $labels.device }} ({{ $labels.hw_id }}) could not remap a memory row (flag {{ $value }})",
        reason="NVIDIA's rule: a GPU with a failed remapping is replaced.",
        meaning="The spare rows of the GPU's memory are used up.",
        look=(metric("esper.gpu.remapped_rows"),),
        act="Drain the node and have the GPU replaced.",
        fires={series("esper.gpu.row_remap_failed"): "0x100 1x300"},
        quiet={series("esper.gpu.row_remap_failed"): "0x400"},
    ),
    _alert(
        "GpuRowRemapPending",
        severity="warning",
        concern="gpu_hardware",
        by=GPU,
        expr=f"max by ({_BY_GPU}) ({metric('esper.gpu.row_remap_pending')}) == 1",
        hold="5m",
        summary=text("""
            {{ $labels.device }} ({{ $labels.hw_id }}) waits for a reset to remap a memory row (flag {{ $value }})
        """),
        reason="The driver reports it; until the reset the bad row stays in use or is fenced off.",
        meaning="The next reset of the GPU will replace a memory row.",
        look=(metric("esper.gpu.row_remap_pending"), metric("esper.gpu.remapped_rows")),
        act="Reset the GPU when the run is over.",
        fires={series("esper.gpu.row_remap_pending"): "0x100 1x300"},
        quiet={series("esper.gpu.row_remap_pending"): "0x400"},
    ),
    _on_count(
        "GpuXidHardware",
        "esper.gpu.xid_errors",
        labels={"xid": f"~{_HARDWARE_XIDS}"},
        sample={"xid": "79"},
        by=(*GPU, "xid"),
        severity="critical",
        concern="gpu_hardware",
        summary=text("""
            XID {{ $labels.xid }} on {{ $labels.device }} of {{ $labels.instance }} ({{ $value | printf "%.0f" }}
            time(s))
        """),
        reason="These codes are the hardware's or the driver's by NVIDIA's catalogue; one is enough.",
        meaning="The GPU driver reported an error that no program causes: memory, bus, NVLink or firmware.",
        look=(metric("esper.gpu.xid_errors"), metric("hw.status"), metric("hw.errors")),
        act="Look the code up in NVIDIA's XID catalogue; drain the node. 79 is a GPU that fell off the bus.",
    ),
    _on_count(
        "GpuXidApplication",
        "esper.gpu.xid_errors",
        labels={"xid": f"!~{_HARDWARE_XIDS}"},
        sample={"xid": "31"},
        by=(*GPU, "xid"),
        severity="warning",
        concern="gpu_application",
        summary=text("""
            XID {{ $labels.xid }} on {{ $labels.device }} of {{ $labels.instance }} ({{ $value | printf "%.0f" }}
            time(s))
        """),
        reason="These codes are usually a program's own fault, or unknown here; each one ends a process.",
        meaning=text("""
            The GPU driver reported an error that a program may have caused (13: exception, 31: page fault, 43: reset).
        """),
        look=(metric("esper.gpu.xid_errors"),),
        act=text("""
            Run again with `CUDA_LAUNCH_BLOCKING=1` and `compute-sanitizer`; if the error stays on one GPU, the hardware
            is faulty.
        """),
    ),
    _alert(
        "GpuFailed",
        severity="critical",
        concern="gpu_hardware",
        by=GPU,
        expr=f"max by ({_BY_GPU}) ({metric('hw.status', hw_state='failed')}) == 1",
        hold="1m",
        summary="{{ $labels.device }} ({{ $labels.hw_id }}) is lost (failed = {{ $value }})",
        reason="The driver reports the GPU as lost; one minute rules out an intentional reset.",
        meaning="The GPU no longer answers its driver.",
        look=(metric("hw.status"), metric("esper.gpu.last_xid")),
        act="Drain the node; a restart of the machine is usually needed.",
        fires={series("hw.status", hw_state="failed"): "0x100 1x300"},
        quiet={series("hw.status", hw_state="failed"): "0x400", series("hw.status", hw_state="degraded"): "1x400"},
    ),
    _alert(
        "GpuIdle",
        severity="warning",
        concern="idle",
        by=GPU,
        expr=f"max by ({_BY_GPU}) (avg_over_time({metric('hw.gpu.utilization', hw_gpu_task='general')}[15m])) < 0.1\n"
        f"and on (job, instance) (max by (job, instance) ({metric('esper.run.status', esper_run_state='running')}) "
        f"== 1)\n"
        f"and on (job, instance) (max by (job, instance) "
        f"(max_over_time({metric('tolaria.allocator.allocated')}[15m])) > 0)",
        hold="15m",
        summary="{{ $labels.device }} of {{ $labels.instance }} is busy {{ $value | humanizePercentage }} of the time",
        reason=text("""
            A GPU that is busy less than a tenth of half an hour waits for something. Runs without tensors on a GPU are
            left out.
        """),
        meaning="The run continues but the GPU is almost idle.",
        look=(
            metric("hw.gpu.utilization"),
            metric("tamiyo.dataloader_wait_fraction"),
            metric("tolaria.phase.cpu_fraction"),
        ),
        sql=text("""
            SELECT phase_name, sum(wall_ms) / 1000 AS seconds, sum(python_cpu_ms) / sum(wall_ms) AS python_share FROM
            phase_occupancy GROUP BY phase_name ORDER BY seconds DESC
        """),
        act="Check whether Python or the data loader is the bottleneck; run more environments per step.",
        is_symptom=True,
        fires={
            series("hw.gpu.utilization", hw_gpu_task="general"): "0.7x20 0.02x380",
            series("esper.run.status", esper_run_state="running"): "1x400",
            series("tolaria.allocator.allocated"): "1000000x400",
        },
        quiet={
            series("hw.gpu.utilization", hw_gpu_task="general"): "0.02x400",
            series("esper.run.status", esper_run_state="running"): "0x400",
            series("tolaria.allocator.allocated"): "1000000x400",
        },
    ),
    _alert(
        "GpuFiguresStale",
        severity="warning",
        concern="sensors",
        by=RUN,
        expr=f"max by (job, instance) ({metric('esper.nvml.snapshot_age')}) > 120",
        hold="5m",
        summary="The GPU figures of {{ $labels.instance }} are {{ $value | humanizeDuration }} old",
        reason="They are read every few seconds; after two minutes a driver call hangs.",
        meaning="The GPU driver does not answer; all GPU panels and alerts show the past.",
        look=(metric("esper.nvml.snapshot_age"), f"rate({metric('esper.nvml.faults')}[5m])"),
        act="Run `nvidia-smi` on the node: if it hangs too, the driver or a GPU hangs (see GpuXidHardware).",
        is_symptom=True,
        fires={series("esper.nvml.snapshot_age"): "2x100 2+15x300"},
        quiet={series("esper.nvml.snapshot_age"): "2x400"},
    ),
)
