"""Run overview: configuration, rounds, the event log."""

from __future__ import annotations

from typing import Final

from esper_otel.alerts.promql import metric
from grafana.layout.board import Row
from grafana.panels.kinds import stat_panel
from grafana.panels.tables import events_table_panel, logs_panel, traces_panel
from grafana.queries.logql import LEFT_OUT, events
from grafana.queries.promql import last, over_arms, raw
from grafana.queries.traceql import rounds
from grafana.queries.truth import value

CONFIGURATION: Final = Row(
    "What was run?",
    (
        stat_panel(
            "sizes",
            "Sizes",
            "The values of the recipe; of an A/B run, the same for each arm.",
            ("environments", over_arms("max", last("simic.envs", agg="max"))),
            ("rounds", over_arms("max", last("simic.max_batches", agg="max"))),
            ("episodes", over_arms("max", last("simic.max_episodes", agg="max"))),
            ("epochs an episode", over_arms("max", last("simic.max_epochs", agg="max"))),
            ("host parameters", over_arms("max", last("simic.host_params", agg="max"))),
            ("parameter budget", over_arms("max", last("simic.param_budget", agg="max"))),
            (
                "ranks",
                raw(
                    f"count(count by (rank) ({value(metric('esper.events', job='~$job', instance='~$instance'))}))",
                    signals=("esper.events",),
                ),
            ),
            width=24,
            unit="none",
            horizontal=True,
            empty="no TRAINING_STARTED was read, or the log has no such field.",
        ),
        events_table_panel(
            "configuration",
            "Configuration",
            "One row for each start of training: one per A/B arm and resume.",
            events("TRAINING_STARTED"),
            {
                "esper_run_id": "run",
                "esper_group_id": "group",
                "simic_task": "task",
                "simic_seed": "seed",
                "simic_reward_mode": "reward mode",
                "simic_lr": "lr",
                "simic_clip_ratio": "clip",
                "simic_entropy_coef": "entropy coefficient",
                "simic_entropy_anneal": "anneal",
                "simic_gamma": "gamma",
                "simic_slot_ids": "slots",
                "simic_policy_device": "device",
                "simic_world_size": "ranks",
                "simic_amp_enabled": "AMP",
                "simic_compile_enabled": "compile",
                "simic_resume_path": "resumed from",
                "simic_start_episode": "first episode",
                "simic_proof_baseline_mode": "baseline",
            },
            height=4,
            since="7d",
        ),
    ),
)

_CHOSEN: Final = f'esper_event_type=~"$domain" | severity_text=~"$severity" | esper_event_type!~"${LEFT_OUT}"'
"""Lines of the event log."""

EVENTS: Final = Row(
    "What happened?",
    (
        traces_panel(
            "rounds",
            "Newest 50 rounds with an anomaly",
            "Empty. Each row is the trace of a round; its status gives the error.",
            rounds(only_anomalous=True),
            width=12,
            empty="no round had an anomaly, or the rounds were not sampled",
        ),
        traces_panel(
            "all_rounds",
            "Newest 50 rounds",
            "One trace for each round, none much longer than the others.",
            rounds(),
            width=12,
        ),
        logs_panel(
            "event_log",
            "Event log",
            "Informational lines. Choose domain, severity and environment above.",
            events(keep=_CHOSEN),
        ),
    ),
)
