"""Run overview: configuration, progress, health in one line, anomalies, alerts, best and worst environments."""

from __future__ import annotations

from typing import Final

from grafana.board import Board, Row
from grafana.logql import events
from grafana.panel_kinds import ANY_IS_BAD, name_panel, stat_panel, timeseries_panel
from grafana.promql import age, counted, divided, last, latest, minus, only_where, peak, rate, raw, total
from grafana.tables import events_table_panel, logs_panel, table_panel, traces_panel
from grafana.traceql import rounds

EVERY_RUN: Final = {"instance": "~.+"}
OF_ENV: Final = ("env_id",)

_FIRING: Final = raw(
    'max by (alertname, severity, domain) (ALERTS{alertstate="firing", job=~"$job", instance=~"$instance"})',
    labels=("alertname", "severity", "domain"),
)

_STATE = Row(
    "Is the run alive and sound?",
    (
        name_panel(
            "state",
            "State",
            "running, or finished when it is over; stalled, failed and died page somebody.",
            only_where(latest("esper.run.status", "esper_run_state", agg="max"), "== 1"),
            "esper_run_state",
        ),
        stat_panel(
            "last_event",
            "Age of the last event",
            "A few seconds while training; it grows after the end.",
            ("last event", age("esper.relay.last_record.timestamp")),
        ),
        stat_panel(
            "progress",
            "Progress",
            "Grows to 100 %.",
            (
                "episodes done",
                divided(last("tolaria.episodes_completed", agg="max"), last("tolaria.episodes_planned", agg="max")),
            ),
        ),
        stat_panel(
            "position",
            "Where it is",
            "Round, episode and epoch move on.",
            ("round", last("tolaria.current_batch", agg="max")),
            ("episode", last("tolaria.current_episode", agg="max")),
            ("epoch", last("tolaria.inner_epoch", agg="max")),
            width=6,
            unit="none",
        ),
        stat_panel(
            "throughput",
            "Throughput",
            "Steady; a slow fall is a leak, a sudden one a stall.",
            ("events", rate("esper.events")),
            ("epochs", rate("tolaria.epochs")),
            ("updates", rate("tamiyo.updates")),
            width=6,
            decimals=1,
        ),
        stat_panel(
            "anomalies",
            "Anomalies since the run began",
            "Every number is 0. What is not 0 has an alert, a row in the event log and a round with an error status.",
            ("NaN or Inf updates", counted("tamiyo.nonfinite_updates")),
            ("gradient explosions", counted("tamiyo.grad_norm_violations", severity="critical")),
            ("instabilities", counted("simic.numerical_instabilities")),
            ("skipped updates", counted("tamiyo.skipped_updates")),
            ("ratio explosions", counted("simic.ratio_explosions")),
            ("value collapses", counted("simic.value_collapses")),
            ("gradient anomalies", counted("simic.gradient_anomalies")),
            ("rollbacks", counted("tolaria.rollbacks")),
            ("degradations", counted("simic.performance_degradations")),
            ("reward hacking", counted("simic.reward_hacking_suspicions")),
            ("memory warnings", counted("simic.memory_warnings")),
            ("lost events", counted("esper.log.lost_events")),
            width=24,
            limits=ANY_IS_BAD,
            unit="none",
            horizontal=True,
        ),
        stat_panel(
            "verdict",
            "Verdict",
            "All green: the critic fits, the policy still chooses, learning moves.",
            ("mean reward", last("tolaria.avg_reward")),
            ("median return", last("tamiyo.return_p50")),
            ("value correlation", last("tamiyo.value_target_correlation")),
            ("value NRMSE", last("tamiyo.value_nrmse")),
            ("KL", last("tamiyo.kl_divergence")),
            ("clip fraction", last("tamiyo.clip_fraction")),
            ("decision density", last("tamiyo.decision_density")),
            ("Q variance", last("tamiyo.q_variance")),
            ("inputs clipped", last("tamiyo.observation.clip_fraction")),
            width=24,
            unit="short",
            decimals=3,
            horizontal=True,
        ),
        table_panel(
            "alerts",
            "Alerts that fire",
            "Empty.",
            (
                "_",
                _FIRING,
            ),
            names={"alertname": "alert"},
            width=12,
            empty="No alert fires.",
        ),
        table_panel(
            "runs",
            "Runs",
            "The newest run is running; click one to look at it.",
            (
                "_",
                only_where(
                    latest("esper.run.status", "job", "instance", "esper_run_state", agg="max", **EVERY_RUN), "== 1"
                ),
            ),
            names={"instance": "run", "esper_run_state": "state"},
            width=12,
            links={"run": "/d/esper-run?var-instance=${__value.raw}&${__url_time_range}"},
        ),
    ),
)

_LEARNING = Row(
    "Does it learn?",
    (
        timeseries_panel(
            "accuracy",
            "Accuracy of the hosts",
            "Rises and levels off; the rolling mean does not fall.",
            ("mean of the environments", last("tolaria.val_accuracy")),
            ("best environment", last("tolaria.val_accuracy", agg="max")),
            ("worst environment", last("tolaria.val_accuracy", agg="min")),
            ("rolling mean", last("tolaria.rolling_accuracy")),
        ),
        timeseries_panel(
            "reward",
            "Reward of the episodes",
            "Rises; best and worst stay close.",
            ("mean of the round", last("tolaria.avg_reward")),
            ("best episode", last("simic.episode_reward", agg="max")),
            ("worst episode", last("simic.episode_reward", agg="min")),
        ),
        timeseries_panel(
            "trends",
            "Trends that were detected",
            "Improvements outnumber plateaus and degradations.",
            ("improvements", total("simic.improvements")),
            ("plateaus", total("simic.plateaus")),
            ("degradations", total("simic.degradations")),
        ),
        table_panel(
            "environments",
            "Environments, best and worst",
            "All are near the best; a large fall from the peak is a bad trajectory. Sort by any column.",
            ("accuracy", latest("tolaria.val_accuracy", *OF_ENV)),
            ("peak", peak("tolaria.val_accuracy", *OF_ENV)),
            ("from peak", minus(latest("tolaria.val_accuracy", *OF_ENV), peak("tolaria.val_accuracy", *OF_ENV))),
            ("loss", latest("tolaria.val_loss", *OF_ENV)),
            ("episode reward", latest("simic.episode_reward", *OF_ENV)),
            ("growth", latest("simic.param_growth", *OF_ENV)),
            ("fossilized", latest("simic.fossilized_seeds", *OF_ENV)),
            ("stability", latest("simic.stability_score", *OF_ENV)),
            height=6,
            sort="accuracy",
        ),
        events_table_panel(
            "leaderboard",
            "Leaderboard of episodes",
            "New episodes enter at the top. Sort by accuracy or reward for the best and the worst.",
            events("EPISODE_OUTCOME", by_env=True),
            {
                "simic_final_accuracy": "accuracy",
                "simic_episode_reward": "reward",
                "simic_param_ratio": "growth",
                "simic_num_fossilized": "fossilized",
                "simic_stability_score": "stability",
                "simic_outcome_type": "end",
                "simic_env_id": "environment",
                "simic_episode_idx": "episode",
                "trace_id": "round",
            },
            height=8,
        ),
    ),
)

_CONFIGURATION = Row(
    "What was run?",
    (
        stat_panel(
            "sizes",
            "Sizes",
            "What the recipe says.",
            ("environments", last("simic.envs", agg="max")),
            ("rounds", last("simic.max_batches", agg="max")),
            ("episodes", last("simic.max_episodes", agg="max")),
            ("epochs an episode", last("simic.max_epochs", agg="max")),
            ("host parameters", last("simic.host_params", agg="max")),
            ("parameter budget", last("simic.param_budget", agg="max")),
            (
                "ranks",
                raw(
                    'count(count by (rank) (esper_events_total{job=~"$job",instance=~"$instance",rank!=""}))',
                    signals=("esper.events",),
                ),
            ),
            width=24,
            unit="none",
            horizontal=True,
            empty="No TRAINING_STARTED was read, or the log has no such field.",
        ),
        events_table_panel(
            "configuration",
            "Configuration",
            "One row for each start of training: each A/B arm and each resume is one.",
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

_EVENTS = Row(
    "What happened?",
    (
        traces_panel(
            "rounds",
            "Rounds with an anomaly",
            "Empty. Each row is the trace of a round whose status says what went wrong.",
            rounds(only_anomalous=True),
            width=12,
            empty="No round had an anomaly.",
        ),
        traces_panel(
            "all_rounds",
            "Rounds",
            "One trace for each round, none much longer than the others.",
            rounds(),
            width=12,
        ),
        logs_panel(
            "event_log",
            "Event log",
            "Informational lines. Choose domain, severity and environment above.",
            events(by_env=False, keep='esper_event_type=~"$domain" | severity_text=~"$severity"'),
        ),
    ),
)

OVERVIEW: Final = Board(
    domain="run",
    title="Run overview",
    description="Is the run alive, does it learn, what was run, what happened.",
    rows=(_STATE, _LEARNING, _CONFIGURATION, _EVENTS),
    has_event_log=True,
)
