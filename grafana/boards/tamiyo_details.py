"""Tamiyo: details that explain a bad update, in rows that open on a click."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import ANY_IS_BAD, bar_gauge_panel, quantiles_panel, stat_panel, timeseries_panel
from grafana.queries.promql import increase, last, quantile, rate

_NOT_REPORTED: Final = "the producer does not report these fields"
_MEDIUM: Final = "only medium diagnostics look at layers and states, and a policy without recurrence has none"

UPDATE_DETAILS: Final = Row(
    "What else does an update say?",
    (
        quantiles_panel(
            "update_kl",
            "KL of single updates",
            "The slowest tenth stays within a few times the median.",
            ("p50", quantile(0.5, "tamiyo.update_kl")),
            ("p99", quantile(0.99, "tamiyo.update_kl")),
            limits=None,
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "trust_region_steps",
            "Steps that left the clip range",
            "Few against the steps of a batch. Growth means that updates are too large.",
            ("steps", rate("tamiyo.trust_region_violations")),
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "update_magnitude",
            "Change of the policy's weights",
            "Flat or slowly falling. A jump is an update that overwrote what was learnt; 0 means no change.",
            ("L2 norm", last("tamiyo.policy_update_magnitude")),
            log_above=1e-6,
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "gradient_budget",
            "Gradient norm against its limit",
            "A share below 1 most of the time: clipping handles outliers. Always above 1, clipping sets the step size.",
            ("norm over limit, mean of minibatches", last("tamiyo.gradient_utilization")),
            ("minibatches clipped", last("tamiyo.grad_clip_fraction")),
            ("limit", last("simic.max_grad_norm")),
            unit="short",
            limits=None,
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "gradient_shape",
            "Shape of the policy's gradients",
            "Of the first minibatch. Zero entries stay rare; no layer's norm is many orders above another's. Layers "
            "with norm 0 are left out of the spread and counted as dead.",
            ("norm spread", last("tamiyo.grad_norm_spread")),
            ("zero entries", last("tamiyo.grad_zero_fraction")),
            second={"zero entries": "percentunit"},
            unit="short",
            limits=None,
            empty=_MEDIUM,
        ),
        timeseries_panel(
            "raw_advantages",
            "Advantages before normalisation",
            "A spread that is not 0 and does not explode; the mean wanders around 0.",
            ("mean", last("tamiyo.pre_norm_advantage_mean")),
            ("spread over usable steps", last("tamiyo.d5_pre_norm_advantage_std")),
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "critic_scales",
            "Scales of the critic",
            "They follow the returns: a divisor that jumps changes what the critic's loss means.",
            ("spread of its error", last("tamiyo.value_prediction_error_std")),
            ("divisor of returns", last("tamiyo.value_target_scale")),
            ("return variance", last("tamiyo.ev_return_variance")),
            limits=None,
            log_above=1e-3,
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "usable_steps",
            "Steps that an update learns from",
            "Most steps are usable; a fall starves the update.",
            ("steps with a choice", last("tamiyo.usable_actor_timesteps", agg="sum")),
            ("usable share", last("tamiyo.valid_sample_fraction")),
            second={"usable share": "percentunit"},
            unit="short",
            limits=None,
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "causal_coverage",
            "Steps in which a head mattered",
            "Heads other than the operation matter when their operation is chosen; at 0 a head gets no gradient.",
            last("tamiyo.causal_mask_coverage", "head"),
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "op_mix",
            "Operations where there was a choice",
            "Several operations keep their share. One at 100 % is a policy that no longer explores.",
            last("tamiyo.op_distribution", "op"),
            stacked=True,
            unit="percentunit",
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "action_variety",
            "Different actions in the batch",
            "Many while the policy explores, fewer when it has learnt.",
            ("combinations", last("tamiyo.action_diversity")),
            ("hosts ready for seeds", increase("tamiyo.initiations")),
            unit="short",
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "decisions_by_env",
            "Latest decision by environment",
            "The value follows the rewards of the environment; the entropy falls slowly.",
            ("entropy {{env_id}}", last("tamiyo.decision_entropy", "env_id")),
            ("value {{env_id}}", last("tamiyo.value_estimate", "env_id")),
            unit="short",
            empty=_NOT_REPORTED,
        ),
        timeseries_panel(
            "rollout_rollbacks",
            "Rollbacks in the rollout",
            "0. Each one forfeits rewards of the steps before it.",
            ("rollbacks", last("tamiyo.rollout_rollback_attempts", agg="sum")),
            ("tied to a step", last("tamiyo.rollout_rollbacks", agg="sum")),
            ("without a step to blame", last("tamiyo.rollout_unattributed_rollbacks", agg="sum")),
            ("steps that lost their reward", last("tamiyo.rollback_steps_zeroed", agg="sum")),
            empty=_NOT_REPORTED,
        ),
    ),
    is_open=False,
)

STATE_DETAILS: Final = Row(
    "Are mixed precision, the recurrent state and Q values sound, in policies that have them?",
    (
        timeseries_panel(
            "amp",
            "Mixed precision",
            "The scale stays or grows, overflows are rare.",
            ("loss scale", last("tamiyo.loss_scale")),
            ("overflows", increase("tamiyo.amp_overflows")),
            ("scale changes", increase("tamiyo.loss_scale_changes")),
            width=8,
            height=7,
            second={"loss scale": "short"},
            empty="the policy does not train with AMP",
        ),
        timeseries_panel(
            "recurrent",
            "Recurrent state",
            "RMS between 1e-4 and 5, never NaN or infinite.",
            ("RMS {{cell}}", last("tamiyo.lstm_rms", "cell")),
            ("largest {{cell}}", last("tamiyo.lstm_max", "cell", agg="max")),
            ("RMS in the rollout {{cell}}", last("tamiyo.rollout_lstm_rms", "cell")),
            ("NaN", last("tamiyo.lstm_has_nan", agg="max")),
            ("Inf", last("tamiyo.lstm_has_inf", agg="max")),
            limits="tamiyo.lstm_rms",
            width=8,
            height=7,
            empty="the policy has no recurrent state",
        ),
        bar_gauge_panel(
            "q_values",
            "Estimated Q by operation",
            "The operations differ: with a variance under 0.01 they are indistinguishable.",
            ("{{op}}", last("tamiyo.op_q_values", "op")),
            ("variance", last("tamiyo.q_variance")),
            ("spread", last("tamiyo.q_spread")),
            signed=True,
            empty="the policy has no Q head",
        ),
        timeseries_panel(
            "state_rms",
            "RMS of the state after the update",
            "The worst environment stays within a few times the mean.",
            ("mean {{cell}}", last("tamiyo.lstm_env_rms_mean", "cell")),
            ("worst {{cell}}", last("tamiyo.lstm_env_rms_max", "cell", agg="max")),
            empty=_MEDIUM,
        ),
        timeseries_panel(
            "rollout_state_rms",
            "RMS of the state in the rollout",
            "As after the update; a difference means that the stored states are stale.",
            ("mean {{cell}}", last("tamiyo.rollout_lstm_env_rms_mean", "cell")),
            ("worst {{cell}}", last("tamiyo.rollout_lstm_env_rms_max", "cell", agg="max")),
            empty=_MEDIUM,
        ),
        timeseries_panel(
            "state_size",
            "Size of the state",
            "Bounded. Growth over a round is a recurrence that diverges.",
            ("norm {{cell}}", last("tamiyo.lstm_l2", "cell")),
            ("norm in the rollout {{cell}}", last("tamiyo.rollout_lstm_l2", "cell")),
            ("largest entry in the rollout {{cell}}", last("tamiyo.rollout_lstm_max", "cell", agg="max")),
            log_above=1e-3,
            empty=_MEDIUM,
        ),
        stat_panel(
            "rollout_state_faults",
            "State in the rollout that is not finite",
            "0.",
            ("NaN", last("tamiyo.rollout_lstm_has_nan", agg="max")),
            ("infinity", last("tamiyo.rollout_lstm_has_inf", agg="max")),
            limits=ANY_IS_BAD,
            unit="none",
            empty=_MEDIUM,
        ),
    ),
    is_open=False,
)

INPUT_DETAILS: Final = Row(
    "Are the groups of inputs on one scale?",
    tuple(
        timeseries_panel(
            f"inputs_{part}",
            f"Features of the {words}",
            "The mean stays near 0 and the spread near 1; a drift is an input that the normalisation lags behind.",
            ("mean {{env_id}}", last(f"tamiyo.observation.{part}_features_mean", "env_id")),
            ("spread {{env_id}}", last(f"tamiyo.observation.{part}_features_std", "env_id")),
            empty=_NOT_REPORTED,
        )
        for part, words in (("host", "host"), ("slot", "slots"), ("context", "context"))
    ),
    is_open=False,
)
