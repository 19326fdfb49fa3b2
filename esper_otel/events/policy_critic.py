"""Quality of the critic: its values, errors and targets, estimated Q values, and advantages made from them.

Values are those of the rollout, from before the critic learns from it, as in SB3 and CleanRL: what the advantages were
made from, and the same in all updates of a batch. R is the λ-return A + V, the critic's target.
"""

from typing import Annotated, Final

from esper_otel.events.declare import Threshold, gauge, note, violations
from esper_otel.events.limits import CRITIC, MEASURED, above, between
from esper_otel.events.policy_optimisation import PolicyOptimisation
from esper_otel.events.types import Flag, Flags, Real, Reals, Whole

EXPLAINED_VARIANCE_VIOLATIONS = violations(
    "tamiyo.explained_variance_violations",
    threshold=Threshold(
        warning_below=0.3,
        critical_below=0.0,
        reason="Below 0 the critic is worse than predicting the mean return. "
        "Good runs are beyond them in most of their first updates, so that no panel is coloured by them.",
    ),
    description="Updates whose critic explained too little of the returns.",
)

FAILING_SHARE: Final = 0.8
FAILING_LEAST: Final = 50
"""Share of at least so many updates beyond the critical limit from which on the critic fails; early ones are low."""

UNDEFINED_WHERE_ALIKE: Final = "explained_variance"
"""Field that has no value where all returns are alike: esper-lite and Stable-Baselines3 write NaN then."""


class PolicyCritic(PolicyOptimisation, frozen=True, kw_only=True):
    """The second part of :class:`~esper_otel.events.PolicyUpdate`; never emitted by itself."""

    # Value function (C.3)
    explained_variance: Annotated[
        Real,
        note(
            "1 - Var(R - V) / Var(R) of the rollout, R the λ-return, V the critic before it learns from R;"
            " 1 is perfect, under 0 is worse than the mean.",
            gauge(),
            EXPLAINED_VARIANCE_VIOLATIONS,
        ),
    ] = None
    ev_low_return_variance: Annotated[
        Flag, note("Return variance is too low for explained variance to mean anything.", gauge())
    ] = None
    ev_low_return_variance_count: Annotated[Whole, note("Updates of the batch with that flag.")] = None
    ev_return_variance: Annotated[
        Real, note("Variance of the λ-returns that explained variance was divided by.", gauge())
    ] = None
    value_nrmse: Annotated[
        Real,
        note(
            "Root mean square of V - R of the rollout over the spread of R; 1 and above predicts nothing.",
            gauge(),
        ),
    ] = None
    value_mean: Annotated[Real, note("Mean predicted value of the rollout.", gauge())] = None
    value_std: Annotated[Real, note("Spread of predicted values of the rollout.", gauge())] = None
    value_min: Annotated[Real, note("Smallest predicted value of the rollout.", gauge())] = None
    value_max: Annotated[Real, note("Largest predicted value of the rollout.", gauge())] = None
    value_prediction_error_mean: Annotated[Real, note("Mean of V - R of the rollout: bias of the critic.", gauge())] = (
        None
    )
    value_prediction_error_std: Annotated[Real, note("Spread of V - R of the rollout.", gauge())] = None
    value_target_correlation: Annotated[
        Real,
        note(
            "Pearson correlation of V and R of the rollout, -1 to 1; under 0 it ranks states the wrong way.",
            gauge(),
            aliases=("v_return_correlation",),
        ),
    ] = None
    value_target_scale: Annotated[Real, note("Divisor that normalises returns for the critic.", gauge())] = None
    td_error_mean: Annotated[
        Real,
        note(
            "Mean temporal-difference error of the rollout.",
            gauge(),
            limits=between((-5.0, -15.0), (5.0, 15.0), CRITIC),
        ),
    ] = None
    td_error_std: Annotated[Real, note("Spread of the temporal-difference error of the rollout.", gauge())] = None
    bellman_error: Annotated[
        Real, note("Mean absolute temporal-difference error, not squared.", gauge(), limits=above(20.0, 50.0, CRITIC))
    ] = None
    return_mean: Annotated[
        Real, note("Mean λ-return A + V, the critic's target: it contains the critic's own estimate.", gauge())
    ] = None
    return_std: Annotated[Real, note("Spread of the λ-returns.", gauge())] = None
    return_variance: Annotated[Real, note("Variance of the λ-returns.", gauge(), limits=above(100.0, None, CRITIC))] = (
        None
    )
    return_skewness: Annotated[
        Real, note("Skewness of the λ-returns.", gauge(), limits=between((-1.5, -3.0), (1.5, 3.0), MEASURED))
    ] = None
    return_p10: Annotated[Real, note("10th percentile of the λ-returns.", gauge())] = None
    return_p50: Annotated[Real, note("Median of the λ-returns.", gauge())] = None
    return_p90: Annotated[Real, note("90th percentile of the λ-returns.", gauge())] = None
    op_q_values: Annotated[
        Reals, note("Estimated Q value by operation; NaN when unknown.", gauge(), key="op", aliases=("q_{key}",))
    ] = None
    op_valid_mask: Annotated[Flags, note("Whether an operation was allowed in the probed state.", key="op")] = None
    q_variance: Annotated[
        Real,
        note(
            "Variance of Q over operations; under 0.01 they are not told apart.",
            gauge(),
        ),
    ] = None
    q_spread: Annotated[Real, note("Largest minus smallest Q.", gauge())] = None

    # Advantages
    advantage_mean: Annotated[
        Real, note("Mean of the advantages that the loss used: normalised over all ranks, this rank's share.", gauge())
    ] = None
    advantage_std: Annotated[
        Real,
        note("Spread of the advantages that the loss used.", gauge(), limits=between((0.3, 0.1), (2.0, 3.0), MEASURED)),
    ] = None
    advantage_skewness: Annotated[
        Real,
        note(
            "Skewness of the advantages that the loss used.",
            gauge(),
            limits=between((-1.5, -2.5), (1.5, 2.5), MEASURED),
        ),
    ] = None
    advantage_kurtosis: Annotated[
        Real,
        note(
            "Excess kurtosis of the advantages that the loss used.",
            gauge(),
            limits=between((-1.8, -1.95), (4.0, 6.0), MEASURED),
        ),
    ] = None
    advantage_positive_ratio: Annotated[
        Real,
        note(
            "Share of positive ones among the advantages that the loss used, 0 to 1.",
            gauge("tamiyo.advantage_positive_fraction"),
        ),
    ] = None
    advantage_std_floored: Annotated[
        Flag, note("The spread that advantages were divided by was raised to its floor: a degenerate batch.", gauge())
    ] = None
    pre_norm_advantage_mean: Annotated[
        Real, note("Mean advantage before normalisation, this rank's rollout.", gauge())
    ] = None
    pre_norm_advantage_std: Annotated[
        Real, note("Spread of advantages before normalisation, this rank's rollout.", gauge())
    ] = None
    d5_pre_norm_advantage_std: Annotated[
        Real, note("Spread of advantages before normalisation over the steps with a choice.", gauge())
    ] = None
