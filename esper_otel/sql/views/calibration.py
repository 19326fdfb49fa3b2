"""The view that checks whether rewards follow accuracy."""

from __future__ import annotations

import re
from typing import Final

from esper_otel.events import EpisodeOutcome
from esper_otel.sql.views.columns import Column, columns_of
from esper_otel.sql.views.view import View, view_name

_VARY: Final = "min(final_accuracy) < max(final_accuracy) AND min(episode_reward) < max(episode_reward)"

_FIGURES: Final = (
    (Column("n_episodes", "BIGINT", "Episodes."), "count(*)"),
    (Column("mean_accuracy", "DOUBLE", "Mean final accuracy, 0 to 100."), "avg(final_accuracy)"),
    (Column("mean_reward", "DOUBLE", "Mean reward of an episode."), "avg(episode_reward)"),
    (Column("std_accuracy", "DOUBLE", "Spread of the accuracy; NULL for one episode."), "stddev_samp(final_accuracy)"),
    (Column("std_reward", "DOUBLE", "Spread of the reward; NULL for one episode."), "stddev_samp(episode_reward)"),
    (Column("min_accuracy", "DOUBLE", "Lowest accuracy."), "min(final_accuracy)"),
    (Column("max_accuracy", "DOUBLE", "Highest accuracy."), "max(final_accuracy)"),
    (Column("min_reward", "DOUBLE", "Lowest reward."), "min(episode_reward)"),
    (Column("max_reward", "DOUBLE", "Highest reward."), "max(episode_reward)"),
    (
        Column(
            "reward_accuracy_correlation",
            "DOUBLE",
            "Pearson's correlation of reward and accuracy; NULL where one of them does not vary.",
        ),
        f"CASE WHEN {_VARY} THEN corr(final_accuracy, episode_reward) END",
    ),
)

_STATUS: Final = Column(
    "calibration_status",
    "VARCHAR",
    "well_calibrated from 0.7, moderate from 0.3, weak from 0, inverted below; else insufficient_data.",
)
_CASE: Final = (
    "CASE WHEN reward_accuracy_correlation >= 0.7 THEN 'well_calibrated'"
    " WHEN reward_accuracy_correlation >= 0.3 THEN 'moderate'"
    " WHEN reward_accuracy_correlation >= 0 THEN 'weak'"
    " WHEN reward_accuracy_correlation < 0 THEN 'inverted' ELSE 'insufficient_data' END"
)


def reward_calibration() -> View:
    """Figures by run, group and reward variant; a number that is not finite would spoil all of a group's."""
    source = view_name(EpisodeOutcome)
    by = {column.name: column for column in columns_of(EpisodeOutcome)}
    figures = ", ".join(f"{sql} AS {column.name}" for column, sql in _FIGURES)
    finite = " WHERE isfinite(final_accuracy) AND isfinite(episode_reward) GROUP BY ALL"
    grouped = f"SELECT run_id, group_id, reward_mode, {figures}, any_value(run_dir) AS run_dir FROM {source}{finite}"
    return View(
        "reward_calibration",
        "Whether rewards follow accuracy, by run, group and reward variant.",
        (
            *(by[name] for name in ("run_id", "group_id", "reward_mode")),
            *(column for column, _ in _FIGURES),
            _STATUS,
            by["run_dir"],
        ),
        f"SELECT * EXCLUDE (run_dir), {_CASE} AS calibration_status, run_dir FROM ({grouped})",
        (),
        (source,),
        for_clickhouse=f"SELECT *, {_CASE} AS calibration_status FROM ({_for_clickhouse(grouped)})",
    )


def _for_clickhouse(sql: str) -> str:
    """The same figures; ClickHouse has NaN where DuckDB has NULL, for the spread of one episode."""
    spread = re.sub(r"stddev_samp\((\w+)\)", r"if(count() > 1, stddevSampStable(\1), NULL)", sql)
    return spread.replace("isfinite(", "isFinite(")
