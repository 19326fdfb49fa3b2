"""What the metrics must say, worked out by DuckDB from the raw JSON of a recording, without any of our code."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import duckdb

BARE = re.compile(rb"(?<=[\[:,] )(NaN|-?Infinity)(?=[,\]}])")


def lines_of(recording: Path, plain: Path) -> duckdb.DuckDBPyConnection:
    """The table ``line`` (n, event_type, data); bare NaN and Infinity, which are no JSON, are put in quotes."""
    with gzip.open(recording, "rb") as packed:
        plain.write_bytes(BARE.sub(rb'"\1"', packed.read()))
    connection = duckdb.connect()
    connection.execute(
        f"""
        CREATE TABLE line AS
        SELECT row_number() OVER () AS n, event_type, data
        FROM read_ndjson('{plain}', columns = {{event_type: 'VARCHAR', data: 'JSON'}})
        """
    )
    return connection


def number(field: str) -> str:
    """SQL of a field as a number; NaN stays NaN, absent and null are NULL."""
    return f"(data->>'$.{field}')::DOUBLE"


def text(field: str) -> str:
    return f"(data->>'$.{field}')"


def of(event_type: str, kind: str | None = None) -> str:
    """SQL condition that a line is of one type, and kind of snapshot."""
    condition = f"event_type = '{event_type}'"
    return condition if kind is None else f"{condition} AND data->>'$.kind' = '{kind}'"


LAST_ACTION = of("ANALYTICS_SNAPSHOT", "last_action")
UPDATE = of("PPO_UPDATE_COMPLETED")

EVENTS = """
SELECT CASE event_type
         WHEN 'PPO_UPDATE_COMPLETED' THEN 'TAMIYO_POLICY_UPDATE'
         WHEN 'EPOCH_COMPLETED' THEN 'TOLARIA_EPOCH_COMPLETED'
         WHEN 'BATCH_EPOCH_COMPLETED' THEN 'TOLARIA_BATCH_COMPLETED'
         WHEN 'GOVERNOR_ROLLBACK' THEN 'TOLARIA_ROLLBACK'
         WHEN 'ANALYTICS_SNAPSHOT' THEN CASE data->>'$.kind'
           WHEN 'last_action' THEN 'TAMIYO_DECISION'
           WHEN 'action_distribution' THEN 'TAMIYO_ACTION_DISTRIBUTION'
           WHEN 'batch_stats' THEN 'SIMIC_BATCH_STATS'
           WHEN 'shapley_computed' THEN 'SIMIC_SHAPLEY_COMPUTED'
           WHEN 'summary_table' THEN 'SIMIC_SUMMARY_TABLE'
         END
         ELSE event_type
       END, count(*)
FROM line GROUP BY 1
UNION ALL SELECT 'SIMIC_REWARD_COMPUTED', count(*) FROM line WHERE data->>'$.reward_components' IS NOT NULL
UNION ALL SELECT 'TAMIYO_OBSERVATION_STATS', count(*) FROM line WHERE data->>'$.observation_stats' IS NOT NULL
UNION ALL SELECT 'TAMIYO_UPDATE_SKIPPED', count(*) FROM line WHERE data->>'$.skipped_update' = 'true'
"""

Labels = tuple[str, ...]


def count(where: str, *fields: str) -> str:
    """SQL that counts lines by the text of ``fields``."""
    keys = "".join(f"{text(field)}, " for field in fields)
    return f"SELECT {keys}count(*) FROM line WHERE {where} GROUP BY ALL"


def total(where: str, field: str, *keys: str) -> str:
    """SQL that adds up the finite values of ``field`` by the text of ``keys``."""
    columns = "".join(f"{text(key)}, " for key in keys)
    return f"SELECT {columns}sum({number(field)}) FROM line WHERE {where} AND isfinite({number(field)}) GROUP BY ALL"


def measured(where: str, field: str, *keys: str) -> str:
    """SQL that counts the finite values of ``field`` by the text of ``keys``."""
    columns = "".join(f"{text(key)}, " for key in keys)
    return f"SELECT {columns}count(*) FROM line WHERE {where} AND isfinite({number(field)}) GROUP BY ALL"


def violations(field: str, warning: str, critical: str) -> str:
    """SQL that counts updates beyond a limit by severity; a limit is a comparison such as ``> 10``."""
    value = number(field)
    return f"""
    SELECT CASE WHEN {value} {critical} THEN 'critical' ELSE 'warning' END, count(*) FROM line
    WHERE {UPDATE} AND isfinite({value}) AND ({value} {warning} OR {value} {critical}) GROUP BY 1
    """


def by_phase(value: str) -> str:
    """SQL that aggregates over the phases of the profiles; ``value`` may use ``wall`` and ``cpu``, in ms."""
    return f"""
    SELECT phase, {value} FROM (
      SELECT key AS phase, (value->>'$.wall_ms')::DOUBLE AS wall, (value->>'$.python_cpu_ms')::DOUBLE AS cpu
      FROM line, json_each(line.data, '$.phases') WHERE {of("PHASE_PROFILE_COMPLETED")}
    ) GROUP BY 1
    """


def last(where: str, field: str, *keys: str) -> str:
    """SQL of the last value of ``field`` by the text of ``keys``."""
    columns = "".join(f"{text(key)}, " for key in keys)
    return f"SELECT {columns}arg_max({number(field)}, n) FROM line WHERE {where} GROUP BY ALL"


COUNTERS: dict[str, tuple[Labels, str]] = {
    "esper_events_total": (("event_type",), EVENTS),
    "kasmina_stage_changes_total": (
        ("from_stage", "to_stage"),
        count(of("SEED_STAGE_CHANGED"), "from_stage", "to_stage"),
    ),
    "kasmina_germinations_total": (("blueprint",), count(of("SEED_GERMINATED"), "blueprint_id")),
    "kasmina_germinated_params_total": ((), total(of("SEED_GERMINATED"), "params")),
    "kasmina_prunes_total": (("initiator", "blueprint"), count(of("SEED_PRUNED"), "initiator", "blueprint_id")),
    "kasmina_fossilizations_total": (("blueprint",), count(of("SEED_FOSSILIZED"), "blueprint_id")),
    "kasmina_gate_evaluations_total": (("gate", "passed"), count(of("SEED_GATE_EVALUATED"), "gate", "passed")),
    "kasmina_morphology_records_total": (("morphology_phase",), count(of("MORPHOLOGY_CAUSAL_LOG"), "phase")),
    "tamiyo_decisions_total": (("op", "success"), count(LAST_ACTION, "action_name", "action_success")),
    "tamiyo_updates_total": ((), count(UPDATE)),
    "tamiyo_initiations_total": (("env_id",), count(of("TAMIYO_INITIATED"), "env_id")),
    "tamiyo_nan_grads_total": ((), total(UPDATE, "nan_grad_count")),
    "tamiyo_inf_grads_total": ((), total(UPDATE, "inf_grad_count")),
    "tamiyo_trust_region_violations_total": ((), total(UPDATE, "trust_region_violations")),
    "tamiyo_observation_nans_total": (("env_id",), total(LAST_ACTION, "observation_stats.nan_count", "env_id")),
    "tamiyo_observation_infs_total": (("env_id",), total(LAST_ACTION, "observation_stats.inf_count", "env_id")),
    "tamiyo_nonfinite_updates_total": (
        ("kind",),
        f"""SELECT CASE WHEN isnan({number("pre_clip_grad_norm")}) THEN 'nan' ELSE 'inf' END, count(*)
        FROM line WHERE {UPDATE} AND NOT isfinite({number("pre_clip_grad_norm")}) GROUP BY 1""",
    ),
    "tamiyo_grad_norm_violations_total": (("severity",), violations("pre_clip_grad_norm", "> 20", "> 100")),
    "tamiyo_kl_violations_total": (("severity",), violations("kl_divergence", "> 0.12", "> 0.3")),
    "tamiyo_clip_fraction_violations_total": (("severity",), violations("clip_fraction", "> 0.6", "> 0.75")),
    "tamiyo_policy_ratio_violations_total": (("severity",), violations("ratio_max", "> 6", "> 10")),
    "tamiyo_explained_variance_violations_total": (
        ("severity",),
        violations("explained_variance", "< 0.3", "< 0"),
    ),
    "tolaria_epochs_total": (("env_id",), count(of("EPOCH_COMPLETED"), "env_id")),
    "tolaria_batches_total": ((), count(of("BATCH_EPOCH_COMPLETED"))),
    "tolaria_rollbacks_total": (("panic_reason",), count(of("GOVERNOR_ROLLBACK"), "panic_reason")),
    "tolaria_phase_cpu_time_seconds_total": (("phase",), by_phase("sum(cpu) / 1000")),
    "simic_training_starts_total": ((), count(of("TRAINING_STARTED"))),
    "simic_episodes_total": (("env_id",), count(of("EPISODE_OUTCOME"), "env_id")),
    "simic_rewards_total": (
        ("env_id",),
        count(f"{LAST_ACTION} AND data->>'$.reward_components' IS NOT NULL", "env_id"),
    ),
    "simic_counterfactuals_total": ((), count(of("COUNTERFACTUAL_MATRIX_COMPUTED"))),
    "simic_plateaus_total": ((), count(of("PLATEAU_DETECTED"))),
    "simic_improvements_total": ((), count(of("IMPROVEMENT_DETECTED"))),
    "simic_degradations_total": ((), count(of("DEGRADATION_DETECTED"))),
    "simic_gradient_anomalies_total": ((), count(of("GRADIENT_ANOMALY"))),
    "simic_gradient_pathologies_total": ((), count(of("GRADIENT_PATHOLOGY_DETECTED"))),
    "simic_performance_degradations_total": ((), count(of("PERFORMANCE_DEGRADATION"))),
    "simic_numerical_instabilities_total": ((), count(of("NUMERICAL_INSTABILITY_DETECTED"))),
    "esper_telemetry_nonfinite_total": (
        ("event_type", "field"),
        """SELECT CASE event_type WHEN 'GOVERNOR_ROLLBACK' THEN 'TOLARIA_ROLLBACK' ELSE event_type END, key, count(*)
        FROM line, json_each(line.data) WHERE value::VARCHAR IN ('"NaN"', '"Infinity"', '"-Infinity"') GROUP BY ALL""",
    ),
    "tamiyo_pre_clip_grad_norm_count": ((), measured(UPDATE, "pre_clip_grad_norm")),
    "tamiyo_pre_clip_grad_norm_sum": ((), total(UPDATE, "pre_clip_grad_norm")),
    "tamiyo_update_duration_seconds_count": ((), measured(UPDATE, "update_time_ms")),
    "tamiyo_update_duration_seconds_sum": (
        (),
        f"SELECT sum({number('update_time_ms')}) / 1000 FROM line WHERE {UPDATE}",
    ),
    "tolaria_host_grad_norm_count": (("env_id",), measured(of("EPOCH_COMPLETED"), "host_grad_norm", "env_id")),
    "tolaria_phase_duration_seconds_count": (("phase",), by_phase("count(wall)")),
    "tolaria_phase_duration_seconds_sum": (("phase",), by_phase("sum(wall) / 1000")),
}
"""Labels and SQL of every counted series: the SQL yields the labels' values, then the number."""

GAUGES: dict[str, tuple[Labels, str]] = {
    "tolaria_val_accuracy": (("env_id",), last(of("EPOCH_COMPLETED"), "val_accuracy", "env_id")),
    "tolaria_val_loss": (("env_id",), last(of("EPOCH_COMPLETED"), "val_loss", "env_id")),
    "tolaria_inner_epoch": (("env_id",), last(of("EPOCH_COMPLETED"), "inner_epoch", "env_id")),
    "tolaria_avg_reward": ((), last(of("BATCH_EPOCH_COMPLETED"), "avg_reward")),
    "tamiyo_policy_loss": ((), last(UPDATE, "policy_loss")),
    "tamiyo_entropy": ((), last(UPDATE, "entropy")),
    "tamiyo_decision_entropy": (("env_id",), last(LAST_ACTION, "decision_entropy", "env_id")),
    "simic_episode_reward": (("env_id",), last(of("EPISODE_OUTCOME"), "episode_reward", "env_id")),
    "simic_final_accuracy": (("env_id",), last(of("EPISODE_OUTCOME"), "final_accuracy", "env_id")),
}
"""The same for last values."""
