"""The SQL of the panels over many runs: of the views that ``esper-otel clickhouse`` creates."""

from __future__ import annotations

from typing import Final

PARAMETERS: Final = {
    "lr": "learning rate",
    "clip_ratio": "clip range",
    "entropy_coef": "entropy bonus",
    "gamma": "gamma",
    "n_envs": "environments",
    "seed": "random seed",
}
"""Columns of ``runs`` that a run is configured by, with their names for people."""

PARAMETER: Final = "parameter"
NEWEST: Final = "newest"
POINT: Final = "point"
"""Variables of the dashboard: column of ``runs``, number of runs, number of rounds that make a point."""

MOST_ROWS: Final = 50_000
"""More points than a browser draws in a second."""

BEST_REWARD: Final = f"""
SELECT r.reward_mode AS "reward mode", b.run_id AS run, b.group_id AS arm,
       any(toFloat64(r.${{{PARAMETER}}})) AS parameter, max(b.avg_reward) AS "best reward"
FROM tolaria_batches AS b
INNER JOIN (SELECT * FROM runs WHERE $__timeFilter(started_at)) AS r
        ON r.run_id = b.run_id AND r.group_id = b.group_id
WHERE isFinite(b.avg_reward) AND isNotNull(r.${{{PARAMETER}}})
GROUP BY "reward mode", run, arm
ORDER BY parameter, "best reward"
LIMIT {MOST_ROWS}
""".strip()

REWARD_BY_ROUND: Final = f"""
SELECT run_id AS run, group_id AS arm, intDiv(batch_idx - 1, ${{{POINT}}}) * ${{{POINT}}} + 1 AS round,
       avg(avg_reward) AS reward
FROM tolaria_batches
WHERE isFinite(avg_reward) AND run_id IN (
    SELECT run_id FROM runs WHERE $__timeFilter(started_at)
    GROUP BY run_id ORDER BY max(started_at) DESC LIMIT ${{{NEWEST}}})
GROUP BY run, arm, round
ORDER BY run, arm, round
LIMIT {MOST_ROWS}
""".strip()
