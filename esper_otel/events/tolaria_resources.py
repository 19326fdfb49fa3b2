"""Time and memory of the hosts' training: phases, allocator, infrastructure, throughput (plan, Appendix D)."""

from typing import Annotated

import msgspec

from esper_otel.events.declare import (
    Domain,
    Event,
    Severity,
    Tier,
    counter,
    declares,
    gauge,
    gibibytes,
    milliseconds,
    note,
    total,
)
from esper_otel.events.limits import STABILITY, above
from esper_otel.events.types import Real, Text, Whole


class PhaseTiming(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Time spent in one phase."""

    wall_ms: Annotated[Real, note("Elapsed time, ms.", milliseconds("tolaria.phase.duration"))] = None
    python_cpu_ms: Annotated[
        Real, note("CPU time of the dispatching thread, ms.", counter("tolaria.phase.cpu_time", unit="s", scale=1e-3))
    ] = None
    python_cpu_ratio: Annotated[
        Real,
        note("CPU time over elapsed time, 0 to 1; near 1 means bound by Python.", gauge("tolaria.phase.cpu_fraction")),
    ] = None


@declares("PHASE_PROFILE_COMPLETED", domain=Domain.TOLARIA, epoch_field="epoch")
class PhaseProfile(Event, frozen=True, kw_only=True):
    """Time by phase of one epoch, or of the policy update."""

    phases: Annotated[dict[str, PhaseTiming] | None, note("Time by phase.", key="phase")] = None
    epoch: Annotated[Whole, note("Epoch within the episode, from 1.")] = None
    batch_idx: Annotated[Whole, note("Number of the batch (round), from 1.")] = None


@declares(
    "ALLOCATOR_STATS", domain=Domain.TOLARIA, severity=Severity.DEBUG, attributes=("device",), epoch_field="batch_idx"
)
class AllocatorStats(Event, frozen=True, kw_only=True):
    """State of the CUDA caching allocator of one device."""

    device: Annotated[Text, note("CUDA device.")] = None
    batch_idx: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    allocated_bytes: Annotated[
        Whole, note("Bytes in live tensors.", gauge("tolaria.allocator.allocated", unit="By"))
    ] = None
    reserved_bytes: Annotated[
        Whole, note("Bytes that the allocator holds.", gauge("tolaria.allocator.reserved", unit="By"))
    ] = None
    active_bytes: Annotated[Whole, note("Bytes in blocks in use.", gauge("tolaria.allocator.active", unit="By"))] = None
    inactive_bytes: Annotated[
        Whole, note("Bytes cached and split, not in use.", gauge("tolaria.allocator.inactive", unit="By"))
    ] = None
    peak_bytes: Annotated[
        Whole, note("Largest allocation so far, bytes.", gauge("tolaria.allocator.peak", unit="By"))
    ] = None
    fragmentation_bytes: Annotated[
        Whole, note("Reserved minus allocated bytes.", gauge("tolaria.allocator.fragmented", unit="By"))
    ] = None
    allocated_delta_bytes: Annotated[
        Whole,
        note(
            "Change of the allocated bytes since the last batch; steady growth is a leak.",
            gauge("tolaria.allocator.allocated_delta", unit="By"),
        ),
    ] = None
    num_alloc_retries: Annotated[
        Whole,
        note(
            "Allocations that needed a cache flush, running total.", total("tolaria.allocator.retries", unit="{retry}")
        ),
    ] = None
    num_ooms: Annotated[
        Whole, note("Out-of-memory errors, running total.", total("tolaria.allocator.ooms", unit="{error}"))
    ] = None


@declares("TOLARIA_INFRASTRUCTURE_SNAPSHOT", domain=Domain.TOLARIA, attributes=("device",), epoch_field="batch_idx")
class InfrastructureSnapshot(Event, frozen=True, kw_only=True):
    """Infrastructure health over the last N batches (plan, Appendix D.7)."""

    device: Annotated[Text, note("Device that was measured.")] = None
    batch_idx: Annotated[Whole, note("Number of the last batch covered, from 1.")] = None
    batch_window: Annotated[Whole, note("Batches that the snapshot covers.")] = None
    cuda_memory_allocated_gb: Annotated[
        Real, note("Tensor memory on the device, GiB.", gibibytes("tolaria.cuda_memory.allocated"))
    ] = None
    cuda_memory_reserved_gb: Annotated[
        Real, note("Memory that the allocator holds, GiB.", gibibytes("tolaria.cuda_memory.reserved"))
    ] = None
    cuda_memory_active_gb: Annotated[
        Real, note("Memory in blocks in use, GiB.", gibibytes("tolaria.cuda_memory.active"))
    ] = None
    cuda_memory_inactive_gb: Annotated[
        Real, note("Memory cached but not in use, GiB.", gibibytes("tolaria.cuda_memory.inactive"))
    ] = None
    cuda_memory_peak_gb: Annotated[
        Real, note("Largest tensor memory so far, GiB.", gibibytes("tolaria.cuda_memory.peak"))
    ] = None
    cuda_memory_fragmentation: Annotated[
        Real,
        note(
            "1 - allocated / reserved, 0 to 1.",
            gauge("tolaria.cuda_memory.fragmentation"),
            limits=above(0.2, 0.3, STABILITY),
        ),
    ] = None
    memory_allocated_delta_gb: Annotated[
        Real,
        note("Change of tensor memory since the last snapshot, GiB.", gibibytes("tolaria.cuda_memory.allocated_delta")),
    ] = None
    cuda_oom_events: Annotated[
        Whole, note("Out-of-memory errors, running total.", total("tolaria.cuda_memory.ooms", unit="{error}"))
    ] = None
    gpu_utilization_pct: Annotated[
        Real,
        note(
            "Utilisation of the device, 0 to 100.",
            gauge("tolaria.gpu_utilization.ratio", unit="1", scale=0.01),
            tier=Tier.MEDIUM,
        ),
    ] = None
    gpu_memory_bandwidth_pct: Annotated[
        Real,
        note(
            "Utilisation of the memory bus, 0 to 100.",
            gauge("tolaria.gpu_memory_bandwidth.ratio", unit="1", scale=0.01),
            tier=Tier.MEDIUM,
        ),
    ] = None
    compile_graph_breaks: Annotated[
        Whole,
        note(
            "torch.compile graph breaks, running total.",
            total("tolaria.compile.graph_breaks", unit="{break}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    compile_recompilations: Annotated[
        Whole,
        note(
            "torch.compile recompilations, running total.",
            total("tolaria.compile.recompilations", unit="{recompilation}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    compile_cache_hits: Annotated[
        Whole,
        note(
            "Compiler cache hits, running total.", total("tolaria.compile.cache_hits", unit="{hit}"), tier=Tier.MEDIUM
        ),
    ] = None
    compile_cache_misses: Annotated[
        Whole,
        note(
            "Compiler cache misses, running total.",
            total("tolaria.compile.cache_misses", unit="{miss}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    dynamo_guard_failures: Annotated[
        Whole,
        note(
            "Guard failures that caused a recompilation, running total.",
            total("tolaria.compile.guard_failures", unit="{failure}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    avg_forward_time_ms: Annotated[
        Real, note("Mean time of a forward pass, ms.", gauge("tolaria.forward.mean_duration", unit="s", scale=1e-3))
    ] = None
    avg_backward_time_ms: Annotated[
        Real, note("Mean time of a backward pass, ms.", gauge("tolaria.backward.mean_duration", unit="s", scale=1e-3))
    ] = None
    avg_optimizer_time_ms: Annotated[
        Real,
        note(
            "Mean time of an optimiser step, ms.", gauge("tolaria.optimizer_step.mean_duration", unit="s", scale=1e-3)
        ),
    ] = None
    avg_data_transfer_time_ms: Annotated[
        Real,
        note("Mean time of a data transfer, ms.", gauge("tolaria.data_transfer.mean_duration", unit="s", scale=1e-3)),
    ] = None
    process_cpu_time_s: Annotated[
        Real, note("CPU time of the training process so far, s.", total("tolaria.process.cpu_time", unit="s"))
    ] = None
    process_memory_bytes: Annotated[
        Whole, note("Resident memory of the training process, bytes.", gauge("tolaria.process.memory_usage", unit="By"))
    ] = None


@declares(
    "TOLARIA_THROUGHPUT",
    domain=Domain.TOLARIA,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="throughput",
    epoch_field="episodes_completed",
)
class Throughput(Event, frozen=True, kw_only=True):
    """Throughput of host training."""

    env_id: Annotated[Whole, note("Environment, if the figures are for a single one.")] = None
    batch: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[Whole, note("Episodes finished so far.")] = None
    fps: Annotated[Real, note("Environment steps in a second.", gauge("tolaria.steps_rate"))] = None
    samples: Annotated[
        Whole,
        note(
            "Samples that the data loaders of a training loop gave since the previous such event.",
            counter("tolaria.samples", unit="{sample}"),
        ),
    ] = None
    step_time_ms: Annotated[
        Real, note("Mean time of an environment step, ms.", gauge("tolaria.step.mean_duration", unit="s", scale=1e-3))
    ] = None
    dataloader_wait_ms: Annotated[
        Real,
        note("Mean wait for data in a step, ms.", gauge("tolaria.dataloader_wait.mean_duration", unit="s", scale=1e-3)),
    ] = None
