"""The policy update: what one PPO pass over the rollout did, with everything that tells why it went wrong.

Fields and formulas are those of the plan's Appendix C; where esper-lite spells a field differently its spelling is an
alias. Definitions of the PPO diagnostics: Schulman et al. 2017 (arXiv:1707.06347); the KL estimators are J. Schulman's
"Approximating KL divergence" (2020): ``approx_kl`` is the mean of (r - 1) - log r.

One class with some 130 fields: they are one event, and each is a declaration.
"""

from typing import Annotated

from esper_otel.events.bounds import DIVERGENCE, NORM, SECONDS
from esper_otel.events.declare import (
    Domain,
    Event,
    Threshold,
    Tier,
    counter,
    declares,
    gauge,
    histogram,
    maximum,
    nonfinite,
    note,
    timestamp,
    violations,
)

NONFINITE_UPDATES = nonfinite(
    "tamiyo.nonfinite_updates",
    unit="{update}",
    description="Policy updates whose gradient norm was NaN or infinite.",
    shared=True,
)

GRAD_NORM_THRESHOLD = Threshold(
    warning_above=10.0,
    critical_above=100.0,
    reason="esper-lite's screens turn red above 10; two decades above the default clipping limit of 1 is an explosion.",
)
KL_THRESHOLD = Threshold(
    warning_above=0.02,
    critical_above=0.05,
    reason="Limits of esper-lite's losses panel; the usual target KL is 0.01-0.02.",
)
CLIP_FRACTION_THRESHOLD = Threshold(
    warning_above=0.25, critical_above=0.3, reason="Limits of esper-lite's losses panel; 0.1-0.2 is usual for PPO."
)
RATIO_MAX_THRESHOLD = Threshold(
    warning_above=2.0, critical_above=5.0, reason="esper-lite: 2.0 is critical on screen, 5.0 raises ratio explosion."
)
EXPLAINED_VARIANCE_THRESHOLD = Threshold(
    warning_below=0.3, critical_below=0.0, reason="Below 0 the critic is worse than predicting the mean return."
)


@declares(
    "TAMIYO_POLICY_UPDATE",
    domain=Domain.TAMIYO,
    legacy="PPO_UPDATE_COMPLETED",
    epoch_field="episodes_completed",
    metrics=(
        counter("tamiyo.updates", unit="{update}", description="Policy updates that changed the weights."),
        timestamp("tamiyo.last_update.timestamp", description="When the last policy update completed, Unix time."),
    ),
)
class PolicyUpdate(Event, frozen=True, kw_only=True):
    """One PPO gradient update over the rollout buffer changed the policy's weights."""

    ppo_update_idx: Annotated[int | None, note("Number of this update within its batch: 1, 2, 3 …", gauge())] = None
    ppo_updates_count: Annotated[
        int | None, note("Updates done so far in this batch.", gauge("tamiyo.batch_updates"))
    ] = None
    batch: Annotated[int | None, note("Number of the batch (round), from 1.", gauge())] = None
    episodes_completed: Annotated[int | None, note("Episodes finished when the update ran.")] = None
    inner_epoch: Annotated[
        int | None, note("Host epoch when the update ran; always the last one, kept for old readers.")
    ] = None
    early_stop_epoch: Annotated[
        int | None, note("PPO epoch at which the KL limit stopped the updates of this batch.")
    ] = None
    update_time_ms: Annotated[
        float | None,
        note("Wall time of the update, ms.", histogram("tamiyo.update.duration", unit="s", scale=1e-3, bounds=SECONDS)),
    ] = None

    # Losses
    policy_loss: Annotated[float | None, note("Clipped surrogate loss, mean over the update.", gauge())] = None
    value_loss: Annotated[float | None, note("Critic loss, mean over the update.", gauge())] = None
    entropy: Annotated[float | None, note("Joint policy entropy in nats, summed over heads.", gauge())] = None
    entropy_loss: Annotated[float | None, note("Entropy term of the loss.", gauge())] = None
    entropy_coef: Annotated[float | None, note("Weight of the entropy bonus.", gauge())] = None
    q_aux_loss: Annotated[float | None, note("Regression loss of the telemetry-only Q head.", gauge())] = None
    lr: Annotated[float | None, note("Learning rate of the policy optimiser.", gauge())] = None

    # Trust region (C.2)
    kl_divergence: Annotated[
        float | None,
        note(
            "Approximate KL(old || new) in nats, mean over steps.",
            gauge(),
            histogram("tamiyo.update_kl", bounds=DIVERGENCE),
            violations(
                "tamiyo.kl_violations", threshold=KL_THRESHOLD, description="Updates with a KL beyond the limit."
            ),
        ),
    ] = None
    approx_kl_max: Annotated[
        float | None, note("Largest per-step approximate KL in nats: localised drift.", gauge())
    ] = None
    kl_reverse: Annotated[
        float | None, note("KL(new || old) in nats; its asymmetry tells the direction of collapse.", gauge())
    ] = None
    trust_region_violations: Annotated[
        int | None,
        note(
            "Steps whose probability ratio left the clip range.",
            counter("tamiyo.trust_region_violations", unit="{step}"),
        ),
    ] = None
    clip_fraction: Annotated[
        float | None,
        note(
            "Share of steps whose joint ratio was clipped, 0 to 1.",
            gauge(),
            violations(
                "tamiyo.clip_fraction_violations",
                threshold=CLIP_FRACTION_THRESHOLD,
                description="Updates that clipped too large a share of their steps.",
            ),
        ),
    ] = None
    clip_fraction_positive: Annotated[float | None, note("Share of steps clipped from above, 0 to 1.", gauge())] = None
    clip_fraction_negative: Annotated[float | None, note("Share of steps clipped from below, 0 to 1.", gauge())] = None
    ratio_mean: Annotated[float | None, note("Mean probability ratio new/old.", gauge("tamiyo.policy_ratio_mean"))] = (
        None
    )
    ratio_min: Annotated[
        float | None, note("Smallest probability ratio new/old.", gauge("tamiyo.policy_ratio_min"))
    ] = None
    ratio_max: Annotated[
        float | None,
        note(
            "Largest probability ratio new/old.",
            gauge("tamiyo.policy_ratio_max"),
            violations(
                "tamiyo.policy_ratio_violations",
                threshold=RATIO_MAX_THRESHOLD,
                description="Updates with a probability ratio beyond the limit.",
            ),
        ),
    ] = None
    ratio_std: Annotated[float | None, note("Spread of the probability ratio.", gauge("tamiyo.policy_ratio_std"))] = (
        None
    )
    joint_ratio_max: Annotated[float | None, note("Largest product of the per-head ratios.", gauge())] = None

    # Gradients
    pre_clip_grad_norm: Annotated[
        float | None,
        note(
            "L2 norm of the policy's gradient before clipping, what clip_grad_norm_ returned.",
            histogram(bounds=NORM),
            maximum(
                "tamiyo.max_pre_clip_grad_norm", description="Largest gradient norm before clipping in the last 60 s."
            ),
            violations(
                "tamiyo.grad_norm_violations",
                threshold=GRAD_NORM_THRESHOLD,
                description="Updates whose gradient norm before clipping was beyond the limit.",
            ),
            NONFINITE_UPDATES,
        ),
    ] = None
    grad_norm: Annotated[float | None, note("L2 norm of the policy's gradient after clipping.", gauge())] = None
    grad_clip_fraction: Annotated[
        float | None, note("Share of minibatches whose gradient was clipped, 0 to 1.", gauge())
    ] = None
    gradient_utilization: Annotated[
        float | None, note("Gradient norm before clipping over the clipping limit.", gauge())
    ] = None
    gradient_cv: Annotated[
        float | None, note("Coefficient of variation of the gradient norms; under 0.5 is clean.", gauge())
    ] = None
    nan_grad_count: Annotated[
        int | None,
        note("Gradient entries that were NaN.", counter("tamiyo.nan_grads", unit="{entry}"), tier=Tier.MEDIUM),
    ] = None
    inf_grad_count: Annotated[
        int | None,
        note("Gradient entries that were infinite.", counter("tamiyo.inf_grads", unit="{entry}"), tier=Tier.MEDIUM),
    ] = None
    dead_layers: Annotated[
        int | None, note("Layers with over 90 % zero gradient entries.", gauge(), tier=Tier.MEDIUM)
    ] = None
    exploding_layers: Annotated[
        int | None, note("Layers with over 10 % gradient entries above 10.", gauge(), tier=Tier.MEDIUM)
    ] = None
    grad_zero_fraction: Annotated[
        float | None, note("Share of gradient entries that are zero, 0 to 1.", gauge(), tier=Tier.MEDIUM)
    ] = None
    grad_norm_ratio: Annotated[
        float | None,
        note("Largest over smallest layer gradient norm.", gauge("tamiyo.grad_norm_spread"), tier=Tier.MEDIUM),
    ] = None
    grad_norm_per_layer: Annotated[
        dict[str, float] | None, note("Gradient norm before clipping by layer.", tier=Tier.MEDIUM)
    ] = None
    grad_nan_layers: Annotated[tuple[str, ...] | None, note("Layers whose gradient held NaN.", tier=Tier.MEDIUM)] = None
    layer_gradient_health: Annotated[
        dict[str, float] | None, note("Gradient health by layer, 0 to 1.", tier=Tier.MEDIUM)
    ] = None
    policy_update_magnitude: Annotated[
        float | None, note("L2 norm of the change of the policy's weights.", gauge())
    ] = None

    # AMP (D.5)
    loss_scale: Annotated[float | None, note("Loss scale of the AMP gradient scaler.", gauge())] = None
    loss_scale_updates: Annotated[
        int | None,
        note("Changes of the loss scale in this batch.", counter("tamiyo.loss_scale_changes", unit="{change}")),
    ] = None
    amp_overflow_detected: Annotated[bool | None, note("The scaled gradient overflowed.")] = None
    amp_overflow_count: Annotated[
        int | None, note("Overflows that the gradient scaler met.", counter("tamiyo.amp_overflows", unit="{overflow}"))
    ] = None
    grad_scaler_state: Annotated[str | None, note("What the scaler is doing: growing, stable or decaying.")] = None

    # Value function (C.3)
    explained_variance: Annotated[
        float | None,
        note(
            "1 - Var(return - V) / Var(return); 1 is perfect, under 0 is worse than the mean.",
            gauge(),
            violations(
                "tamiyo.explained_variance_violations",
                threshold=EXPLAINED_VARIANCE_THRESHOLD,
                description="Updates whose critic explained too little of the returns.",
            ),
        ),
    ] = None
    ev_low_return_variance: Annotated[
        bool | None, note("Return variance is too low for explained variance to mean anything.", gauge())
    ] = None
    ev_low_return_variance_count: Annotated[int | None, note("Updates of the batch with that flag.")] = None
    ev_return_variance: Annotated[
        float | None, note("Return variance that explained variance was divided by.", gauge())
    ] = None
    value_nrmse: Annotated[
        float | None, note("Critic error over the spread of returns; 1 and above is a poor fit.", gauge())
    ] = None
    value_mean: Annotated[float | None, note("Mean predicted value.", gauge())] = None
    value_std: Annotated[float | None, note("Spread of predicted values.", gauge())] = None
    value_min: Annotated[float | None, note("Smallest predicted value.", gauge())] = None
    value_max: Annotated[float | None, note("Largest predicted value.", gauge())] = None
    value_prediction_error_mean: Annotated[
        float | None, note("Mean of V(s) - return: bias of the critic.", gauge())
    ] = None
    value_prediction_error_std: Annotated[float | None, note("Spread of V(s) - return.", gauge())] = None
    value_target_correlation: Annotated[
        float | None,
        note(
            "Pearson correlation of V(s) and return, -1 to 1; under 0.5 the critic does not learn.",
            gauge(),
            aliases=("v_return_correlation",),
        ),
    ] = None
    value_target_scale: Annotated[float | None, note("Divisor that normalises returns for the critic.", gauge())] = None
    td_error_mean: Annotated[float | None, note("Mean temporal-difference error.", gauge())] = None
    td_error_std: Annotated[float | None, note("Spread of the temporal-difference error.", gauge())] = None
    bellman_error: Annotated[float | None, note("Mean absolute temporal-difference error.", gauge())] = None
    return_mean: Annotated[float | None, note("Mean discounted return.", gauge())] = None
    return_std: Annotated[float | None, note("Spread of the discounted returns.", gauge())] = None
    return_variance: Annotated[float | None, note("Variance of the discounted returns.", gauge())] = None
    return_skewness: Annotated[float | None, note("Skewness of the discounted returns.", gauge())] = None
    return_p10: Annotated[float | None, note("10th percentile of the returns.", gauge())] = None
    return_p50: Annotated[float | None, note("Median of the returns.", gauge())] = None
    return_p90: Annotated[float | None, note("90th percentile of the returns.", gauge())] = None
    op_q_values: Annotated[
        dict[str, float] | None,
        note("Estimated Q value by operation; NaN when unknown.", gauge(), key="op", aliases=("q_{key}",)),
    ] = None
    op_valid_mask: Annotated[
        dict[str, bool] | None, note("Whether an operation was allowed in the probed state.", key="op")
    ] = None
    q_variance: Annotated[
        float | None, note("Variance of Q over operations; under 0.01 they are not told apart.", gauge())
    ] = None
    q_spread: Annotated[float | None, note("Largest minus smallest Q.", gauge())] = None

    # Advantages
    advantage_mean: Annotated[float | None, note("Mean advantage after normalisation.", gauge())] = None
    advantage_std: Annotated[float | None, note("Spread of advantages after normalisation.", gauge())] = None
    advantage_skewness: Annotated[float | None, note("Skewness of the advantages.", gauge())] = None
    advantage_kurtosis: Annotated[float | None, note("Excess kurtosis of the advantages.", gauge())] = None
    advantage_positive_ratio: Annotated[
        float | None,
        note(
            "Share of positive advantages, 0 to 1; 0.4 to 0.6 is healthy.", gauge("tamiyo.advantage_positive_fraction")
        ),
    ] = None
    advantage_std_floored: Annotated[
        bool | None, note("The advantage spread was raised to its floor: a degenerate batch.", gauge())
    ] = None
    pre_norm_advantage_mean: Annotated[float | None, note("Mean advantage before normalisation.", gauge())] = None
    pre_norm_advantage_std: Annotated[float | None, note("Spread of advantages before normalisation.", gauge())] = None
    d5_pre_norm_advantage_std: Annotated[
        float | None, note("Spread of raw advantages over the usable steps.", gauge())
    ] = None

    # Numerical stability (C.6)
    log_prob_min: Annotated[
        float | None, note("Smallest log-probability of a chosen action, nats; under -50 warns of underflow.", gauge())
    ] = None
    log_prob_max: Annotated[float | None, note("Largest log-probability of a chosen action, nats.", gauge())] = None
    log_prob_underflow_count: Annotated[
        int | None,
        note("Steps with a log-probability under -50.", counter("tamiyo.log_prob_underflows", unit="{step}")),
    ] = None
    numerical_stability_score: Annotated[float | None, note("Composite stability, 0 to 1; 1 is healthy.", gauge())] = (
        None
    )

    # Policy quality (C.5) and sample efficiency (C.7)
    policy_determinism: Annotated[
        float | None, note("1 - entropy / maximal entropy, 0 to 1; above 0.95 is nearly deterministic.", gauge())
    ] = None
    action_diversity: Annotated[int | None, note("Different action combinations in the batch.", gauge())] = None
    dominant_action_ratio: Annotated[
        float | None,
        note(
            "Share of the commonest operation, 0 to 1; above 0.8 is collapse.", gauge("tamiyo.dominant_action_fraction")
        ),
    ] = None
    op_distribution: Annotated[
        dict[str, float] | None, note("Share of each operation in the batch, 0 to 1.", gauge(), key="op")
    ] = None
    entropy_collapsed: Annotated[bool | None, note("The policy's entropy fell under its limit.", gauge())] = None
    valid_sample_ratio: Annotated[
        float | None, note("Usable steps over all steps after masking, 0 to 1.", gauge("tamiyo.valid_sample_fraction"))
    ] = None
    forced_step_ratio: Annotated[
        float | None, note("Share of steps with a single allowed action, 0 to 1.", gauge("tamiyo.forced_step_fraction"))
    ] = None
    usable_actor_timesteps: Annotated[int | None, note("Steps in which the policy had a choice.", gauge())] = None
    decision_density: Annotated[
        float | None, note("1 - forced step share, 0 to 1; under 0.3 the slots are saturated.", gauge())
    ] = None
    dataloader_wait_ratio: Annotated[
        float | None,
        note("Share of the step spent waiting for data, 0 to 1.", gauge("tamiyo.dataloader_wait_fraction")),
    ] = None

    # Per head (C.4)
    head_entropy: Annotated[
        dict[str, float] | None,
        note("Entropy by head over its maximum, 0 to 1.", gauge(), key="head", aliases=("head_{key}_entropy",)),
    ] = None
    head_grad_norm: Annotated[
        dict[str, float] | None,
        note("L2 gradient norm by head, before clipping.", gauge(), key="head", aliases=("head_{key}_grad_norm",)),
    ] = None
    head_kl: Annotated[
        dict[str, float] | None, note("KL divergence by head in nats.", gauge(), key="head", aliases=("head_{key}_kl",))
    ] = None
    head_clip_fraction: Annotated[
        dict[str, float] | None,
        note("Share of clipped steps by head, 0 to 1.", gauge(), key="head", aliases=("head_{key}_clip_fraction",)),
    ] = None
    head_active_ratio: Annotated[
        dict[str, float] | None,
        note(
            "Share of steps in which the head had an effect, 0 to 1.",
            gauge("tamiyo.head_active_fraction"),
            key="head",
            aliases=("head_{key}_active_ratio",),
        ),
    ] = None
    head_learnable_fraction: Annotated[
        dict[str, float] | None,
        note(
            "Share of steps in which the head had an effect and a choice, 0 to 1.",
            gauge(),
            key="head",
            aliases=("head_{key}_learnable_fraction",),
        ),
    ] = None
    head_ratio_max: Annotated[
        dict[str, float] | None,
        note(
            "Largest probability ratio by head.",
            gauge("tamiyo.head_policy_ratio_max"),
            key="head",
            aliases=("head_{key}_ratio_max",),
        ),
    ] = None
    head_gradient_state: Annotated[
        dict[str, str] | None,
        note(
            "finite, missing, nonfinite, not_learnable or skipped, by head.",
            key="head",
            aliases=("head_{key}_gradient_state",),
        ),
    ] = None
    head_nan_detected: Annotated[
        dict[str, bool] | None, note("NaN met in the head during this update.", gauge(), key="head")
    ] = None
    head_inf_detected: Annotated[
        dict[str, bool] | None, note("Infinity met in the head during this update.", gauge(), key="head")
    ] = None
    causal_mask_coverage: Annotated[
        dict[str, float] | None,
        note("Share of the batch in which the head mattered for the operation, 0 to 1.", gauge(), key="head"),
    ] = None

    # Recurrent state, after the update and during the rollout
    lstm_l2_total: Annotated[
        dict[str, float] | None,
        note(
            "L2 norm of the state after the update.",
            gauge("tamiyo.lstm_l2"),
            key="cell",
            aliases=("lstm_{key}_l2_total",),
            tier=Tier.MEDIUM,
        ),
    ] = None
    lstm_rms: Annotated[
        dict[str, float] | None,
        note(
            "RMS of the state after the update; above 10 explodes, under 1e-6 vanishes.",
            gauge(),
            key="cell",
            aliases=("lstm_{key}_rms",),
            tier=Tier.MEDIUM,
        ),
    ] = None
    lstm_env_rms_mean: Annotated[
        dict[str, float] | None,
        note(
            "Mean over environments of the state's RMS.",
            gauge(),
            key="cell",
            aliases=("lstm_{key}_env_rms_mean",),
            tier=Tier.MEDIUM,
        ),
    ] = None
    lstm_env_rms_max: Annotated[
        dict[str, float] | None,
        note(
            "Worst environment's RMS of the state.",
            gauge(),
            key="cell",
            aliases=("lstm_{key}_env_rms_max",),
            tier=Tier.MEDIUM,
        ),
    ] = None
    lstm_max: Annotated[
        dict[str, float] | None,
        note(
            "Largest absolute entry of the state.", gauge(), key="cell", aliases=("lstm_{key}_max",), tier=Tier.MEDIUM
        ),
    ] = None
    lstm_has_nan: Annotated[bool | None, note("NaN in the state after the update.", gauge(), tier=Tier.MEDIUM)] = None
    lstm_has_inf: Annotated[bool | None, note("Infinity in the state after the update.", gauge(), tier=Tier.MEDIUM)] = (
        None
    )
    rollout_lstm_l2_total: Annotated[
        dict[str, float] | None,
        note(
            "L2 norm of the state in the rollout.",
            gauge("tamiyo.rollout_lstm_l2"),
            key="cell",
            aliases=("rollout_lstm_{key}_l2_total",),
            tier=Tier.MEDIUM,
        ),
    ] = None
    rollout_lstm_rms: Annotated[
        dict[str, float] | None,
        note(
            "RMS of the state in the rollout.",
            gauge(),
            key="cell",
            aliases=("rollout_lstm_{key}_rms",),
            tier=Tier.MEDIUM,
        ),
    ] = None
    rollout_lstm_env_rms_mean: Annotated[
        dict[str, float] | None,
        note(
            "Mean over environments of the state's RMS in the rollout.",
            gauge(),
            key="cell",
            aliases=("rollout_lstm_{key}_env_rms_mean",),
            tier=Tier.MEDIUM,
        ),
    ] = None
    rollout_lstm_env_rms_max: Annotated[
        dict[str, float] | None,
        note(
            "Worst environment's RMS of the state in the rollout.",
            gauge(),
            key="cell",
            aliases=("rollout_lstm_{key}_env_rms_max",),
            tier=Tier.MEDIUM,
        ),
    ] = None
    rollout_lstm_max: Annotated[
        dict[str, float] | None,
        note(
            "Largest absolute entry of the state in the rollout.",
            gauge(),
            key="cell",
            aliases=("rollout_lstm_{key}_max",),
            tier=Tier.MEDIUM,
        ),
    ] = None
    rollout_lstm_has_nan: Annotated[
        bool | None, note("NaN in the state in the rollout.", gauge(), tier=Tier.MEDIUM)
    ] = None
    rollout_lstm_has_inf: Annotated[
        bool | None, note("Infinity in the state in the rollout.", gauge(), tier=Tier.MEDIUM)
    ] = None

    # Rollbacks and memory, as esper-lite puts them here
    rollback_count: Annotated[
        int | None, note("Rollbacks tied to an executed step of this rollout.", gauge("tamiyo.rollout_rollbacks"))
    ] = None
    rollback_steps_zeroed: Annotated[int | None, note("Earlier steps whose reward a rollback forfeited.", gauge())] = (
        None
    )
    rollback_attempt_count: Annotated[
        int | None, note("All rollbacks of this rollout.", gauge("tamiyo.rollout_rollback_attempts"))
    ] = None
    rollback_unattributed_count: Annotated[
        int | None, note("Rollbacks with no step to blame.", gauge("tamiyo.rollout_unattributed_rollbacks"))
    ] = None
    cuda_memory_allocated_gb: Annotated[
        float | None,
        note("Tensor memory on the GPU, GiB.", gauge("tamiyo.cuda_memory.allocated", unit="By", scale=2.0**30)),
    ] = None
    cuda_memory_reserved_gb: Annotated[
        float | None,
        note("Memory that the allocator holds, GiB.", gauge("tamiyo.cuda_memory.reserved", unit="By", scale=2.0**30)),
    ] = None
    cuda_memory_peak_gb: Annotated[
        float | None,
        note("Largest tensor memory so far, GiB.", gauge("tamiyo.cuda_memory.peak", unit="By", scale=2.0**30)),
    ] = None
    cuda_memory_fragmentation: Annotated[
        float | None,
        note("1 - allocated / reserved, 0 to 1; above 0.3 is pressure.", gauge("tamiyo.cuda_memory.fragmentation")),
    ] = None
