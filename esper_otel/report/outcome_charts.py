"""Outcome charts of an arm: accuracy and reward of its episodes, parts of the rewards, and comparison of arms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import plotly.graph_objects as go  # type: ignore[import-untyped]  # Plotly ships no types

from esper_otel.report.canvas import Canvas
from esper_otel.report.chart import Axis, Chart, Mark, Series, escaped, missing, not_measured
from esper_otel.report.source import FIRST_RANK, OF_ARM, Arm, Connection, Row, of_arm
from esper_otel.report.updates import clock

OUTCOMES: Final = "Episode outcomes"
REWARDS: Final = "Reward by component"

_ABOUT: Final = {
    OUTCOMES: "Accuracy of the host at the end of each episode (0 to 100) and the episode's reward.",
    REWARDS: "Mean addend of a decision's reward; together they are the mean reward of a decision.",
}
_EPISODE: Final = Mark("episode", "circle", "#7a8aa0")

_EPISODES: Final = f"""
    SELECT timestamp, env_id, episode_idx, outcome_type, num_fossilized, final_accuracy, episode_reward
    FROM episode_outcomes WHERE {OF_ARM} ORDER BY timestamp, episode_idx
"""
_ROUNDS: Final = f"""
    SELECT timestamp, batch_idx, avg_accuracy, rolling_accuracy, avg_reward FROM tolaria_batches
    WHERE {OF_ARM} {FIRST_RANK} ORDER BY timestamp
"""
_COMPONENTS: Final = f"""
    SELECT c.component, sum(c.components) AS total, (SELECT count(*) FROM rewards WHERE {OF_ARM}) AS decisions
    FROM rewards_by_component c WHERE {OF_ARM} AND isfinite(c.components)
    GROUP BY c.component ORDER BY abs(total) DESC
"""
_TOTALS: Final = f"""
    SELECT (SELECT count(*) FROM tamiyo_updates WHERE {OF_ARM}) AS updates,
        (SELECT count(*) FROM tolaria_batches WHERE {OF_ARM}) AS rounds, count(*) AS episodes,
        avg(final_accuracy) FILTER (isfinite(final_accuracy)) AS accuracy, max(final_accuracy) AS best,
        avg(episode_reward) FILTER (isfinite(episode_reward)) AS reward,
        string_agg(DISTINCT reward_mode, ', ') AS modes
    FROM episode_outcomes WHERE {OF_ARM}
"""
_SEEDS: Final = f"""
    SELECT count(*) FILTER (event_type = 'SEED_GERMINATED') AS germinated,
        count(*) FILTER (event_type = 'SEED_FOSSILIZED') AS fossilized,
        count(*) FILTER (event_type = 'SEED_PRUNED') AS pruned FROM seed_lifecycle WHERE {OF_ARM}
"""
_CALIBRATION: Final = f"""
    SELECT string_agg(calibration_status, ', ') AS calibration FROM reward_calibration WHERE {OF_ARM}
"""


class Totals(msgspec.Struct, frozen=True):
    """Key figures of one arm; None if the log does not have them."""

    arm: Arm
    values: Row

    def text(self, name: str) -> str:
        """A number for people."""
        value = self.values[name]
        return (
            "not measured"
            if value is None
            else f"{value:,.2f}"
            if isinstance(value, float)
            else f"{value}".replace("_", " ")
        )


def totals_of(connection: Connection, arm: Arm) -> Totals:
    """The arm's row of the comparison."""
    parts = [of_arm(connection, query, arm)[0] for query in (_TOTALS, _SEEDS, _CALIBRATION)]
    return Totals(arm, {name: value for part in parts for name, value in part.items()})


def outcome_charts(connection: Connection, arm: Arm) -> list[Chart]:
    """The two charts of one arm."""
    return [_outcomes(connection, arm), _components(connection, arm)]


def _outcomes(connection: Connection, arm: Arm) -> Chart:
    episodes, rounds = of_arm(connection, _EPISODES, arm), of_arm(connection, _ROUNDS, arm)
    series = {
        name: _series(rounds, name, [f"round {row['batch_idx']}, {clock(row['timestamp'])}" for row in rounds])
        for name in ("avg_accuracy", "rolling_accuracy", "avg_reward")
    }
    texts = [_episode_text(row) for row in episodes]
    ends = {name: _series(episodes, name, texts) for name in ("final_accuracy", "episode_reward")}
    if not any(each.is_measured for each in (*series.values(), *ends.values())):
        return not_measured(OUTCOMES, _ABOUT[OUTCOMES], "no episode and no round was finished.")
    rows = {
        "accuracy, %": (ends["final_accuracy"], series["avg_accuracy"], series["rolling_accuracy"]),
        "reward": (ends["episode_reward"], series["avg_reward"]),
    }
    measured = {title: found for title, found in rows.items() if any(each.is_measured for each in found)}
    canvas = Canvas([Axis(title) for title in measured], "time, UTC", is_time=True)
    for row, (of_episodes, *of_rounds) in enumerate(measured.values(), start=1):
        canvas.marks(row, _EPISODE, _finite(of_episodes))
        for name, each in zip(("mean of the round", "rolling mean"), of_rounds, strict=False):
            canvas.line(row, name, each)
    absent = missing([("accuracy of episodes", ends["final_accuracy"]), ("reward of episodes", ends["episode_reward"])])
    return canvas.chart(OUTCOMES, _ABOUT[OUTCOMES], absent)


def _components(connection: Connection, arm: Arm) -> Chart:
    found = [row for row in of_arm(connection, _COMPONENTS, arm) if row["total"]]
    if not found:
        return not_measured(REWARDS, _ABOUT[REWARDS], "no reward has components, or all of them are 0.")
    canvas = Canvas([Axis("")], "mean per decision")
    for name, color, sign in (("gain", "#0f8a6a", 1), ("loss", "#c8553d", -1)):
        chosen = [row for row in found if row["total"] * sign > 0]
        if chosen:
            means = [row["total"] / row["decisions"] for row in chosen]
            canvas.bars(1, name, _bars(color, [escaped(row["component"]) for row in chosen], means))
    canvas.layout(barmode="relative")
    canvas.room_for_texts([row["total"] / row["decisions"] for row in found])
    canvas.lanes(1, [row["component"] for row in found])
    return canvas.chart(REWARDS, _ABOUT[REWARDS], (), 150 + 26 * max(len(found), 4))


def _bars(color: str, components: Sequence[str], means: Sequence[float]) -> go.Bar:
    return go.Bar(
        orientation="h",
        x=means,
        y=components,
        text=[f"{mean:+.3g}" for mean in means],
        textposition="auto",
        hovertemplate="%{y}: %{x}<extra></extra>",
        marker={"color": color},
    )


def _series(found: Sequence[Row], field: str, texts: Sequence[str]) -> Series:
    return Series([row["timestamp"] for row in found], [row[field] for row in found], texts)


def _finite(series: Series) -> Series:
    kept = [i for i, value in enumerate(series.values) if value is not None]
    return Series([series.x[i] for i in kept], [series.values[i] for i in kept], [series.texts[i] for i in kept])


def _episode_text(row: Row) -> str:
    said = f", {row['outcome_type']}" if row["outcome_type"] else ""
    return f"episode {row['episode_idx']} of env {row['env_id']}{said}, {clock(row['timestamp'])}"
