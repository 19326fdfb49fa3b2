"""The sections of ``run_overview``: the state of one run, as queries over the views, by group."""

from __future__ import annotations

from typing import Final

from esper_otel.mcp_server.messages import Statement
from esper_otel.sql.catalogue import views_in

SECTION_BYTES: Final = 6_000
SECTION_ROWS: Final = 60


def _latest(view: str, columns: str, rows: int, *per: str) -> str:
    """The last ``rows`` rows of each group, or of each of its ``per``."""
    keys = ", ".join(("group_id", *per))
    newest = f"row_number() OVER (PARTITION BY {keys} ORDER BY timestamp DESC, seq DESC NULLS LAST)"
    return f"SELECT group_id, {columns} FROM {view} QUALIFY {newest} <= {rows} ORDER BY {keys}, timestamp DESC"


_CONFIGURATION: Final = (
    "SELECT group_id, started_at, ended_at, outcome, task, reward_mode, seed, n_envs, n_episodes, max_epochs,"
    " max_batches, lr, clip_ratio, entropy_coef, param_budget, host_params, slot_ids, policy_device, amp_enabled,"
    " resume_path FROM runs WHERE rank = 0 ORDER BY started_at"
)
_ACCURACY: Final = (
    "SELECT group_id, count(*) AS envs, avg(val_accuracy) AS mean_val_accuracy FROM (SELECT group_id, val_accuracy"
    " FROM tolaria_epochs QUALIFY row_number() OVER (PARTITION BY group_id, env_id ORDER BY timestamp DESC,"
    " seq DESC NULLS LAST) = 1) GROUP BY group_id ORDER BY group_id"
)
_ENTROPY: Final = (
    "SELECT group_id, list(entropy ORDER BY n) AS newest_first, regr_slope(entropy, -n) AS slope_per_update,"
    " CASE WHEN slope_per_update < 0 THEN newest_first[1] / -slope_per_update END AS updates_until_zero"
    " FROM (SELECT group_id, entropy, row_number() OVER (PARTITION BY group_id ORDER BY timestamp DESC,"
    " seq DESC NULLS LAST) AS n FROM tamiyo_updates WHERE isfinite(entropy)) WHERE n <= 10"
    " GROUP BY group_id ORDER BY group_id"
)
_SEEDS: Final = "SELECT group_id, event_type, count(*) AS events FROM seed_lifecycle GROUP BY ALL ORDER BY ALL"
_BLUEPRINTS: Final = (
    "SELECT group_id, blueprint_id, count(*) FILTER (event_type = 'SEED_GERMINATED') AS germinated,"
    " count(*) FILTER (event_type = 'SEED_FOSSILIZED') AS fossilized,"
    " count(*) FILTER (event_type = 'SEED_PRUNED') AS pruned,"
    " avg(improvement) FILTER (event_type = 'SEED_FOSSILIZED') AS mean_improvement_when_fossilized"
    " FROM seed_lifecycle WHERE blueprint_id IS NOT NULL GROUP BY ALL ORDER BY group_id, germinated DESC, blueprint_id"
)
_ACTIONS: Final = (
    "SELECT group_id, action_name, count(*) AS decisions, avg(action_success::INT) AS success_share,"
    " avg(total_reward) AS mean_reward FROM decisions GROUP BY ALL ORDER BY group_id, decisions DESC, action_name"
)
_REWARDS: Final = (
    "SELECT group_id, count(*) AS steps, avg(total_reward) AS mean_reward, min(total_reward) AS lowest,"
    " max(total_reward) AS highest FROM (SELECT group_id, total_reward FROM rewards QUALIFY row_number() OVER"
    " (PARTITION BY group_id ORDER BY timestamp DESC, seq DESC NULLS LAST) <= 100) GROUP BY group_id ORDER BY group_id"
)
_REWARD_PARTS: Final = (
    "SELECT group_id, component, sum(value) / any_value(steps) AS mean FROM (SELECT group_id, steps,"
    " unnest(map_keys(components)) AS component, unnest(map_values(components)) AS value FROM (SELECT group_id,"
    " components, count(*) OVER (PARTITION BY group_id) AS steps FROM (SELECT group_id, components FROM rewards QUALIFY"
    " row_number() OVER (PARTITION BY group_id ORDER BY timestamp DESC, seq DESC NULLS LAST) <= 100)))"
    " GROUP BY ALL HAVING mean <> 0 ORDER BY group_id, abs(mean) DESC"
)
_ANOMALIES: Final = (
    "SELECT group_id, event_type, count(*) AS events, max(timestamp) AS last FROM anomalies GROUP BY ALL ORDER BY ALL"
)
_BEST: Final = (
    "SELECT group_id, env_id, episode_idx, episode_reward, final_accuracy, param_ratio, outcome_type"
    " FROM episode_outcomes WHERE isfinite(episode_reward) QUALIFY row_number() OVER (PARTITION BY group_id"
    " ORDER BY episode_reward DESC, timestamp) <= 10 ORDER BY group_id, episode_reward DESC"
)
_CORRELATION: Final = (
    "SELECT group_id, count(*) AS batches, corr(avg_reward, avg_accuracy) AS correlation FROM (SELECT * FROM"
    " tolaria_batches WHERE isfinite(avg_reward) AND isfinite(avg_accuracy) QUALIFY row_number() OVER"
    " (PARTITION BY group_id ORDER BY timestamp DESC) <= 50) GROUP BY group_id ORDER BY group_id"
)
_DRIFT: Final = (
    "WITH shares AS (SELECT group_id, dense_rank() OVER (PARTITION BY group_id ORDER BY timestamp) AS n, batch_idx,"
    " action_name, pct FROM action_distribution), pairs AS (SELECT coalesce(a.group_id, b.group_id) AS group_id,"
    " coalesce(a.n, b.n + 1) AS n, abs(coalesce(a.pct, 0) - coalesce(b.pct, 0)) AS moved FROM shares a FULL JOIN"
    " shares b ON a.group_id = b.group_id AND a.n = b.n + 1 AND a.action_name = b.action_name), drifts AS"
    " (SELECT group_id, n, sum(moved) / 2 AS drift FROM pairs GROUP BY ALL) SELECT group_id, batch_idx, drift FROM"
    " drifts JOIN (SELECT DISTINCT group_id, n, batch_idx FROM shares) USING (group_id, n) WHERE n > 1"
    " QUALIFY row_number() OVER (PARTITION BY group_id ORDER BY n DESC) <= 10 ORDER BY group_id, n DESC"
)

SECTIONS: Final[dict[str, str]] = {
    "configuration": _CONFIGURATION,
    "latest_batch": _latest(
        "tolaria_batches",
        "timestamp, batch_idx, episodes_completed, total_episodes, avg_accuracy, rolling_accuracy, avg_reward",
        1,
    ),
    "latest_batch_stats": _latest(
        "batch_stats",
        "batch, episodes_completed, accuracy, host_accuracy, entropy, kl_divergence, explained_variance,"
        " seeds_created, seeds_fossilized, skipped_update",
        1,
    ),
    "latest_update": _latest(
        "tamiyo_updates",
        "timestamp, batch, ppo_update_idx, policy_loss, value_loss, entropy, kl_divergence, clip_fraction,"
        " explained_variance, pre_clip_grad_norm, grad_norm, value_nrmse, entropy_collapsed, nan_grad_count,"
        " inf_grad_count, lr, update_time_ms",
        1,
    ),
    "latest_epoch_by_env": _latest(
        "tolaria_epochs", "env_id, episode_idx, inner_epoch, val_accuracy, val_loss, timestamp", 1, "env_id"
    ),
    "mean_accuracy_of_envs": _ACCURACY,
    "entropy_of_last_10_updates": _ENTROPY,
    "seed_events": _SEEDS,
    "blueprints": _BLUEPRINTS,
    "actions": _ACTIONS,
    "recent_decisions": _latest(
        "decisions",
        "timestamp, env_id, episode_idx, inner_epoch, action_name, action_success, slot_id, blueprint_id,"
        " action_confidence, decision_entropy, value_estimate, total_reward",
        5,
    ),
    "reward_of_last_100_steps": _REWARDS,
    "reward_components_of_last_100_steps": _REWARD_PARTS,
    "anomalies": _ANOMALIES,
    "recent_anomalies": _latest(
        "anomalies",
        "timestamp, event_type, anomaly_type, batch, env_id, coalesce(detail, reason, message) AS what",
        10,
    ),
    "recent_trends": _latest("trends", "timestamp, event_type, batch_idx, rolling_delta, rolling_avg_accuracy", 5),
    "recent_outcomes": _latest(
        "episode_outcomes", "env_id, episode_idx, final_accuracy, episode_reward, param_ratio, outcome_type", 5
    ),
    "best_10_outcomes_by_reward": _BEST,
    "reward_and_accuracy_of_last_50_batches": _CORRELATION,
    "action_mix_drift": _DRIFT,
}
"""Queries by section.

The drift is half the sum of the absolute changes of the operations' shares since the previous batch, 0 to 1.
"""

VIEWS_USED: Final = sorted({name for sql in SECTIONS.values() for name in views_in(sql)})


def statements() -> dict[str, Statement]:
    """Every section's statement by its name."""
    return {name: Statement(sql, SECTION_ROWS, SECTION_BYTES) for name, sql in SECTIONS.items()}
