"""Tamiyo's updates: trust region, losses, critic."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import stat_panel, timeseries_panel
from grafana.panels.tables import table_panel
from grafana.queries.promql import last, over_arms, total

TRUST_REGION: Final = Row(
    "Do the updates stay within the trust region?",
    (
        timeseries_panel(
            "kl",
            "KL divergence",
            "Around 0.01, under the dashed lines; the largest step is not far above the mean. Joint over the heads "
            "used, while the update is under way; means are k3 estimates of sampled steps, the largest step is exact.",
            ("KL(old || new), k3", last("tamiyo.kl_divergence")),
            ("KL(new || old), k3", last("tamiyo.kl_reverse")),
            ("largest step, exact", last("tamiyo.approx_kl_max", agg="max")),
            limits="tamiyo.kl_divergence",
            log_above=1e-4,
        ),
        timeseries_panel(
            "clipping",
            "Steps outside the clip range",
            "0.05 to 0.2, the same above and below. Some keep their gradient: the loss takes the worse side.",
            ("outside", last("tamiyo.clip_fraction")),
            ("above", last("tamiyo.clip_fraction_positive")),
            ("below", last("tamiyo.clip_fraction_negative")),
            limits="tamiyo.clip_fraction",
        ),
        timeseries_panel(
            "ratio",
            "Probability ratios new/old",
            "The mean is 1, the extremes between 0.5 and 2.",
            ("largest", last("tamiyo.policy_ratio_max", agg="max")),
            ("mean", last("tamiyo.policy_ratio_mean")),
            ("smallest", last("tamiyo.policy_ratio_min", agg="min")),
            ("spread", last("tamiyo.policy_ratio_std")),
            ("largest product", last("tamiyo.joint_ratio_max", agg="max")),
            limits="tamiyo.policy_ratio_max",
            log_above=1e-4,
        ),
        stat_panel(
            "violations",
            "Updates beyond a critical limit, since the run began",
            "Of all arms. None of the gradients; few of the others. The alerts look at the share of all updates.",
            ("KL", over_arms("sum", total("tamiyo.kl_violations", severity="critical"))),
            ("clipping", over_arms("sum", total("tamiyo.clip_fraction_violations", severity="critical"))),
            ("ratio", over_arms("sum", total("tamiyo.policy_ratio_violations", severity="critical"))),
            (
                "explained variance",
                over_arms("sum", total("tamiyo.explained_variance_violations", severity="critical")),
            ),
            ("gradient norm", over_arms("sum", total("tamiyo.grad_norm_violations", severity="critical"))),
            ("not finite", over_arms("sum", total("tamiyo.nonfinite_updates"))),
            ("instabilities", over_arms("sum", total("simic.numerical_instabilities"))),
            ("ratio collapses", over_arms("sum", total("simic.ratio_collapses"))),
            ("value collapses", over_arms("sum", total("simic.value_collapses"))),
            ("updates", over_arms("sum", total("tamiyo.updates"))),
            width=24,
            unit="none",
            horizontal=True,
            limits=None,
        ),
    ),
)

LOSSES: Final = Row(
    "Does the policy learn?",
    (
        timeseries_panel(
            "losses",
            "Losses",
            "The value loss falls; the policy loss stays near 0 and is not a goal.",
            ("policy", last("tamiyo.policy_loss")),
            ("value", last("tamiyo.value_loss")),
            ("entropy term", last("tamiyo.entropy_loss")),
            ("Q auxiliary", last("tamiyo.q_aux_loss")),
        ),
        timeseries_panel(
            "entropy",
            "Entropy and learning rate",
            "Falls slowly and does not reach 0: a policy that stopped choosing stopped learning.",
            ("entropy", last("tamiyo.entropy")),
            ("determinism", last("tamiyo.policy_determinism")),
            ("collapsed", last("tamiyo.entropy_collapsed", agg="max")),
            ("coefficient", last("tamiyo.entropy_coef")),
            ("lr", last("tamiyo.lr")),
            second={"(coefficient|lr)": "short"},
        ),
        timeseries_panel(
            "returns",
            "λ-returns",
            "The median rises; the 10th percentile is above 0. They are the critic's targets and contain its estimate; "
            "rewards alone are on Simic's board.",
            ("p90", last("tamiyo.return_p90")),
            ("p50", last("tamiyo.return_p50")),
            ("p10", last("tamiyo.return_p10")),
            ("mean", last("tamiyo.return_mean")),
            ("spread", last("tamiyo.return_std")),
        ),
    ),
)

CRITIC: Final = Row(
    "Can the critic be trusted?",
    (
        timeseries_panel(
            "critic_fit",
            "Fit of the critic",
            "Of the critic that played the rollout, before it learns from it. Explained variance and correlation rise "
            "towards 1, NRMSE falls under 1. While the return variance is low (1 below), explained variance means "
            "nothing.",
            ("explained variance", last("tamiyo.explained_variance")),
            ("correlation", last("tamiyo.value_target_correlation")),
            ("NRMSE", last("tamiyo.value_nrmse")),
            ("low variance", last("tamiyo.ev_low_return_variance", agg="max")),
            limits=None,
            between=(-1.0, 1.5),
        ),
        timeseries_panel(
            "values",
            "Predicted values",
            "As wide as the returns; a range that shrinks to a point is a collapse.",
            ("largest", last("tamiyo.value_max", agg="max")),
            ("mean", last("tamiyo.value_mean")),
            ("smallest", last("tamiyo.value_min", agg="min")),
            ("spread", last("tamiyo.value_std")),
            ("bias", last("tamiyo.value_prediction_error_mean")),
        ),
        timeseries_panel(
            "td_error",
            "Temporal-difference error",
            "The mean is around 0, the absolute error falls.",
            ("mean", last("tamiyo.td_error_mean")),
            ("spread", last("tamiyo.td_error_std")),
            ("mean absolute", last("tamiyo.bellman_error")),
            limits="tamiyo.td_error_mean",
        ),
        table_panel(
            "distribution",
            "Advantages and returns",
            "Of the advantages that the loss used, normalised over all ranks. Green: no tails, and about half of them "
            "are positive; on one rank mean and spread are 0 and 1 by construction.",
            ("advantage mean", last("tamiyo.advantage_mean")),
            ("advantage spread", last("tamiyo.advantage_std")),
            ("advantage skewness", last("tamiyo.advantage_skewness")),
            ("advantage kurtosis", last("tamiyo.advantage_kurtosis")),
            ("positive share", last("tamiyo.advantage_positive_fraction")),
            ("spread was floored", last("tamiyo.advantage_std_floored", agg="max")),
            ("raw spread", last("tamiyo.pre_norm_advantage_std")),
            ("return variance", last("tamiyo.return_variance")),
            ("return skewness", last("tamiyo.return_skewness")),
            ("lowest log prob", last("tamiyo.log_prob_min", agg="min")),
            ("highest log prob", last("tamiyo.log_prob_max", agg="max")),
            height=6,
            units={"positive share": "short", "spread was floored": "none"},
        ),
    ),
)
