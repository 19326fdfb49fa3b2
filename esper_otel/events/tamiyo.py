"""Tamiyo, the policy: its decisions, its observations, and skipped updates."""

from typing import Annotated

from esper_otel.events.declare import (
    Domain,
    Event,
    Severity,
    counter,
    declares,
    gauge,
    note,
)
from esper_otel.events.limits import INPUTS, above
from esper_otel.events.policy_optimisation import NONFINITE_UPDATES
from esper_otel.events.types import Flag, Flags, Real, Reals, Text, Texts, Whole


@declares(
    "TAMIYO_UPDATE_SKIPPED",
    domain=Domain.TAMIYO,
    severity=Severity.WARNING,
    epoch_field="episodes_completed",
    metrics=(
        counter(
            "tamiyo.skipped_updates",
            unit="{update}",
            attributes=("reason",),
            description="Policy updates that left the weights as they were.",
        ),
    ),
)
class UpdateSkipped(Event, frozen=True, kw_only=True):
    """A policy update did not change the weights."""

    reason: Annotated[str, note("Reason: nonfinite_loss, nonfinite_gradient, amp_overflow, empty_batch, unspecified.")]
    batch: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    ppo_update_idx: Annotated[Whole, note("Number of the update within its batch, from 1.")] = None
    episodes_completed: Annotated[Whole, note("Episodes finished when the update was tried.")] = None
    pre_clip_grad_norm: Annotated[
        Real, note("L2 gradient norm that stopped it, usually not finite.", NONFINITE_UPDATES)
    ] = None
    loss: Annotated[Real, note("Loss that stopped it, usually not finite.")] = None
    grad_nan_layers: Annotated[
        Texts, note("Parameters (trunk.0.weight) with a gradient not finite in the first bad mini-batch.")
    ] = None
    consecutive: Annotated[Whole, note("Skipped updates in a row, this one included.")] = None


@declares(
    "TAMIYO_INITIATED",
    domain=Domain.TAMIYO,
    attributes=("env_id",),
    epoch_field="epoch",
    metrics=(
        counter(
            "tamiyo.initiations", unit="{initiation}", description="Hosts that became stable enough for germination."
        ),
    ),
)
class TamiyoInitiated(Event, frozen=True, kw_only=True):
    """The host of an environment is stable: germination is allowed from now on."""

    env_id: Annotated[Whole, note("Environment.")] = None
    epoch: Annotated[Whole, note("Epoch within the episode at which the host became stable.")] = None
    stable_count: Annotated[Whole, note("Stable epochs in a row.")] = None
    stabilization_epochs: Annotated[Whole, note("Stable epochs required.")] = None
    val_loss: Annotated[Real, note("Validation loss at that moment, nats.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None


@declares(
    "TAMIYO_DECISION",
    domain=Domain.TAMIYO,
    severity=Severity.DEBUG,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="last_action",
    epoch_field="inner_epoch",
    metrics=(
        counter(
            "tamiyo.decisions",
            unit="{decision}",
            attributes=("action_name", "action_success"),
            description="Decisions by operation and success.",
        ),
    ),
)
class Decision(Event, frozen=True, kw_only=True):
    """The policy chose an action for one environment at one epoch."""

    env_id: Annotated[Whole, note("Environment.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode, from 1.")] = None
    action_name: Annotated[Text, note("Chosen operation.")] = None
    action_success: Annotated[Flag, note("The operation was carried out.")] = None
    action_confidence: Annotated[
        Real,
        note(
            "Probability of the chosen operation, 0 to 1.", gauge("tamiyo.decision_confidence", attributes=("env_id",))
        ),
    ] = None
    decision_entropy: Annotated[
        Real,
        note(
            "Entropy of the operation head at this step, nats.",
            gauge("tamiyo.decision_entropy", attributes=("env_id",)),
        ),
    ] = None
    value_estimate: Annotated[
        Real, note("The critic's value before the action.", gauge("tamiyo.value_estimate", attributes=("env_id",)))
    ] = None
    total_reward: Annotated[Real, note("Reward that the action earned.")] = None
    slot_id: Annotated[Text, note("Slot that the action aims at.")] = None
    blueprint_id: Annotated[Text, note("Blueprint, for GERMINATE.")] = None
    style: Annotated[Text, note("Germination style.")] = None
    blend_id: Annotated[Text, note("Blend family of that style.")] = None
    tempo_idx: Annotated[Whole, note("Tempo, 0 to 2, for GERMINATE.")] = None
    alpha_target: Annotated[Real, note("Blend weight aimed at, 0 to 1.")] = None
    alpha_speed: Annotated[Text, note("Speed of the alpha ramp.")] = None
    alpha_curve: Annotated[Text, note("Shape of the alpha ramp that the policy chose.")] = None
    alpha_algorithm: Annotated[Text, note("Blend algorithm in force after the step.")] = None
    alpha_algorithm_selected: Annotated[Text, note("Blend algorithm that the chosen style implies.")] = None
    head_choice: Annotated[dict[str, str] | None, note("Chosen value by head.", key="head")] = None
    head_confidence: Annotated[Reals, note("Probability of the chosen value by head, 0 to 1.", key="head")] = None
    head_choice_entropy: Annotated[Reals, note("Entropy by head over its maximum, 0 to 1.", key="head")] = None
    head_forced: Annotated[
        Flags, note("The head had a single allowed value.", key="head", aliases=("{key}_masked",))
    ] = None
    alternatives: Annotated[
        tuple[tuple[str, float], ...] | None, note("Next best operations with their probabilities.")
    ] = None
    slot_states: Annotated[dict[str, str] | None, note("Content of each slot, as text.")] = None
    device: Annotated[Text, note("Device of the environment.")] = None


@declares(
    "TAMIYO_ACTION_DISTRIBUTION",
    domain=Domain.TAMIYO,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="action_distribution",
    epoch_field="episodes_completed",
)
class ActionDistribution(Event, frozen=True, kw_only=True):
    """Counts of the operations chosen in a batch."""

    action_counts: Annotated[
        dict[str, int] | None,
        note(
            "Times each operation was chosen in the batch, forced steps included.",
            gauge("tamiyo.batch_actions"),
            key="op",
        ),
    ] = None
    success_counts: Annotated[
        dict[str, int] | None, note("Times each operation was carried out in the batch.", key="op")
    ] = None
    batch: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[Whole, note("Episodes finished so far.")] = None


@declares(
    "TAMIYO_OBSERVATION_STATS",
    domain=Domain.TAMIYO,
    severity=Severity.DEBUG,
    attributes=("env_id",),
    epoch_field="inner_epoch",
)
class ObservationStats(Event, frozen=True, kw_only=True):
    """Health of the policy's observations in one step over all environments."""

    env_id: Annotated[Whole, note("Environment that reported; the figures are over all of them.")] = None
    episode_idx: Annotated[Whole, note("Episode, counted over the run.")] = None
    inner_epoch: Annotated[Whole, note("Epoch within the episode, from 1.")] = None
    slot_features_mean: Annotated[
        Real, note("Mean of the slot features.", gauge("tamiyo.observation.slot_features_mean"))
    ] = None
    slot_features_std: Annotated[
        Real, note("Spread of the slot features.", gauge("tamiyo.observation.slot_features_std"))
    ] = None
    host_features_mean: Annotated[
        Real, note("Mean of the host features.", gauge("tamiyo.observation.host_features_mean"))
    ] = None
    host_features_std: Annotated[
        Real, note("Spread of the host features.", gauge("tamiyo.observation.host_features_std"))
    ] = None
    context_features_mean: Annotated[
        Real, note("Mean of the context features.", gauge("tamiyo.observation.context_features_mean"))
    ] = None
    context_features_std: Annotated[
        Real, note("Spread of the context features.", gauge("tamiyo.observation.context_features_std"))
    ] = None
    outlier_pct: Annotated[
        Real,
        note(
            "Share of inputs outside 3 sigma, 0 to 1.",
            gauge("tamiyo.observation.outlier_fraction"),
            limits=above(0.05, 0.1, INPUTS),
        ),
    ] = None
    near_clip_pct: Annotated[
        Real,
        note(
            "Share of normalised inputs near the clip bound, 0 to 1.",
            gauge("tamiyo.observation.near_clip_fraction"),
            limits=above(0.01, 0.05, INPUTS),
        ),
    ] = None
    clip_pct: Annotated[
        Real,
        note(
            "Share of normalised inputs at the clip bound, 0 to 1.",
            gauge("tamiyo.observation.clip_fraction"),
        ),
    ] = None
    nan_count: Annotated[Whole, note("Inputs that were NaN.", counter("tamiyo.observation.nans", unit="{input}"))] = (
        None
    )
    inf_count: Annotated[
        Whole, note("Inputs that were infinite.", counter("tamiyo.observation.infs", unit="{input}"))
    ] = None
    nan_pct: Annotated[Real, note("Share of inputs that were NaN, 0 to 1.")] = None
    inf_pct: Annotated[Real, note("Share of inputs that were infinite, 0 to 1.")] = None
    normalization_drift: Annotated[
        Real,
        note(
            "Shift of the running mean since the start; above 1 warns.",
            gauge("tamiyo.observation.normalization_drift"),
            limits=above(1.0, 2.0, INPUTS),
        ),
    ] = None
    batch_size: Annotated[Whole, note("Environments in the sample.")] = None


@declares(
    "TAMIYO_MASK_HIT_RATES",
    domain=Domain.TAMIYO,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="mask_hit_rates",
    epoch_field="episodes_completed",
)
class MaskHitRates(Event, frozen=True, kw_only=True):
    """Counts of choices that the action mask decided, by head, in a batch."""

    batch: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[Whole, note("Episodes finished so far.")] = None
    mask_hits: Annotated[
        dict[str, int] | None, note("Masked choices by head.", counter("tamiyo.mask_hits", unit="{choice}"), key="head")
    ] = None
    mask_total: Annotated[
        dict[str, int] | None, note("Choices by head.", counter("tamiyo.masked_choices", unit="{choice}"), key="head")
    ] = None
