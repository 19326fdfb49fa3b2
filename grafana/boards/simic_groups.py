"""Simic: differences between the groups of an A/B run, and detected problems."""

from __future__ import annotations

from typing import Final

from esper_otel.events import EVENT_TYPES
from grafana.layout.board import Row
from grafana.panels.kinds import bar_gauge_panel, stat_panel, timeseries_panel
from grafana.panels.limits import SUSPICIONS
from grafana.panels.tables import events_table_panel, table_panel
from grafana.queries.logql import events
from grafana.queries.promql import Prom, divided, increase, last, only_where, over_arms, select, total
from grafana.queries.truth import value

PER_CENT: Final = "percent"


def _since(name: str) -> Prom:
    """Increase of a counter since the run began, by group."""
    return last(name, agg="sum")


_EPISODES: Final = _since("simic.episodes")


def _arms(expression: Prom) -> Prom:
    """``expression`` without the group of the process itself, which trains nothing in an A/B run."""
    text = f"({expression.text}) and on (group_id) ({_EPISODES.text} > 0)"
    return Prom(text=text, signals=expression.signals, labels=expression.labels, unit=expression.unit)


def _paid_alike() -> Prom:
    """The reward of each group, unless the groups are known to have different reward functions."""
    reward, began = last("tolaria.avg_reward"), value(select("esper.run.info"))
    text = f"({reward.text}) unless on () (count(count by (reward_mode) ({began})) > 1)"
    return Prom(text=text, signals=reward.signals, labels=reward.labels, unit=reward.unit)


GROUPS: Final = Row(
    "Do the groups of an A/B run differ?",
    (
        table_panel(
            "groups",
            "Groups side by side",
            "One row in a run without groups. The group with more accuracy for less growth leads, unless an anomaly "
            "speaks against it.",
            ("episodes", only_where(_EPISODES, "> 0")),
            ("accuracy", last("simic.final_accuracy")),
            ("rolling accuracy", last("tolaria.rolling_accuracy")),
            ("reward", last("simic.episode_reward")),
            ("growth", last("simic.param_growth")),
            ("stability", last("simic.stability_score")),
            ("yield", _arms(divided(_since("kasmina.fossilizations"), _since("kasmina.germinations")))),
            ("entropy", last("tamiyo.entropy")),
            ("rollbacks", _arms(_since("tolaria.rollbacks"))),
            ("instabilities", _arms(_since("simic.numerical_instabilities"))),
            ("reward hacking", _arms(_since("simic.reward_hacking_suspicions"))),
            height=5,
            units={
                "episodes": "none",
                "accuracy": PER_CENT,
                "rolling accuracy": PER_CENT,
                "rollbacks": "none",
                "instabilities": "none",
                "reward hacking": "none",
            },
        ),
        bar_gauge_panel(
            "group_reward",
            "Reward by group, if paid alike",
            "Of groups with one reward function the larger leads; groups with different ones are compared by accuracy.",
            ("{{group_id}}", _paid_alike()),
            signed=True,
            height=6,
            empty="the groups have different reward functions",
        ),
        timeseries_panel(
            "group_accuracy",
            "Accuracy by group",
            "One group's line stays above the other's.",
            ("{{group_id}}", last("tolaria.rolling_accuracy")),
            height=6,
            unit=PER_CENT,
        ),
        timeseries_panel(
            "seeds_by_round",
            "Seeds of a round",
            "Seeds are tried in every round, and some are kept.",
            ("created", last("simic.batch_seeds_created")),
            ("fossilized", last("simic.batch_seeds_fossilized")),
            height=6,
            unit="none",
        ),
        events_table_panel(
            "modes",
            "Reward mode of each group",
            "The modes under comparison.",
            events("TRAINING_STARTED"),
            {
                "esper_group_id": "group",
                "simic_reward_mode": "reward mode",
                "simic_seed": "seed",
                "simic_n_envs": "environments",
            },
            width=8,
            height=6,
            since="7d",
            empty="training began over a week ago",
        ),
    ),
)

_DETECTIONS: Final = (
    ("reward hacking", "simic.reward_hacking_suspicions"),
    ("degraded performance", "simic.performance_degradations"),
    ("instabilities", "simic.numerical_instabilities"),
    ("gradient anomalies", "simic.gradient_anomalies"),
    ("gradient pathologies", "simic.gradient_pathologies"),
    ("ratio explosions", "simic.ratio_explosions"),
    ("ratio collapses", "simic.ratio_collapses"),
    ("value collapses", "simic.value_collapses"),
    ("memory warnings", "simic.memory_warnings"),
)
_EVENTS: Final = tuple(
    sorted(
        name
        for name, event in EVENT_TYPES.items()
        if {"anomaly_type", "drop_percent", "pattern"} & set(event.__struct_fields__)
    )
)

DETECTIONS: Final = Row(
    "Does any seed cheat, does anything break?",
    (
        timeseries_panel(
            "detections",
            "Detections",
            "Empty, but for an occasional suspicion of reward hacking.",
            *((name, only_where(_arms(increase(signal)), "> 0")) for name, signal in _DETECTIONS),
            unit="none",
            limits=None,
            width=24,
            beside=True,
            empty="nothing was detected",
        ),
        bar_gauge_panel(
            "hacking",
            "Suspicions of reward hacking",
            "Short bars. attribution_ratio: a seed is credited with far more than the host gained. "
            "ransomware_signature: a seed is needed by a host that got worse.",
            _arms(last("simic.reward_hacking_suspicions", "pattern", agg="sum")),
            limits=SUSPICIONS,
            unit="none",
            width=12,
        ),
        timeseries_panel(
            "drops",
            "Relative drop of accuracy when it degraded",
            "Empty.",
            last("simic.accuracy_drop"),
            unit=PER_CENT,
            empty="performance never degraded",
        ),
        events_table_panel(
            "anomalies",
            "Detections, newest first",
            "Few rows, and no critical ones.",
            events(*_EVENTS),
            {
                "severity_text": "severity",
                "esper_event_type": "event",
                "esper_group_id": "group",
                "simic_anomaly_type": "kind",
                "simic_pattern": "pattern",
                "simic_env_id": "env",
                "simic_slot_id": "slot",
                "simic_detail": "detail",
                "simic_value": "value",
                "simic_seed_contribution": "contribution",
                "simic_drop_percent": "drop %",
                "simic_threshold": "threshold",
                "trace_id": "trace",
            },
            empty="nothing was detected",
        ),
    ),
)

TOTALS: Final = Row(
    "What happened since the run began?",
    (
        stat_panel(
            "totals",
            "Counted since the run began",
            "Rounds, rewards and counterfactuals grow together; one start unless the run was resumed.",
            ("starts", over_arms("sum", total("simic.training_starts"))),
            ("rounds", over_arms("sum", total("tolaria.batches"))),
            ("rewards", over_arms("sum", total("simic.rewards"))),
            ("counterfactuals", over_arms("sum", total("simic.counterfactuals"))),
            ("checkpoints loaded", over_arms("sum", total("simic.checkpoints_loaded"))),
            width=16,
            unit="none",
            horizontal=True,
            empty="a log of esper-lite holds some of them only",
        ),
        stat_panel(
            "length",
            "Length",
            "As long as planned.",
            ("length", last("esper.run_length", agg="max")),
            empty="the run still goes on, or ended without an event",
        ),
        stat_panel(
            "checkpoint_size",
            "Checkpoint",
            "It grows with the hosts.",
            ("checkpoint", last("simic.checkpoint_size", agg="max")),
            empty="no checkpoint was saved",
        ),
        timeseries_panel(
            "batch_accuracy",
            "Accuracy of the batch",
            "Rises and levels off.",
            ("this batch", last("simic.batch_accuracy")),
            unit="percent",
            empty="the producer reports no statistics of batches",
        ),
        timeseries_panel(
            "seed_growth",
            "Seed parameters over host parameters, by environment",
            "Small: every parameter of a seed pays rent.",
            ("{{env_id}}", last("simic.seed_growth", "env_id")),
            width=16,
            empty="the reward has no such part",
        ),
    ),
    is_open=False,
)
