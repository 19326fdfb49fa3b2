"""Optimisation of the policy: losses, trust region, gradients, mixed precision, value function.

Fields and formulas are those of the plan's Appendix C; where esper-lite spells a field differently its spelling is an
alias. Definitions of the PPO diagnostics: Schulman et al. 2017 (arXiv:1707.06347); the KL estimators are J. Schulman's
"Approximating KL divergence" (2020): ``kl_divergence`` is the mean of k3 = (r - 1) - log r. "Joint" is the product over
the heads that the operation used; "during the pass" means that each step is seen by the policy as it was when its
mini-batch came up, before that mini-batch's gradient step. Numbers "of the rollout" are the same in all updates of a
batch: they are about the policy and the critic that played it.
"""

from typing import Annotated, Final

from esper_otel.events.bounds import DIVERGENCE, NORM
from esper_otel.events.declare import (
    Event,
    Threshold,
    Tier,
    counter,
    gauge,
    histogram,
    maximum,
    milliseconds,
    nonfinite,
    note,
    violations,
)
from esper_otel.events.limits import HEALTH, MEASURED, STABILITY, above, below
from esper_otel.events.types import Flag, Real, Reals, Text, Texts, Whole

NONFINITE_UPDATES = nonfinite(
    "tamiyo.nonfinite_updates",
    unit="{update}",
    description="Policy updates whose gradient norm was NaN or infinite.",
    shared=True,
)

GRAD_NORM_THRESHOLD = Threshold(
    warning_above=20.0,
    critical_above=100.0,
    reason=f"{MEASURED} Two decades above the default clipping limit of 1 is an explosion.",
)
GRAD_NORM_VIOLATIONS = violations(
    "tamiyo.grad_norm_violations",
    threshold=GRAD_NORM_THRESHOLD,
    description="Updates whose gradient norm before clipping was beyond the limit.",
)
KL_VIOLATIONS = violations(
    "tamiyo.kl_violations",
    threshold=Threshold(
        warning_above=0.15,
        critical_above=0.3,
        reason=f"{MEASURED} 0 is no fault: one pass over a fresh rollout has it. Collapse shows in the entropy.",
    ),
    description="Updates with a KL beyond the limit.",
)
CLIP_FRACTION_VIOLATIONS = violations(
    "tamiyo.clip_fraction_violations",
    threshold=Threshold(warning_above=0.65, critical_above=0.75, reason=f"{MEASURED} 0 is no fault, as for the KL."),
    description="Updates that clipped too many of their steps.",
)
RATIO_VIOLATIONS = violations(
    "tamiyo.policy_ratio_violations",
    threshold=Threshold(
        warning_above=6.0,
        critical_above=10.0,
        reason=MEASURED,
    ),
    description="Updates with a probability ratio beyond the limit.",
)

NEVER_UNDEFINED: Final = ("pre_clip_grad_norm", "policy_loss", "value_loss", "kl_divergence", "entropy")
"""Fields that are finite in every update that did not go wrong."""


class PolicyOptimisation(Event, frozen=True, kw_only=True):
    """The first part of :class:`~esper_otel.events.PolicyUpdate`; never emitted by itself."""

    ppo_update_idx: Annotated[Whole, note("Number of this update within its batch: 1, 2, 3 …", gauge())] = None
    ppo_updates_count: Annotated[Whole, note("Updates done so far in this batch.")] = None
    batch: Annotated[Whole, note("Number of the batch (round), from 1.", gauge())] = None
    episodes_completed: Annotated[Whole, note("Episodes finished when the update ran.")] = None
    env_steps: Annotated[
        Whole, note("Steps of the program so far, by its own count: of environments, or of the optimizer (TRL).")
    ] = None
    inner_epoch: Annotated[
        Whole, note("Host epoch when the update ran; always the last one, kept for older readers.")
    ] = None
    early_stop_epoch: Annotated[Whole, note("PPO epoch at which the KL limit stopped the updates of this batch.")] = (
        None
    )
    update_time_ms: Annotated[
        Real,
        note(
            "Wall time of the update, ms.",
            milliseconds("tamiyo.update.duration"),
            limits=above(1500.0, 3000.0, STABILITY),
        ),
    ] = None

    # Losses
    policy_loss: Annotated[Real, note("Clipped surrogate loss, mean over mini-batches.", gauge())] = None
    value_loss: Annotated[
        Real,
        note(
            "Critic loss, mean over mini-batches, without its coefficient: half the mean squared error (SB3: whole).",
            gauge(),
        ),
    ] = None
    entropy: Annotated[
        Real,
        note("Joint policy entropy in nats: sum over the heads used, mean over steps, during the pass.", gauge()),
    ] = None
    entropy_loss: Annotated[
        Real, note("Entropy term of the loss, coefficient included: -entropy_coef * entropy (SB3: -entropy).", gauge())
    ] = None
    entropy_coef: Annotated[Real, note("Weight of the entropy bonus.", gauge())] = None
    q_aux_loss: Annotated[Real, note("Regression loss of the telemetry-only Q head.", gauge())] = None
    lr: Annotated[Real, note("Learning rate of the policy optimiser.", gauge())] = None

    # Trust region (C.2)
    kl_divergence: Annotated[
        Real,
        note(
            "KL(old || new) in nats: mean over steps of the k3 estimate of the joint, during the pass"
            " (esper-lite: weighted mean over heads).",
            gauge(),
            histogram("tamiyo.update_kl", bounds=DIVERGENCE, is_signed=True),
            KL_VIOLATIONS,
        ),
    ] = None
    approx_kl_max: Annotated[
        Real,
        note(
            "Largest step's exact KL(old || new) in nats, sum over the heads used, during the pass: localised drift.",
            gauge(),
        ),
    ] = None
    kl_reverse: Annotated[
        Real,
        note(
            "KL(new || old) in nats: mean of r ln r - (r - 1) over steps of the old policy, joint, during the pass;"
            " its asymmetry tells the direction of collapse.",
            gauge(),
        ),
    ] = None
    trust_region_violations: Annotated[
        Whole,
        note(
            "Steps whose joint probability ratio was outside the clip range during the pass.",
            counter("tamiyo.trust_region_violations", unit="{step}"),
        ),
    ] = None
    clip_fraction: Annotated[
        Real,
        note(
            "Share of steps whose joint ratio was outside 1 ± clip during the pass, 0 to 1; some of them keep their"
            " gradient.",
            gauge(),
            CLIP_FRACTION_VIOLATIONS,
        ),
    ] = None
    clip_fraction_positive: Annotated[Real, note("Share of steps with a ratio above 1 + clip, 0 to 1.", gauge())] = None
    clip_fraction_negative: Annotated[Real, note("Share of steps with a ratio below 1 - clip, 0 to 1.", gauge())] = None
    ratio_mean: Annotated[
        Real, note("Mean joint probability ratio new/old during the pass.", gauge("tamiyo.policy_ratio_mean"))
    ] = None
    ratio_min: Annotated[
        Real,
        note(
            "Smallest joint probability ratio new/old.",
            gauge("tamiyo.policy_ratio_min"),
            limits=below(0.08, 0.03, MEASURED),
        ),
    ] = None
    ratio_max: Annotated[
        Real, note("Largest joint probability ratio new/old.", gauge("tamiyo.policy_ratio_max"), RATIO_VIOLATIONS)
    ] = None
    ratio_std: Annotated[
        Real,
        note(
            "Spread of the joint probability ratio.",
            gauge("tamiyo.policy_ratio_std"),
            limits=above(0.75, 2.0, MEASURED),
        ),
    ] = None
    joint_ratio_max: Annotated[
        Real,
        note(
            "Largest product of the per-head ratios; the trainer's ratio_max is joint, so the same number.",
            gauge(),
            limits=above(6.0, 10.0, MEASURED),
        ),
    ] = None

    # Gradients
    pre_clip_grad_norm: Annotated[
        Real,
        note(
            "L2 norm of the policy's gradient before clipping, largest of the mini-batches.",
            histogram(bounds=NORM),
            maximum(
                "tamiyo.max_pre_clip_grad_norm", description="Largest gradient norm before clipping in the last 60 s."
            ),
            GRAD_NORM_VIOLATIONS,
            NONFINITE_UPDATES,
        ),
    ] = None
    grad_norm: Annotated[
        Real,
        note(
            "L2 norm of the policy's gradient after clipping, largest of the mini-batches.",
            gauge(),
            limits=above(5.0, 10.0, HEALTH),
        ),
    ] = None
    grad_clip_fraction: Annotated[Real, note("Share of minibatches whose gradient was clipped, 0 to 1.", gauge())] = (
        None
    )
    gradient_utilization: Annotated[
        Real,
        note("Gradient norm before clipping over the clipping limit, mean over mini-batches; may be above 1.", gauge()),
    ] = None
    gradient_cv: Annotated[
        Real,
        note(
            "Coefficient of variation of the mini-batches' gradient norms before clipping; under 0.5 is clean.",
            gauge(),
            limits=above(1.1, 2.0, MEASURED),
        ),
    ] = None
    nan_grad_count: Annotated[
        Whole,
        note(
            "Gradient entries that were NaN, first mini-batch.",
            counter("tamiyo.nan_grads", unit="{entry}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    inf_grad_count: Annotated[
        Whole,
        note(
            "Gradient entries that were infinite, first mini-batch.",
            counter("tamiyo.inf_grads", unit="{entry}"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    dead_layers: Annotated[
        Whole, note("Layers with over 90 % zero gradient entries, first mini-batch.", gauge(), tier=Tier.MEDIUM)
    ] = None
    exploding_layers: Annotated[
        Whole, note("Layers with over 10 % gradient entries above 10, first mini-batch.", gauge(), tier=Tier.MEDIUM)
    ] = None
    grad_zero_fraction: Annotated[
        Real, note("Share of gradient entries that are zero, first mini-batch, 0 to 1.", gauge(), tier=Tier.MEDIUM)
    ] = None
    grad_norm_ratio: Annotated[
        Real,
        note(
            "Largest over smallest layer gradient norm, first mini-batch; layers with norm 0 are left out.",
            gauge("tamiyo.grad_norm_spread"),
            tier=Tier.MEDIUM,
        ),
    ] = None
    grad_norm_per_layer: Annotated[
        Reals, note("Gradient norm before clipping by layer, first mini-batch.", tier=Tier.MEDIUM)
    ] = None
    grad_nan_layers: Annotated[
        Texts, note("Layers (modules) whose gradient held NaN, first mini-batch.", tier=Tier.MEDIUM)
    ] = None
    layer_gradient_health: Annotated[
        Reals, note("Gradient health by layer, first mini-batch, 0 to 1.", tier=Tier.MEDIUM)
    ] = None
    policy_update_magnitude: Annotated[
        Real, note("L2 norm of the change of the policy's weights over the pass.", gauge())
    ] = None

    # AMP (D.5)
    loss_scale: Annotated[Real, note("Loss scale of the AMP gradient scaler.", gauge())] = None
    loss_scale_updates: Annotated[
        Whole, note("Changes of the loss scale in this batch.", counter("tamiyo.loss_scale_changes", unit="{change}"))
    ] = None
    amp_overflow_detected: Annotated[Flag, note("The scaled gradient overflowed.")] = None
    amp_overflow_count: Annotated[
        Whole, note("Overflows detected by the gradient scaler.", counter("tamiyo.amp_overflows", unit="{overflow}"))
    ] = None
    grad_scaler_state: Annotated[
        Text, note("Trend of the scale in this batch: decaying if it fell at all, else growing or stable.")
    ] = None
