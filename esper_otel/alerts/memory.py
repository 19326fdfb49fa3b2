"""Alerts about memory, the compiler and mixed precision."""

from typing import Any, Final

from esper_otel.alerts.alert import Alert, on_count, text
from esper_otel.alerts.promql import GPU, RUN, metric, series

_DEVICE: Final = (*RUN, "device")
_BY_DEVICE: Final = ", ".join(_DEVICE)
_BY_GPU: Final = ", ".join(GPU)
_MIB: Final = 1024 * 1024

RECOMPILATIONS: Final = 20
"""More in a quarter of an hour are a storm."""

RECOMPILATIONS_OF_A_FUNCTION: Final = 8
"""As many of one function are one, too: torch's own limit, after which it runs that function uncompiled."""


def _alert(name: str, **fields: Any) -> Alert:
    return Alert(name=name, domain="gpu", **fields)


def _on_count(name: str, counter: str, **fields: Any) -> Alert:
    return on_count(name, counter, domain="gpu", **fields)


def _leak(name: str, memory: str, *, least: int, what: str, reason: str, look: tuple[str, ...], act: str) -> Alert:
    """The floor of the memory in use rises for an hour: caches and peaks come back down, a leak does not."""
    now, before = (f"max by ({_BY_DEVICE}) (min_over_time({metric(memory)}[15m]{at}))" for at in ("", " offset 30m"))
    mebibytes = least // _MIB
    return _alert(
        name,
        severity="warning",
        concern="memory",
        by=_DEVICE,
        expr=f"({now}\n  - {before}) > {least}",
        hold="30m",
        summary=f"{what} of {{{{ $labels.instance }}}} grew by {{{{ $value | humanize1024 }}}}B in 30 min",
        reason=text(f"""
            The lowest use in 15 min rose by more than {mebibytes} MiB in half an hour, for half an hour. {reason}
        """),
        meaning=f"{what} grows and does not come back down.",
        look=look,
        act=act,
        fires={series(memory): f"{4096 * _MIB}+{16 * _MIB}x400"},
        quiet={series(memory): f"{4096 * _MIB}x60 {6144 * _MIB}x300"},
        at=88,
    )


_MEMORY = (
    _on_count(
        "TolariaCudaOutOfMemory",
        "tolaria.allocator.ooms",
        labels={},
        sample={},
        by=_DEVICE,
        severity="critical",
        concern="memory",
        summary='{{ $value | printf "%.0f" }} out-of-memory error(s) on {{ $labels.device }} of {{ $labels.instance }}',
        reason="An out-of-memory error ends a step, and usually the run; one is enough.",
        meaning="The caching allocator could not serve an allocation even after a flush.",
        look=(metric("tolaria.allocator.reserved"), metric("hw.gpu.memory.usage"), metric("esper.gpu.process.memory")),
        act=text("""
            Check whether other processes hold memory (`share=others`); otherwise take smaller batches or fewer
            environments.
        """),
    ),
    _alert(
        "TolariaCudaFragmented",
        severity="warning",
        concern="memory",
        by=_DEVICE,
        expr=f"max by ({_BY_DEVICE}) (\n  {metric('tolaria.allocator.fragmented')}"
        f" / ({metric('tolaria.allocator.reserved')} > 0)\n) > 0.3\n"
        f"and on ({_BY_DEVICE}) max by ({_BY_DEVICE}) ({metric('hw.gpu.memory.utilization')}) > 0.75",
        hold="15m",
        summary=text("""
            {{ $value | humanizePercentage }} of the memory that {{ $labels.instance }} reserved on {{ $labels.device }}
            is not in use, and the GPU is nearly full
        """),
        reason=text("""
            esper-lite's limits are 30 % critical and 75 % of the memory for pressure; with room left, unused reserve is
            harmless.
        """),
        meaning="The allocator holds memory in pieces that are too small for the requests.",
        look=(metric("tolaria.allocator.fragmented"), metric("tolaria.allocator.retries")),
        act="Set `PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True`; avoid shapes that change from batch to batch.",
        fires={
            series("tolaria.allocator.fragmented"): "1x100 4x300",
            series("tolaria.allocator.reserved"): "10x400",
            series("hw.gpu.memory.utilization"): "0.9x400",
        },
        quiet={
            series("tolaria.allocator.fragmented"): "4x400",
            series("tolaria.allocator.reserved"): "10x400",
            series("hw.gpu.memory.utilization"): "0.5x400",
        },
    ),
    _leak(
        "TolariaCudaMemoryLeak",
        "tolaria.allocator.allocated",
        least=256 * _MIB,
        what="Tensor memory",
        reason="A growing host adds some MiB for each seed; 256 MiB every half hour is none of that.",
        look=(
            metric("tolaria.allocator.allocated"),
            metric("tolaria.allocator.allocated_delta"),
            metric("tolaria.model_params"),
        ),
        act=text("""
            Call `torch.cuda.memory._record_memory_history()` and take a snapshot; the usual cause is a loss kept with
            its graph.
        """),
    ),
    _leak(
        "TolariaHostMemoryLeak",
        "tolaria.process.memory_usage",
        least=1024 * _MIB,
        what="Resident memory",
        reason="Data loaders and the compiler's cache fill within minutes of the start.",
        look=(metric("tolaria.process.memory_usage"),),
        act="Run `memray attach PID` and look for objects that grow every round.",
    ),
    _alert(
        "GpuMemoryFull",
        severity="warning",
        concern="memory_full",
        by=GPU,
        expr=f"max by ({_BY_GPU}) ({metric('hw.gpu.memory.utilization')}) > 0.95",
        hold="10m",
        summary="{{ $labels.device }} of {{ $labels.instance }} is {{ $value | humanizePercentage }} full",
        reason=text("""
            Overwatch, esper-lite's web page, turns red at 95 %: the next larger batch ends in an out-of-memory error.
        """),
        meaning="Hardly any memory of the GPU is free.",
        look=(metric("hw.gpu.memory.usage"), metric("esper.gpu.process.memory")),
        sql=text("""
            SELECT timestamp, device, allocated_bytes, reserved_bytes, peak_bytes FROM allocator_stats ORDER BY
            timestamp DESC LIMIT 20
        """),
        act="Take the steps of TolariaCudaOutOfMemory before it fires.",
        fires={series("hw.gpu.memory.utilization"): "0.5x100 0.97x300"},
        quiet={series("hw.gpu.memory.utilization"): "0.9x200 0.97x20 0.9x200"},
    ),
)

_COMPILER = (
    _alert(
        "TolariaRecompilationStorm",
        severity="warning",
        concern="compiler",
        by=RUN,
        expr=f"sum by (job, instance) (increase({metric('tolaria.compile.recompilations')}[15m])) > {RECOMPILATIONS}",
        hold="5m",
        summary='torch.compile recompiled {{ $value | printf "%.0f" }} times in 15 min in {{ $labels.instance }}',
        reason=text(f"""
            torch gives up on a function after {RECOMPILATIONS_OF_A_FUNCTION} recompilations; a growing host causes a
            few for each seed, {RECOMPILATIONS} in a quarter of an hour is more than two functions' worth.
        """),
        meaning="The compiler works more than the model: shapes or guards keep changing.",
        look=(
            f"rate({metric('tolaria.compile.time')}[5m])",
            metric("tolaria.compile.guard_failures"),
            metric("tolaria.compile.graph_breaks"),
        ),
        sql=text("""
            SELECT function, guard, count(*) AS times, sum(compile_time_s) AS seconds FROM tolaria_recompilation GROUP
            BY ALL ORDER BY times DESC LIMIT 20
        """),
        act="`TORCH_LOGS=recompiles` names the guard; mark the dimension dynamic or compile without the seeds.",
        fires={series("tolaria.compile.recompilations"): "0x100 0+2x300"},
        quiet={series("tolaria.compile.recompilations"): "0+2x10 20x390"},
    ),
    _alert(
        "TolariaAmpOverflows",
        severity="warning",
        concern="amp",
        by=_DEVICE,
        expr=f"sum by ({_BY_DEVICE}) (increase({metric('tolaria.amp.overflows')}[15m])) > 20",
        hold="5m",
        summary=text("""
            {{ $value | printf "%.0f" }} steps overflowed in 15 min on {{ $labels.device }} of {{ $labels.instance }}
        """),
        reason=text("""
            The scaler starts at 2^16 and overflows about 16 times at most to find its level, then once in 2,000 steps;
            more than 20 in a quarter of an hour is neither.
        """),
        meaning="Scaled gradients overflow again and again; those steps are skipped.",
        look=(metric("tolaria.amp.loss_scale"), metric("tolaria.amp.state"), metric("tolaria.host_grad_norm_pre_clip")),
        act="Use bfloat16 where the GPU has it; look for an exploding loss.",
        fires={series("tolaria.amp.overflows"): "0x100 0+1x300"},
        quiet={series("tolaria.amp.overflows"): "0x5 0+2x8 16x380"},
    ),
    _alert(
        "TolariaAmpScaleCollapsed",
        severity="critical",
        concern="amp",
        by=_DEVICE,
        expr=f"min by ({_BY_DEVICE}) ({metric('tolaria.amp.loss_scale')}) < 1",
        hold="5m",
        summary="The loss scale on {{ $labels.device }} of {{ $labels.instance }} fell to {{ $value | humanize }}",
        reason="Below 1 the scaler shrinks gradients that are too large without any scaling: they are not finite.",
        meaning="The loss scale is below 1: every step overflows.",
        look=(metric("tolaria.amp.loss_scale"), metric("tolaria.amp.overflows")),
        act="Stop the run; there is a NaN in the weights or the loss. Resume from a checkpoint.",
        fires={series("tolaria.amp.loss_scale"): "65536x100 0.25x300"},
        quiet={series("tolaria.amp.loss_scale"): "65536x100 1x300"},
    ),
)

ALERTS: Final = (*_MEMORY, *_COMPILER)
