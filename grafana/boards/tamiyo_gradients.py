"""Tamiyo's gradients and heads."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import quantiles_panel, timeseries_panel
from grafana.panels.limits import HEAD_ENTROPY
from grafana.panels.states import state_timeline_panel
from grafana.panels.tables import table_panel
from grafana.queries.promql import at_most, head, head_entropy, highest, increase, last, mean, over_arms, quantile

_PEAK: Final = highest("tamiyo.max_pre_clip_grad_norm")

GRADIENTS: Final = Row(
    "Are the gradients healthy?",
    (
        timeseries_panel(
            "grad_norm",
            "Gradient norm before and after clipping",
            "Before clipping under the first dashed line; after clipping at most the limit. The peak is the largest, "
            "also between two scrapes.",
            ("before, peak", _PEAK),
            ("before, p99", at_most(quantile(0.99, "tamiyo.pre_clip_grad_norm"), _PEAK)),
            ("before, mean", mean("tamiyo.pre_clip_grad_norm")),
            ("after", last("tamiyo.grad_norm")),
            limits="tamiyo.pre_clip_grad_norm",
            log_above=1e-3,
            width=12,
        ),
        timeseries_panel(
            "gradient_health",
            "Layers and entries",
            "No dead and no exploding layer, a coefficient of variation under 0.5.",
            ("dead layers", last("tamiyo.dead_layers", agg="max")),
            ("exploding layers", last("tamiyo.exploding_layers", agg="max")),
            ("coefficient of variation", last("tamiyo.gradient_cv", agg="max")),
            ("NaN entries", increase("tamiyo.nan_grads")),
            ("Inf entries", increase("tamiyo.inf_grads")),
            ("stability score", last("tamiyo.numerical_stability_score", agg="min")),
            width=12,
        ),
        quantiles_panel(
            "update_time",
            "Time of an update",
            "Steady; a rise is a longer rollout, recompilation or a busy device.",
            ("p99", quantile(0.99, "tamiyo.update.duration")),
            ("mean", mean("tamiyo.update.duration")),
            width=12,
            height=7,
        ),
        timeseries_panel(
            "skipped",
            "Skipped updates",
            "0. Each is an update that left the weights as they were.",
            increase("tamiyo.skipped_updates", "reason"),
            width=12,
            height=7,
        ),
    ),
)

_BY_HEAD = ("head",)
HEADS: Final = Row(
    "Do all eight heads still choose and learn?",
    (
        table_panel(
            "heads",
            "Heads now",
            "Entropy, of its maximum in the steps with a choice, is far from 0; gradient norms alike, ratios near 1. "
            "A head that had no choice in the last update has no such numbers.",
            ("entropy", head_entropy(*_BY_HEAD)),
            ("gradient norm", head("tamiyo.head_grad_norm", *_BY_HEAD)),
            ("largest ratio", head("tamiyo.head_policy_ratio_max", *_BY_HEAD, agg="max")),
            ("KL", head("tamiyo.head_kl", *_BY_HEAD)),
            ("clipped", head("tamiyo.head_clip_fraction", *_BY_HEAD)),
            ("active", last("tamiyo.head_active_fraction", *_BY_HEAD)),
            ("learnable", last("tamiyo.head_learnable_fraction", *_BY_HEAD)),
            ("NaN", last("tamiyo.head_nan_detected", *_BY_HEAD, agg="max")),
            ("Inf", last("tamiyo.head_inf_detected", *_BY_HEAD, agg="max")),
            height=11,
            limits={"entropy": HEAD_ENTROPY},
            exact=("gradient norm", "KL"),
            units={"NaN": "none", "Inf": "none"},
        ),
        timeseries_panel(
            "head_entropy",
            "Entropy by head, of its maximum",
            "Each falls slowly; none reaches 0 while it still has a choice. A head without a choice has no line.",
            head_entropy(*_BY_HEAD),
            width=12,
            height=8,
        ),
        timeseries_panel(
            "head_grad_norm",
            "Gradient norm by head",
            "Within two decades of each other.",
            head("tamiyo.head_grad_norm", *_BY_HEAD),
            width=12,
            height=8,
            log_above=1e-9,
        ),
        state_timeline_panel(
            "head_nonfinite",
            "NaN or infinity by head",
            "Green throughout.",
            ("{{head}} NaN", over_arms("max", last("tamiyo.head_nan_detected", *_BY_HEAD, agg="max"))),
            states={0: ("none", "green"), 1: ("met", "red")},
            width=24,
            height=7,
            empty="the producer does not look for NaN by head",
        ),
    ),
)
