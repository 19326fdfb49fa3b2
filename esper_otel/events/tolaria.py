"""Tolaria, the host's training: epochs, batches, phases, the governor, memory and timing (plan, Appendix D)."""

from typing import Annotated

import msgspec

from esper_otel.events.bounds import NORM, SECONDS
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
    timestamp,
    total,
)

GIB = 2.0**30
"""Factor of the plan's ``*_gb`` fields, which hold GiB as esper-lite writes them."""


class SeedSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What one slot held at the end of a host epoch."""

    stage: Annotated[
        str | None, note("Stage of the slot's seed; DORMANT when the slot is empty.", state("kasmina.seed_state"))
    ] = None
    blueprint_id: Annotated[str | None, note("Blueprint of the seed.", state("kasmina.seed_blueprint"))] = None
    seed_id: Annotated[str | None, note("The seed.")] = None
    alpha: Annotated[float | None, note("Blend weight, 0 to 1.", gauge("kasmina.seed_alpha"))] = None
    alpha_target: Annotated[float | None, note("Blend weight aimed at, 0 to 1.")] = None
    alpha_curve: Annotated[str | None, note("Shape of the alpha ramp that the controller follows.")] = None
    blend_tempo_epochs: Annotated[int | None, note("Epochs that the blend ramp takes.")] = None
    params: Annotated[
        int | None, note("Trainable parameters of the seed.", gauge("kasmina.seed_params", unit="{parameter}"))
    ] = None
    accuracy_delta: Annotated[
        float | None,
        note("Accuracy change since germination, percentage points.", gauge("kasmina.seed_accuracy_delta")),
    ] = None
    epochs_in_stage: Annotated[
        int | None, note("Epochs in the current stage.", gauge("kasmina.seed_epochs_in_stage"))
    ] = None
    gradient_health: Annotated[
        float | None, note("Quality of the seed's gradients, 0 to 1.", gauge("kasmina.seed_gradient_health"))
    ] = None
    gradient_norm: Annotated[float | None, note("L2 norm of the seed's gradient.", gauge("kasmina.seed_grad_norm"))] = (
        None
    )
    has_vanishing: Annotated[bool | None, note("The seed's gradients vanish.", gauge("kasmina.seed_vanishing"))] = None
    has_exploding: Annotated[bool | None, note("The seed's gradients explode.", gauge("kasmina.seed_exploding"))] = None
    contribution: Annotated[
        float | None,
        note("Accuracy with the seed minus without, percentage points.", gauge("kasmina.seed_contribution")),
    ] = None
    contribution_velocity: Annotated[
        float | None, note("Smoothed change of the contribution.", gauge("kasmina.seed_contribution_velocity"))
    ] = None
    interaction_sum: Annotated[
        float | None, note("Sum of the pair interactions with other seeds.", gauge("kasmina.seed_interaction"))
    ] = None
    boost_received: Annotated[float | None, note("Strongest single pair interaction.", gauge("kasmina.seed_boost"))] = (
        None
    )
    upstream_alpha_sum: Annotated[float | None, note("Blend weight of the seeds in earlier slots.")] = None
    downstream_alpha_sum: Annotated[float | None, note("Blend weight of the seeds in later slots.")] = None


@declares(
    "TOLARIA_EPOCH_COMPLETED",
    domain=Domain.TOLARIA,
    legacy="EPOCH_COMPLETED",
    attributes=("env_id",),
    epoch_field="inner_epoch",
    metrics=(
        counter("tolaria.epochs", unit="{epoch}", description="Host epochs completed."),
        timestamp("tolaria.last_epoch.timestamp", description="When the last host epoch completed, Unix time."),
    ),
)
class EpochCompleted(Event, frozen=True, kw_only=True):
    """One environment trained its host for one epoch and validated it."""

    env_id: Annotated[int | None, note("Environment.")] = None
    episode_idx: Annotated[int | None, note("Episode, counted over the run.", gauge("tolaria.current_episode"))] = None
    inner_epoch: Annotated[int | None, note("Epoch within the episode, from 1.", gauge("tolaria.inner_epoch"))] = None
    val_accuracy: Annotated[float | None, note("Validation accuracy of host and blended seeds, 0 to 100.", gauge())] = (
        None
    )
    val_loss: Annotated[float | None, note("Validation loss, nats.", gauge())] = None
    host_train_loss: Annotated[
        float | None, note("Training loss of the host, nats.", gauge("tolaria.train_loss"), aliases=("train_loss",))
    ] = None
    train_accuracy: Annotated[float | None, note("Training accuracy, 0 to 100.", gauge())] = None
    host_grad_norm_pre_clip: Annotated[
        float | None,
        note(
            "L2 norm of the host's gradient before clipping.",
            gauge(),
            histogram("tolaria.host_grad_norm", bounds=NORM),
            aliases=("host_grad_norm",),
        ),
    ] = None
    host_lr: Annotated[float | None, note("Learning rate of the host's optimiser.", gauge())] = None
    host_epoch_time_ms: Annotated[
        float | None,
        note("Wall time of the epoch, ms.", histogram("tolaria.epoch.duration", unit="s", scale=1e-3, bounds=SECONDS)),
    ] = None
    forward_time_ms: Annotated[
        float | None,
        note(
            "Time in the forward pass, ms.", histogram("tolaria.forward.duration", unit="s", scale=1e-3, bounds=SECONDS)
        ),
    ] = None
    backward_time_ms: Annotated[
        float | None,
        note(
            "Time in the backward pass, ms.",
            histogram("tolaria.backward.duration", unit="s", scale=1e-3, bounds=SECONDS),
        ),
    ] = None
    optimizer_step_time_ms: Annotated[
        float | None,
        note(
            "Time in the optimiser step, ms.",
            histogram("tolaria.optimizer_step.duration", unit="s", scale=1e-3, bounds=SECONDS),
        ),
    ] = None
    data_transfer_time_ms: Annotated[
        float | None,
        note(
            "Time moving data to the device, ms.",
            histogram("tolaria.data_transfer.duration", unit="s", scale=1e-3, bounds=SECONDS),
        ),
    ] = None
    grad_norm_per_layer: Annotated[
        dict[str, float] | None, note("Host gradient norm before clipping by layer.", tier=Tier.MEDIUM)
    ] = None
    grad_zero_fraction: Annotated[
        float | None,
        note(
            "Share of the host's gradient entries that are zero, 0 to 1.",
            gauge("tolaria.grad_zero_fraction"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    grad_norm_ratio: Annotated[
        float | None,
        note(
            "Largest over smallest layer gradient norm of the host.",
            gauge("tolaria.grad_norm_spread"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    grad_nan_layers: Annotated[
        tuple[str, ...] | None, note("Host layers whose gradient held NaN.", tier=Tier.MEDIUM)
    ] = None
    dead_layers: Annotated[
        int | None,
        note("Host layers with over 90 % zero gradient entries.", gauge("tolaria.dead_layers"), tier=Tier.MEDIUM),
    ] = None
    exploding_layers: Annotated[
        int | None,
        note(
            "Host layers with over 10 % gradient entries above 10.", gauge("tolaria.exploding_layers"), tier=Tier.MEDIUM
        ),
    ] = None
    total_params: Annotated[
        int | None,
        note("Trainable parameters of host and live seeds.", gauge("tolaria.model_params", unit="{parameter}")),
    ] = None
    seeds: Annotated[dict[str, SeedSnapshot] | None, note("What each slot held.", key="slot")] = None
    device: Annotated[str | None, note("Device of the environment.")] = None


@declares(
    "TOLARIA_BATCH_COMPLETED",
    domain=Domain.TOLARIA,
    legacy="BATCH_EPOCH_COMPLETED",
    epoch_field="episodes_completed",
    metrics=(
        counter("tolaria.batches", unit="{batch}", description="Batches (rounds) completed."),
        timestamp("tolaria.last_batch.timestamp", description="When the last batch completed, Unix time."),
    ),
)
class BatchCompleted(Event, frozen=True, kw_only=True):
    """All environments finished their episode and the policy was updated: the end of a round."""

    batch_idx: Annotated[int | None, note("Number of the round, from 1.", gauge("tolaria.current_batch"))] = None
    episodes_completed: Annotated[
        int | None, note("Episodes finished so far.", gauge("tolaria.episodes_completed"))
    ] = None
    total_episodes: Annotated[int | None, note("Episodes planned for the run.", gauge("tolaria.episodes_planned"))] = (
        None
    )
    n_envs: Annotated[int | None, note("Environments in the batch.", gauge("tolaria.batch_envs"))] = None
    avg_accuracy: Annotated[float | None, note("Mean final accuracy over the environments, 0 to 100.", gauge())] = None
    avg_reward: Annotated[float | None, note("Mean episode return over the environments.", gauge())] = None
    rolling_accuracy: Annotated[float | None, note("Mean accuracy of the last 10 batches, 0 to 100.", gauge())] = None
    env_accuracies: Annotated[tuple[float, ...] | None, note("Final accuracy of every environment, 0 to 100.")] = None
    start_episode: Annotated[int | None, note("Episode number that a resumed run started at.")] = None
    requested_episodes: Annotated[int | None, note("Episodes that the user asked for.")] = None
    batch_time_ms: Annotated[
        float | None,
        note("Wall time of the round, ms.", histogram("tolaria.batch.duration", unit="s", scale=1e-3, bounds=SECONDS)),
    ] = None


@declares(
    "TOLARIA_ROLLBACK",
    domain=Domain.TOLARIA,
    severity=Severity.CRITICAL,
    legacy="GOVERNOR_ROLLBACK",
    metrics=(
        counter(
            "tolaria.rollbacks",
            unit="{rollback}",
            attributes=("panic_reason",),
            description="Hosts restored to their last good state.",
        ),
    ),
)
class Rollback(Event, frozen=True, kw_only=True):
    """The governor restored a host to its last good state."""

    env_id: Annotated[int | None, note("Environment.")] = None
    device: Annotated[str | None, note("Device of the environment.")] = None
    reason: Annotated[str | None, note("Why, in words.")] = None
    panic_reason: Annotated[
        str | None, note("Cause: governor_nan, governor_lobotomy, governor_divergence or governor_rollback.")
    ] = None
    episode_idx: Annotated[int | None, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[int | None, note("Epoch within the episode, from 1.")] = None
    loss_at_panic: Annotated[float | None, note("Loss that set it off, nats; NaN for a NaN panic.")] = None
    loss_threshold: Annotated[float | None, note("Loss limit in force, nats.")] = None
    consecutive_panics: Annotated[int | None, note("Panics in a row.")] = None
    triggering_action_id: Annotated[str | None, note("Causal-log action that is blamed.")] = None
    raw_penalty: Annotated[float | None, note("Penalty put on that action.")] = None
    normalized_penalty: Annotated[float | None, note("The penalty after reward clipping.")] = None
    rollback_severity: Annotated[float | None, note("Size of the penalty.")] = None
    watch_window_evidence: Annotated[float | None, note("Evidence of the watch window.")] = None
    missing_keys: Annotated[tuple[str, ...] | None, note("Model keys missing at restore.")] = None
    unexpected_keys: Annotated[tuple[str, ...] | None, note("Model keys not expected at restore.")] = None


class PhaseTiming(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Time spent in one phase."""

    wall_ms: Annotated[
        float | None,
        note("Elapsed time, ms.", histogram("tolaria.phase.duration", unit="s", scale=1e-3, bounds=SECONDS)),
    ] = None
    python_cpu_ms: Annotated[
        float | None,
        note("CPU time of the dispatching thread, ms.", counter("tolaria.phase.cpu_time", unit="s", scale=1e-3)),
    ] = None
    python_cpu_ratio: Annotated[
        float | None,
        note("CPU time over elapsed time, 0 to 1; near 1 means bound by Python.", gauge("tolaria.phase.cpu_fraction")),
    ] = None


@declares("PHASE_PROFILE_COMPLETED", domain=Domain.TOLARIA, epoch_field="epoch")
class PhaseProfile(Event, frozen=True, kw_only=True):
    """Where the time of one epoch, or of the policy update, went."""

    phases: Annotated[dict[str, PhaseTiming] | None, note("Time by phase.", key="phase")] = None
    epoch: Annotated[int | None, note("Epoch within the episode, from 1.")] = None
    batch_idx: Annotated[int | None, note("Number of the batch (round), from 1.")] = None


@declares(
    "ALLOCATOR_STATS", domain=Domain.TOLARIA, severity=Severity.DEBUG, attributes=("device",), epoch_field="batch_idx"
)
class AllocatorStats(Event, frozen=True, kw_only=True):
    """State of the CUDA caching allocator of one device."""

    device: Annotated[str | None, note("CUDA device.")] = None
    batch_idx: Annotated[int | None, note("Number of the batch (round), from 1.")] = None
    allocated_bytes: Annotated[
        int | None, note("Bytes in live tensors.", gauge("tolaria.allocator.allocated", unit="By"))
    ] = None
    reserved_bytes: Annotated[
        int | None, note("Bytes that the allocator holds.", gauge("tolaria.allocator.reserved", unit="By"))
    ] = None
    active_bytes: Annotated[
        int | None, note("Bytes in blocks in use.", gauge("tolaria.allocator.active", unit="By"))
    ] = None
    inactive_bytes: Annotated[
        int | None, note("Bytes cached and split, not in use.", gauge("tolaria.allocator.inactive", unit="By"))
    ] = None
    peak_bytes: Annotated[
        int | None, note("Largest allocation so far, bytes.", gauge("tolaria.allocator.peak", unit="By"))
    ] = None
    fragmentation_bytes: Annotated[
        int | None, note("Reserved minus allocated bytes.", gauge("tolaria.allocator.fragmented", unit="By"))
    ] = None
    allocated_delta_bytes: Annotated[
        int | None,
        note(
            "Change of the allocated bytes since the last batch; steady growth is a leak.",
            gauge("tolaria.allocator.allocated_delta", unit="By"),
        ),
    ] = None
    num_alloc_retries: Annotated[
        int | None,
        note(
            "Allocations that needed a cache flush, running total.", total("tolaria.allocator.retries", unit="{retry}")
        ),
    ] = None
    num_ooms: Annotated[
        int | None, note("Out-of-memory errors, running total.", total("tolaria.allocator.ooms", unit="{error}"))
    ] = None


@declares("TOLARIA_INFRASTRUCTURE_SNAPSHOT", domain=Domain.TOLARIA, attributes=("device",), epoch_field="batch_idx")
class InfrastructureSnapshot(Event, frozen=True, kw_only=True):
    """Infrastructure health over the last N batches (plan, Appendix D.7)."""

    device: Annotated[str | None, note("Device that was measured.")] = None
    batch_idx: Annotated[int | None, note("Number of the last batch covered, from 1.")] = None
    batch_window: Annotated[
        int | None, note("Batches that the snapshot covers.", gauge("tolaria.infrastructure.batch_window"))
    ] = None
    cuda_memory_allocated_gb: Annotated[
        float | None,
        note("Tensor memory on the device, GiB.", gauge("tolaria.cuda_memory.allocated", unit="By", scale=GIB)),
    ] = None
    cuda_memory_reserved_gb: Annotated[
        float | None,
        note("Memory that the allocator holds, GiB.", gauge("tolaria.cuda_memory.reserved", unit="By", scale=GIB)),
    ] = None
    cuda_memory_active_gb: Annotated[
        float | None, note("Memory in blocks in use, GiB.", gauge("tolaria.cuda_memory.active", unit="By", scale=GIB))
    ] = None
    cuda_memory_inactive_gb: Annotated[
        float | None,
        note("Memory cached but not in use, GiB.", gauge("tolaria.cuda_memory.inactive", unit="By", scale=GIB)),
    ] = None
    cuda_memory_peak_gb: Annotated[
        float | None,
        note("Largest tensor memory so far, GiB.", gauge("tolaria.cuda_memory.peak", unit="By", scale=GIB)),
    ] = None
    cuda_memory_fragmentation: Annotated[
        float | None, note("1 - allocated / reserved, 0 to 1.", gauge("tolaria.cuda_memory.fragmentation"))
    ] = None
    memory_allocated_delta_gb: Annotated[
        float | None,
        note(
            "Change of tensor memory since the last snapshot, GiB.",
            gauge("tolaria.cuda_memory.allocated_delta", unit="By", scale=GIB),
        ),
    ] = None
    cuda_oom_events: Annotated[
        int | None, note("Out-of-memory errors, running total.", total("tolaria.cuda_memory.ooms", unit="{error}"))
    ] = None
    gpu_utilization_pct: Annotated[
        float | None,
        note(
            "Utilisation of the device, 0 to 100.",
            gauge("tolaria.gpu_utilization.ratio", unit="1", scale=0.01),
            tier=Tier.MEDIUM,
        ),
    ] = None
    gpu_memory_bandwidth_pct: Annotated[
        float | None,
        note(
            "Utilisation of the memory bus, 0 to 100.",
            gauge("tolaria.gpu_memory_bandwidth.ratio", unit="1", scale=0.01),
            tier=Tier.MEDIUM,
        ),
    ] = None
    compile_graph_breaks: Annotated[
        int | None,
        note(
            "torch.compile graph breaks, running total.",
            total("tolaria.compile.graph_breaks", unit="{break}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    compile_recompilations: Annotated[
        int | None,
        note(
            "torch.compile recompilations, running total.",
            total("tolaria.compile.recompilations", unit="{recompilation}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    compile_cache_hits: Annotated[
        int | None,
        note(
            "Compiler cache hits, running total.", total("tolaria.compile.cache_hits", unit="{hit}"), tier=Tier.MEDIUM
        ),
    ] = None
    compile_cache_misses: Annotated[
        int | None,
        note(
            "Compiler cache misses, running total.",
            total("tolaria.compile.cache_misses", unit="{miss}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    dynamo_guard_failures: Annotated[
        int | None,
        note(
            "Guard failures that caused a recompilation, running total.",
            total("tolaria.compile.guard_failures", unit="{failure}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    avg_forward_time_ms: Annotated[
        float | None,
        note("Mean time of a forward pass, ms.", gauge("tolaria.forward.mean_duration", unit="s", scale=1e-3)),
    ] = None
    avg_backward_time_ms: Annotated[
        float | None,
        note("Mean time of a backward pass, ms.", gauge("tolaria.backward.mean_duration", unit="s", scale=1e-3)),
    ] = None
    avg_optimizer_time_ms: Annotated[
        float | None,
        note(
            "Mean time of an optimiser step, ms.", gauge("tolaria.optimizer_step.mean_duration", unit="s", scale=1e-3)
        ),
    ] = None
    avg_data_transfer_time_ms: Annotated[
        float | None,
        note("Mean time of a data transfer, ms.", gauge("tolaria.data_transfer.mean_duration", unit="s", scale=1e-3)),
    ] = None
    process_cpu_time_s: Annotated[
        float | None, note("CPU time of the training process so far, s.", total("tolaria.process.cpu_time", unit="s"))
    ] = None
    process_memory_bytes: Annotated[
        int | None,
        note("Resident memory of the training process, bytes.", gauge("tolaria.process.memory_usage", unit="By")),
    ] = None


@declares(
    "TOLARIA_THROUGHPUT",
    domain=Domain.TOLARIA,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="throughput",
    epoch_field="episodes_completed",
)
class Throughput(Event, frozen=True, kw_only=True):
    """How fast the hosts train."""

    env_id: Annotated[int | None, note("Environment, where the figures are of one.")] = None
    batch: Annotated[int | None, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[int | None, note("Episodes finished so far.")] = None
    fps: Annotated[float | None, note("Environment steps in a second.", gauge("tolaria.steps_rate"))] = None
    step_time_ms: Annotated[
        float | None,
        note("Mean time of an environment step, ms.", gauge("tolaria.step.mean_duration", unit="s", scale=1e-3)),
    ] = None
    dataloader_wait_ms: Annotated[
        float | None,
        note("Mean wait for data in a step, ms.", gauge("tolaria.dataloader_wait.mean_duration", unit="s", scale=1e-3)),
    ] = None
