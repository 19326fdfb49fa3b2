"""Tamiyo: trust region, losses, critic, gradients, heads, decisions."""

from __future__ import annotations

from typing import Final

from grafana.boards.tamiyo_details import INPUT_DETAILS, STATE_DETAILS, UPDATE_DETAILS
from grafana.boards.tamiyo_gradients import GRADIENTS, HEADS
from grafana.boards.tamiyo_updates import CRITIC, LOSSES, TRUST_REGION
from grafana.layout.board import Board, Row
from grafana.panels.kinds import ANY_IS_BAD, stat_panel, timeseries_panel
from grafana.panels.tables import events_table_panel
from grafana.queries.logql import events
from grafana.queries.promql import divided, increase, last, over_arms, rate, total

_DECISIONS = Row(
    "What does it decide, and on what?",
    (
        timeseries_panel(
            "actions",
            "Operations chosen in a round",
            "A mixture that moves; one operation above 80 % is collapse.",
            last("tamiyo.batch_actions", "op", agg="sum"),
            stacked=True,
        ),
        timeseries_panel(
            "decisions_rate",
            "Decisions by operation and success",
            "Operations that change something succeed mostly.",
            ("{{op}} success {{success}}", rate("tamiyo.decisions", "op", "success")),
            stacked=True,
            width=16,
            beside=True,
        ),
        timeseries_panel(
            "choice",
            "Freedom and confidence",
            "Density above 0.7; confidence rises without reaching 1.",
            ("decision density", last("tamiyo.decision_density")),
            ("forced steps", last("tamiyo.forced_step_fraction")),
            ("confidence", last("tamiyo.decision_confidence")),
            ("commonest operation", last("tamiyo.dominant_action_fraction", agg="max")),
            ("masked choices", divided(rate("tamiyo.mask_hits"), rate("tamiyo.masked_choices"))),
            limits="tamiyo.decision_density",
            unit="percentunit",
        ),
        timeseries_panel(
            "observations",
            "Observations",
            "Few outliers, none clipped, no drift, no NaN.",
            ("outliers", last("tamiyo.observation.outlier_fraction", agg="max")),
            ("near the bound", last("tamiyo.observation.near_clip_fraction", agg="max")),
            ("clipped", last("tamiyo.observation.clip_fraction", agg="max")),
            ("drift", last("tamiyo.observation.normalization_drift", agg="max")),
            ("NaN", increase("tamiyo.observation.nans")),
            ("Inf", increase("tamiyo.observation.infs")),
            unit="short",
        ),
        stat_panel(
            "observation_faults",
            "Inputs that were not finite",
            "0.",
            ("NaN", over_arms("sum", total("tamiyo.observation.nans"))),
            ("Inf", over_arms("sum", total("tamiyo.observation.infs"))),
            ("log-probability underflows", over_arms("sum", total("tamiyo.log_prob_underflows"))),
            width=8,
            height=8,
            horizontal=True,
            limits=ANY_IS_BAD,
            unit="none",
        ),
        events_table_panel(
            "decisions",
            "Latest decisions",
            "Confidence under 1, the reward near the predicted value. Forced choices have no alternative.",
            events("TAMIYO_DECISION", by_env=True),
            {
                "tamiyo_env_id": "environment",
                "tamiyo_inner_epoch": "epoch",
                "tamiyo_action_name": "action",
                "tamiyo_action_success": "done",
                "tamiyo_slot_id": "slot",
                "tamiyo_blueprint_id": "blueprint",
                "tamiyo_action_confidence": "confidence",
                "tamiyo_decision_entropy": "entropy",
                "tamiyo_value_estimate": "value",
                "tamiyo_total_reward": "reward",
                "tamiyo_alternatives": "alternatives",
                "trace_id": "trace",
            },
        ),
    ),
)

TAMIYO: Final = Board(
    domain="tamiyo",
    title="Tamiyo: policy",
    description="Is the policy update sound, does the policy learn, what does it decide.",
    rows=(TRUST_REGION, LOSSES, CRITIC, GRADIENTS, HEADS, _DECISIONS, UPDATE_DETAILS, STATE_DETAILS, INPUT_DETAILS),
)
