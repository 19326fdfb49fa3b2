"""The policy update: the result of one PPO pass over the rollout, with everything needed to diagnose it."""

from typing import Annotated

from esper_otel.events.declare import (
    Domain,
    Field,
    Metric,
    Threshold,
    Tier,
    counter,
    declares,
    gauge,
    gibibytes,
    note,
    timestamp,
    violations,
)
from esper_otel.events.limits import HEALTH, MEASURED, STABILITY, above, below, between
from esper_otel.events.policy_critic import PolicyCritic
from esper_otel.events.types import Flag, Flags, Real, Reals, Whole


def by_head(column: str, description: str, *metrics: Metric, limits: Threshold | None = None) -> Field:
    """Declare a map by action head; esper-lite writes one column for each: ``head_op_kl``, ``head_slot_kl``."""
    return note(description, *metrics, key="head", aliases=(f"head_{{key}}_{column}",), limits=limits)


HEAD_ENTROPY_VIOLATIONS = violations(
    "tamiyo.head_entropy_violations",
    threshold=below(0.15, 0.1, MEASURED),
    description="Updates with an entropy of the head below the limit.",
)


def by_cell(column: str, description: str, *metrics: Metric, limits: Threshold | None = None) -> Field:
    """Declare a map by hidden and cell state; esper-lite writes one column for each: ``lstm_h_rms``, ``lstm_c_rms``."""
    return note(description, *metrics, key="cell", aliases=(column,), tier=Tier.MEDIUM, limits=limits)


@declares(
    "TAMIYO_POLICY_UPDATE",
    domain=Domain.TAMIYO,
    legacy="PPO_UPDATE_COMPLETED",
    epoch_field="episodes_completed",
    metrics=(
        counter("tamiyo.updates", unit="{update}", description="Policy updates that changed the weights."),
        timestamp("tamiyo.last_update.timestamp", description="Unix time of the last completed policy update."),
    ),
)
class PolicyUpdate(PolicyCritic, frozen=True, kw_only=True):
    """One PPO gradient update over the rollout buffer changed the policy's weights."""

    # Numerical stability (C.6)
    log_prob_min: Annotated[
        Real,
        note(
            "Smallest joint log-probability of a chosen action during the pass, nats; under -50 warns of underflow.",
            gauge(),
            limits=below(-50.0, -100.0, HEALTH),
        ),
    ] = None
    log_prob_max: Annotated[
        Real, note("Largest joint log-probability of a chosen action during the pass, nats.", gauge())
    ] = None
    log_prob_underflow_count: Annotated[
        Whole, note("Steps with a log-probability under -50.", counter("tamiyo.log_prob_underflows", unit="{step}"))
    ] = None
    numerical_stability_score: Annotated[
        Real,
        note(
            "Composite stability, 0 to 1; above 0.9 is usual, ordinary clipping costs nothing.",
            gauge(),
            limits=below(0.75, 0.4, MEASURED),
        ),
    ] = None

    # Policy quality (C.5) and sample efficiency (C.7)
    policy_determinism: Annotated[
        Real,
        note(
            "1 - entropy / maximal entropy of the policy that acted, over heads used and with a choice, 0 to 1; above"
            " 0.95 is nearly deterministic.",
            gauge(),
            limits=above(0.8, 0.95, MEASURED),
        ),
    ] = None
    action_diversity: Annotated[
        Whole, note("Different action combinations in the batch, choices without effect disregarded.", gauge())
    ] = None
    dominant_action_ratio: Annotated[
        Real,
        note(
            "Share of the commonest operation among the steps with a choice, 0 to 1; above 0.8 is collapse.",
            gauge("tamiyo.dominant_action_fraction"),
            limits=above(0.7, 0.95, MEASURED),
        ),
    ] = None
    op_distribution: Annotated[
        Reals, note("Share of each operation among the steps with a choice, as sampled, 0 to 1.", gauge(), key="op")
    ] = None
    entropy_collapsed: Annotated[Flag, note("The policy's entropy fell under its limit.", gauge())] = None
    valid_sample_ratio: Annotated[
        Real,
        note(
            "Share of steps with a choice of operation, 0 to 1; equals decision_density.",
            gauge("tamiyo.valid_sample_fraction"),
        ),
    ] = None
    forced_step_ratio: Annotated[
        Real, note("Share of steps with a single allowed operation, 0 to 1.", gauge("tamiyo.forced_step_fraction"))
    ] = None
    usable_actor_timesteps: Annotated[Whole, note("Steps in which the policy had a choice.", gauge())] = None
    decision_density: Annotated[
        Real,
        note(
            "1 - forced step share, 0 to 1; under 0.3 the slots are saturated.",
            gauge(),
            limits=below(0.6, 0.3, MEASURED),
        ),
    ] = None
    dataloader_wait_ratio: Annotated[
        Real,
        note(
            "Share of the step spent waiting for data, 0 to 1.",
            gauge("tamiyo.dataloader_wait_fraction"),
            limits=above(0.25, 0.5, STABILITY),
        ),
    ] = None

    # Per head (C.4)
    head_entropy: Annotated[
        Reals,
        by_head(
            "entropy",
            "Entropy by head over its maximum, steps with a choice, 0 to 1.",
            gauge(),
            HEAD_ENTROPY_VIOLATIONS,
        ),
    ] = None
    head_grad_norm: Annotated[
        Reals,
        by_head(
            "grad_norm",
            "L2 gradient norm by head before clipping, mean over mini-batches.",
            gauge(),
            limits=between((1e-5, 1e-7), (15.0, 50.0), MEASURED),
        ),
    ] = None
    head_kl: Annotated[
        Reals,
        by_head("kl", "Exact KL(old || new) by head in nats, mean over steps that used it, during the pass.", gauge()),
    ] = None
    head_clip_fraction: Annotated[
        Reals,
        by_head(
            "clip_fraction", "Share of steps whose head ratio was outside 1 ± clip, of those that used it.", gauge()
        ),
    ] = None
    head_active_ratio: Annotated[
        Reals,
        by_head(
            "active_ratio",
            "Share of steps in which the head had an effect, 0 to 1.",
            gauge("tamiyo.head_active_fraction"),
        ),
    ] = None
    head_learnable_fraction: Annotated[
        Reals,
        by_head("learnable_fraction", "Share of steps in which the head had an effect and a choice, 0 to 1.", gauge()),
    ] = None
    head_ratio_max: Annotated[
        Reals,
        by_head(
            "ratio_max",
            "Largest probability ratio of the head alone, of the steps that used it.",
            gauge("tamiyo.head_policy_ratio_max"),
            limits=above(2.5, 3.0, MEASURED),
        ),
    ] = None
    head_gradient_state: Annotated[
        dict[str, str] | None,
        by_head("gradient_state", "finite, missing, nonfinite, not_learnable or skipped, by head."),
    ] = None
    head_nan_detected: Annotated[Flags, note("NaN met in the head during this update.", gauge(), key="head")] = None
    head_inf_detected: Annotated[Flags, note("Infinity met in the head during this update.", gauge(), key="head")] = (
        None
    )
    causal_mask_coverage: Annotated[
        Reals,
        note("Share of steps whose operation uses the head, 0 to 1; equals head_active_ratio.", gauge(), key="head"),
    ] = None

    # Recurrent state, after the update and during the rollout
    lstm_l2_total: Annotated[
        Reals, by_cell("lstm_{key}_l2_total", "L2 norm of the state after the update.", gauge("tamiyo.lstm_l2"))
    ] = None
    lstm_rms: Annotated[
        Reals,
        by_cell(
            "lstm_{key}_rms",
            "RMS of the state after the update; above 10 explodes, under 1e-6 vanishes.",
            gauge(),
            limits=between((0.0001, 1e-06), (5.0, 10.0), HEALTH),
        ),
    ] = None
    lstm_env_rms_mean: Annotated[
        Reals, by_cell("lstm_{key}_env_rms_mean", "Mean over environments of the state's RMS.", gauge())
    ] = None
    lstm_env_rms_max: Annotated[
        Reals, by_cell("lstm_{key}_env_rms_max", "Worst environment's RMS of the state.", gauge())
    ] = None
    lstm_max: Annotated[Reals, by_cell("lstm_{key}_max", "Largest absolute entry of the state.", gauge())] = None
    lstm_has_nan: Annotated[Flag, note("NaN in the state after the update.", gauge(), tier=Tier.MEDIUM)] = None
    lstm_has_inf: Annotated[Flag, note("Infinity in the state after the update.", gauge(), tier=Tier.MEDIUM)] = None
    rollout_lstm_l2_total: Annotated[
        Reals,
        by_cell("rollout_lstm_{key}_l2_total", "L2 norm of the state in the rollout.", gauge("tamiyo.rollout_lstm_l2")),
    ] = None
    rollout_lstm_rms: Annotated[
        Reals, by_cell("rollout_lstm_{key}_rms", "RMS of the state in the rollout.", gauge())
    ] = None
    rollout_lstm_env_rms_mean: Annotated[
        Reals,
        by_cell(
            "rollout_lstm_{key}_env_rms_mean", "Mean over environments of the state's RMS in the rollout.", gauge()
        ),
    ] = None
    rollout_lstm_env_rms_max: Annotated[
        Reals,
        by_cell("rollout_lstm_{key}_env_rms_max", "Worst environment's RMS of the state in the rollout.", gauge()),
    ] = None
    rollout_lstm_max: Annotated[
        Reals, by_cell("rollout_lstm_{key}_max", "Largest absolute entry of the state in the rollout.", gauge())
    ] = None
    rollout_lstm_has_nan: Annotated[Flag, note("NaN in the state in the rollout.", gauge(), tier=Tier.MEDIUM)] = None
    rollout_lstm_has_inf: Annotated[Flag, note("Infinity in the state in the rollout.", gauge(), tier=Tier.MEDIUM)] = (
        None
    )

    # Rollbacks and memory, as esper-lite puts them here
    rollback_count: Annotated[
        Whole, note("Rollbacks tied to an executed step of this rollout.", gauge("tamiyo.rollout_rollbacks"))
    ] = None
    rollback_steps_zeroed: Annotated[Whole, note("Earlier steps whose reward a rollback forfeited.", gauge())] = None
    rollback_attempt_count: Annotated[
        Whole, note("All rollbacks of this rollout.", gauge("tamiyo.rollout_rollback_attempts"))
    ] = None
    rollback_unattributed_count: Annotated[
        Whole, note("Rollbacks with no step to blame.", gauge("tamiyo.rollout_unattributed_rollbacks"))
    ] = None
    cuda_memory_allocated_gb: Annotated[
        Real, note("Tensor memory on the GPU, GiB.", gibibytes("tamiyo.cuda_memory.allocated"))
    ] = None
    cuda_memory_reserved_gb: Annotated[
        Real, note("Memory that the allocator holds, GiB.", gibibytes("tamiyo.cuda_memory.reserved"))
    ] = None
    cuda_memory_peak_gb: Annotated[
        Real, note("Largest tensor memory so far, GiB.", gibibytes("tamiyo.cuda_memory.peak"))
    ] = None
    cuda_memory_fragmentation: Annotated[
        Real,
        note(
            "1 - allocated / reserved, 0 to 1; above 0.3 is pressure.",
            gauge("tamiyo.cuda_memory.fragmentation"),
            limits=above(0.2, 0.3, STABILITY),
        ),
    ] = None
