"""Events of the sensors for any PyTorch training loop: phases, gradients, loss scaling, compiler (plan, D.1 to D.5)."""

from typing import Annotated

from esper_otel.events.bounds import NORM
from esper_otel.events.declare import (
    Domain,
    Event,
    Severity,
    Tier,
    counter,
    declares,
    gauge,
    histogram,
    note,
    state,
    total,
)
from esper_otel.events.types import Real, Reals, Text, Texts, Whole

PHASE_SECONDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Durations of one pass through a phase, s: a small kernel to a slow optimiser step."""


@declares("TOLARIA_PHASE_DURATIONS", domain=Domain.TOLARIA, severity=Severity.DEBUG, attributes=("device",))
class PhaseDurations(Event, frozen=True, kw_only=True):
    """All measured passes through the phases since the previous such event."""

    device: Annotated[Text, note("Device whose clock measured; the host's for a CPU.")] = None
    step: Annotated[Whole, note("Training step at which they were collected, from 1.")] = None
    durations_s: Annotated[
        dict[str, tuple[float, ...]] | None,
        note(
            "Time of each pass by phase, s.",
            histogram("tolaria.step_phase.duration", unit="s", bounds=PHASE_SECONDS),
            key="phase",
        ),
    ] = None
    unmeasured: Annotated[
        Whole,
        note(
            "Passes not timed: no CUDA event was free, or a CUDA graph was being captured.",
            counter("tolaria.step_phase.unmeasured", unit="{pass}"),
        ),
    ] = None


@declares("TOLARIA_GRADIENT_STATS", domain=Domain.TOLARIA, attributes=("device", "model"))
class GradientStats(Event, frozen=True, kw_only=True):
    """Gradients of a model by layer, before they are clipped, read once the device computed them."""

    device: Annotated[Text, note("Device that holds them.")] = None
    model: Annotated[Text, note("Model, by the name of its class.")] = None
    step: Annotated[Whole, note("Training step that they belong to, from 1.")] = None
    norm: Annotated[
        Real,
        note(
            "L2 norm over the layers on this device before clipping, of one update a report, beside its layers;"
            " not finite when a layer's is not. pre_clip_grad_norm of TOLARIA_TRAINING_UPDATE has that of every update:"
            " judge a run by that one.",
            gauge("tolaria.gradient.last_norm"),
            histogram("tolaria.gradient.norm", bounds=NORM),
            tier=Tier.MEDIUM,
        ),
    ] = None
    norm_per_layer: Annotated[Reals, note("L2 norm by layer.", tier=Tier.MEDIUM)] = None
    norm_spread: Annotated[
        Real, note("Largest over smallest layer norm above 0.", gauge("tolaria.gradient.norm_spread"), tier=Tier.MEDIUM)
    ] = None
    zero_fraction: Annotated[
        Real, note("Share of entries that are zero, 0 to 1.", gauge("tolaria.gradient.zero_fraction"), tier=Tier.MEDIUM)
    ] = None
    zero_fraction_per_layer: Annotated[
        Reals, note("Share of entries that are zero by layer, 0 to 1.", tier=Tier.MEDIUM)
    ] = None
    nonfinite_layers: Annotated[Texts, note("Layers whose gradient holds NaN or infinity.", tier=Tier.MEDIUM)] = None
    nonfinite_layer_count: Annotated[
        Whole,
        note("Number of these layers.", counter("tolaria.gradient.nonfinite_layers", unit="{layer}"), tier=Tier.MEDIUM),
    ] = None
    dead_layer_count: Annotated[
        Whole,
        note("Layers with over 90 % zero gradient entries.", gauge("tolaria.gradient.dead_layers"), tier=Tier.MEDIUM),
    ] = None
    layers_without_gradient: Annotated[
        Texts,
        note(
            "Layers that the backward pass gave no gradient at all, the first 16: frozen, or no part of the loss.",
            tier=Tier.MEDIUM,
        ),
    ] = None
    layers_without_gradient_count: Annotated[Whole, note("Number of all these layers.", tier=Tier.MEDIUM)] = None


@declares("TOLARIA_AMP_STATE", domain=Domain.TOLARIA, severity=Severity.DEBUG, attributes=("device",))
class AmpState(Event, frozen=True, kw_only=True):
    """Activity of a gradient scaler since the previous such event."""

    device: Annotated[Text, note("Device of the scaler.")] = None
    step: Annotated[Whole, note("Training step of the last reading, from 1.")] = None
    loss_scale: Annotated[Real, note("Loss scale.", gauge("tolaria.amp.loss_scale"), tier=Tier.MEDIUM)] = None
    scaler_state: Annotated[
        Text, note("growing, stable or decaying; a fall counts more than a rise.", state("tolaria.amp.state"))
    ] = None
    scale_changes: Annotated[
        Whole, note("Changes of the loss scale.", counter("tolaria.amp.scale_changes", unit="{change}"))
    ] = None
    overflows: Annotated[
        Whole,
        note(
            "Steps that the scaler skipped because a scaled gradient overflowed.",
            counter("tolaria.amp.overflows", unit="{overflow}"),
        ),
    ] = None


@declares("TOLARIA_GRAPH_BREAK", domain=Domain.TOLARIA, severity=Severity.DEBUG)
class GraphBreak(Event, frozen=True, kw_only=True):
    """torch.compile could not trace on and broke a graph."""

    reason: Annotated[Text, note("Reason, as torch._dynamo reports it.")] = None
    location: Annotated[Text, note("Location in the user's code, file:line.")] = None
    count: Annotated[Whole, note("Occurrences since the previous such event.")] = None


@declares("TOLARIA_RECOMPILATION", domain=Domain.TOLARIA)
class Recompilation(Event, frozen=True, kw_only=True):
    """torch.compile compiled a function again because a guard failed."""

    function: Annotated[Text, note("Function that was compiled.")] = None
    location: Annotated[Text, note("Location of its definition, file:line.")] = None
    guard: Annotated[Text, note("The guard that failed, as torch._dynamo reports it.")] = None
    compile_id: Annotated[Text, note("Frame and attempt, as torch._dynamo numbers them.")] = None
    cache_size: Annotated[Whole, note("Versions of the function before this one.")] = None
    compile_time_s: Annotated[Real, note("Time that it took, s.")] = None


@declares("TOLARIA_COMPILER_STATS", domain=Domain.TOLARIA, severity=Severity.DEBUG)
class CompilerStats(Event, frozen=True, kw_only=True):
    """Totals of torch.compile since the process began or its last reset."""

    graph_breaks: Annotated[Whole, note("Graph breaks.")] = None
    recompilations: Annotated[Whole, note("Recompilations.")] = None
    unique_graphs: Annotated[
        Whole, note("Graphs compiled.", total("tolaria.compile.graphs", unit="{graph}"), tier=Tier.MEDIUM)
    ] = None
    cache_hits: Annotated[dict[str, int] | None, note("Cache hits by cache: inductor, aot_autograd, dynamo.")] = None
    cache_misses: Annotated[dict[str, int] | None, note("Cache misses by cache.")] = None
    cache_bypasses: Annotated[dict[str, int] | None, note("Graphs that could not be cached, by cache.")] = None
    compile_time_s: Annotated[
        Real, note("Wall time spent compiling, s.", total("tolaria.compile.time", unit="s"), tier=Tier.MEDIUM)
    ] = None


@declares("XID_ERROR", domain=Domain.ESPER, severity=Severity.CRITICAL)
class XidError(Event, frozen=True, kw_only=True):
    """The GPU driver reported an XID error; the relay counts it as ``esper.gpu.xid_errors``."""

    device: Annotated[Text, note("GPU by its CUDA ordinal, as torch names it.")] = None
    gpu_id: Annotated[Text, note("GPU by its UUID.")] = None
    gpu_name: Annotated[Text, note("Model of the GPU.")] = None
    xid: Annotated[Whole, note("Code of the error.")] = None
    meaning: Annotated[Text, note("Meaning of the code, if NVIDIA's list has it.")] = None


@declares("SENSOR_FAULT", domain=Domain.ESPER, severity=Severity.WARNING)
class SensorFault(Event, frozen=True, kw_only=True):
    """A sensor could not measure."""

    sensor: Annotated[
        str, note("Sensor: timing, gradients, updates, autolog, pulse, allocator, compiler, amp, utilization.")
    ]
    reason: Annotated[
        str,
        note(
            "Reason: no_device, no_library, no_permission, device_lost, unreadable, too_late, unsupported; of updates"
            " also compiled, sharded, capture, no_gradient."
        ),
    ]
    count: Annotated[
        int, note("Times.", counter("esper.sensor.faults", unit="{fault}", attributes=("sensor", "reason")))
    ]
    detail: Annotated[Text, note("First cause as text.")] = None
