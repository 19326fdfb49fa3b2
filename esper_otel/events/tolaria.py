"""Tolaria, the host's training: epochs, batches, seeds in their slots, the governor (plan, Appendix D)."""

from typing import Annotated

import msgspec

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
    milliseconds,
    note,
    state,
    timestamp,
)
from esper_otel.events.limits import DIAGNOSTICS, MEASURED, SEEDS, above, below
from esper_otel.events.types import Flag, Real, Reals, Text, Texts, Whole


class SeedSnapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """State of one slot at the end of a host epoch."""

    stage: Annotated[
        Text, note("Stage of the slot's seed; DORMANT when the slot is empty.", state("kasmina.seed_state"))
    ] = None
    blueprint_id: Annotated[Text, note("Blueprint of the seed.", state("kasmina.seed_blueprint"))] = None
    seed_id: Annotated[Text, note("The seed.")] = None
    alpha: Annotated[Real, note("Blend weight, 0 to 1.", gauge("kasmina.seed_alpha"))] = None
    alpha_target: Annotated[Real, note("Blend weight aimed at, 0 to 1.")] = None
    alpha_curve: Annotated[Text, note("Shape of the alpha ramp that the controller follows.")] = None
    blend_tempo_epochs: Annotated[Whole, note("Epochs that the blend ramp takes.")] = None
    params: Annotated[
        Whole, note("Trainable parameters of the seed.", gauge("kasmina.seed_params", unit="{parameter}"))
    ] = None
    accuracy_delta: Annotated[
        Real, note("Accuracy change since germination, percentage points.", gauge("kasmina.seed_accuracy_delta"))
    ] = None
    epochs_in_stage: Annotated[Whole, note("Epochs in the current stage.", gauge("kasmina.seed_epochs_in_stage"))] = (
        None
    )
    gradient_health: Annotated[
        Real,
        note(
            "Quality of the seed's gradients, 0 to 1.",
            gauge("kasmina.seed_gradient_health"),
            limits=below(0.8, 0.3, "Limits of esper-lite's layer map."),
        ),
    ] = None
    gradient_norm: Annotated[Real, note("L2 norm of the seed's gradient.", gauge("kasmina.seed_grad_norm"))] = None
    has_vanishing: Annotated[
        Flag, note("The seed's gradients vanish.", gauge("kasmina.seed_vanishing"), limits=above(0.5, None, SEEDS))
    ] = None
    has_exploding: Annotated[
        Flag, note("The seed's gradients explode.", gauge("kasmina.seed_exploding"), limits=above(None, 0.5, SEEDS))
    ] = None
    contribution: Annotated[
        Real, note("Accuracy with the seed minus without, percentage points.", gauge("kasmina.seed_contribution"))
    ] = None
    contribution_velocity: Annotated[
        Real,
        note(
            "Smoothed change of the contribution.",
            gauge("kasmina.seed_contribution_velocity"),
        ),
    ] = None
    interaction_sum: Annotated[
        Real,
        note(
            "Sum of the pair interactions with other seeds.",
            gauge("kasmina.seed_interaction"),
            limits=below(-0.5, None, SEEDS),
        ),
    ] = None
    boost_received: Annotated[Real, note("Strongest single pair interaction.", gauge("kasmina.seed_boost"))] = None
    upstream_alpha_sum: Annotated[Real, note("Blend weight of the seeds in earlier slots.")] = None
    downstream_alpha_sum: Annotated[Real, note("Blend weight of the seeds in later slots.")] = None


@declares(
    "TOLARIA_EPOCH_COMPLETED",
    domain=Domain.TOLARIA,
    legacy="EPOCH_COMPLETED",
    attributes=("env_id",),
    epoch_field="inner_epoch",
    metrics=(
        counter("tolaria.epochs", unit="{epoch}", description="Host epochs completed."),
        timestamp("tolaria.last_epoch.timestamp", description="Unix time of the last completed host epoch."),
    ),
)
class EpochCompleted(Event, frozen=True, kw_only=True):
    """One environment trained its host for one epoch and validated it."""

    env_id: Annotated[Whole, note("Environment.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.", gauge("tolaria.current_episode"))] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode, from 1.", gauge("tolaria.inner_epoch"))] = None
    val_accuracy: Annotated[Real, note("Validation accuracy of host and blended seeds, 0 to 100.", gauge())] = None
    val_loss: Annotated[Real, note("Validation loss, nats.", gauge(), limits=above(3.0, 5.0, MEASURED))] = None
    host_train_loss: Annotated[
        Real, note("Training loss of the host, nats.", gauge("tolaria.train_loss"), aliases=("train_loss",))
    ] = None
    train_accuracy: Annotated[Real, note("Training accuracy, 0 to 100.", gauge())] = None
    host_grad_norm_pre_clip: Annotated[
        Real,
        note(
            "L2 norm of the host's gradient before clipping, last mini-batch of the epoch.",
            gauge(),
            histogram("tolaria.host_grad_norm", bounds=NORM),
            aliases=("host_grad_norm",),
            limits=above(50.0, 100.0, "Limits of esper-lite's health monitor."),
        ),
    ] = None
    host_lr: Annotated[Real, note("Learning rate of the host's optimiser.", gauge())] = None
    host_epoch_time_ms: Annotated[Real, note("Wall time of the epoch, ms.", milliseconds("tolaria.epoch.duration"))] = (
        None
    )
    forward_time_ms: Annotated[
        Real, note("Time in the forward pass, ms.", milliseconds("tolaria.forward.duration"))
    ] = None
    backward_time_ms: Annotated[
        Real, note("Time in the backward pass, ms.", milliseconds("tolaria.backward.duration"))
    ] = None
    optimizer_step_time_ms: Annotated[
        Real, note("Time in the optimiser step, ms.", milliseconds("tolaria.optimizer_step.duration"))
    ] = None
    data_transfer_time_ms: Annotated[
        Real, note("Time moving data to the device, ms.", milliseconds("tolaria.data_transfer.duration"))
    ] = None
    grad_norm_per_layer: Annotated[
        Reals, note("Host gradient norm before clipping by layer, last mini-batch.", tier=Tier.MEDIUM)
    ] = None
    grad_zero_fraction: Annotated[
        Real,
        note(
            "Share of the host's gradient entries that are zero, last mini-batch, 0 to 1.",
            gauge("tolaria.grad_zero_fraction"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    grad_norm_ratio: Annotated[
        Real,
        note(
            "Largest over smallest layer gradient norm of the host, last mini-batch; norms of 0 are left out.",
            gauge("tolaria.grad_norm_spread"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    grad_nan_layers: Annotated[Texts, note("Host layers whose gradient held NaN.", tier=Tier.MEDIUM)] = None
    dead_layers: Annotated[
        Whole,
        note(
            "Host layers with over 90 % zero gradient entries.",
            gauge("tolaria.dead_layers"),
            tier=Tier.MEDIUM,
            limits=above(0.5, None, DIAGNOSTICS),
        ),
    ] = None
    exploding_layers: Annotated[
        Whole,
        note(
            "Host layers with over 10 % gradient entries above 10.",
            gauge("tolaria.exploding_layers"),
            tier=Tier.MEDIUM,
            limits=above(None, 0.5, DIAGNOSTICS),
        ),
    ] = None
    total_params: Annotated[
        Whole, note("Trainable parameters of host and live seeds.", gauge("tolaria.model_params", unit="{parameter}"))
    ] = None
    seeds: Annotated[dict[str, SeedSnapshot] | None, note("State of each slot.", key="slot")] = None
    device: Annotated[Text, note("Device of the environment.")] = None


@declares(
    "TOLARIA_BATCH_COMPLETED",
    domain=Domain.TOLARIA,
    legacy="BATCH_EPOCH_COMPLETED",
    epoch_field="episodes_completed",
    metrics=(
        counter("tolaria.batches", unit="{batch}", description="Batches (rounds) completed."),
        timestamp("tolaria.last_batch.timestamp", description="Unix time of the last completed batch."),
    ),
)
class BatchCompleted(Event, frozen=True, kw_only=True):
    """All environments finished their episode and the policy was updated: the end of a round."""

    batch_idx: Annotated[Whole, note("Number of the round, from 1.", gauge("tolaria.current_batch"))] = None
    episodes_completed: Annotated[Whole, note("Episodes finished so far.", gauge("tolaria.episodes_completed"))] = None
    total_episodes: Annotated[Whole, note("Episodes planned for the run.", gauge("tolaria.episodes_planned"))] = None
    n_envs: Annotated[Whole, note("Environments in the batch.", gauge("tolaria.batch_envs"))] = None
    avg_accuracy: Annotated[Real, note("Mean final accuracy over the environments, 0 to 100.", gauge())] = None
    avg_reward: Annotated[Real, note("Mean episode return over the environments.", gauge())] = None
    rolling_accuracy: Annotated[Real, note("Mean accuracy of the last 10 batches, 0 to 100.", gauge())] = None
    env_accuracies: Annotated[tuple[float, ...] | None, note("Final accuracy of every environment, 0 to 100.")] = None
    start_episode: Annotated[Whole, note("Episode number that a resumed run started at.")] = None
    requested_episodes: Annotated[Whole, note("Episodes that the user asked for.")] = None
    batch_time_ms: Annotated[Real, note("Wall time of the round, ms.", milliseconds("tolaria.batch.duration"))] = None


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

    env_id: Annotated[Whole, note("Environment.")] = None
    device: Annotated[Text, note("Device of the environment.")] = None
    reason: Annotated[Text, note("Why, in words.")] = None
    panic_reason: Annotated[
        Text, note("Cause: governor_nan, governor_lobotomy, governor_divergence or governor_rollback.")
    ] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode, from 1.")] = None
    loss_at_panic: Annotated[Real, note("Loss that triggered it, nats; NaN for a NaN panic.")] = None
    loss_threshold: Annotated[Real, note("Loss limit in force, nats.")] = None
    consecutive_panics: Annotated[Whole, note("Panics in a row.")] = None
    triggering_action_id: Annotated[Text, note("Causal-log action that is blamed.")] = None
    raw_penalty: Annotated[Real, note("Penalty put on that action.")] = None
    normalized_penalty: Annotated[Real, note("The penalty after reward clipping.")] = None
    rollback_severity: Annotated[Real, note("Size of the penalty.")] = None
    watch_window_evidence: Annotated[Real, note("Evidence of the watch window.")] = None
    missing_keys: Annotated[Texts, note("Model keys missing at restore.")] = None
    unexpected_keys: Annotated[Texts, note("Model keys not expected at restore.")] = None


@declares("TOLARIA_SCALAR", domain=Domain.TOLARIA, severity=Severity.DEBUG, attributes=("tag",))
class Scalar(Event, frozen=True, kw_only=True):
    """A number that a program logged by its framework or by TensorBoard, and that no other event has a field for."""

    tag: Annotated[Text, note("Name that the program gave it.")] = None
    value: Annotated[Real, note("The number, in the program's own unit.", gauge("tolaria.scalar"))] = None
    step: Annotated[Whole, note("Step that the program gave with it, often environment steps.")] = None
