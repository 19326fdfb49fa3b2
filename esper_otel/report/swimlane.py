"""The seed swimlane: one lane per slot, the stages of its seeds over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go  # type: ignore[import-untyped]  # Plotly ships no types

from esper_otel.events.vocabulary import STAGES
from esper_otel.report.canvas import Canvas
from esper_otel.report.chart import Axis, Chart, Mark, Series, escaped, not_measured
from esper_otel.report.source import OF_ARM, Arm, Connection, Row, of_arm
from esper_otel.report.updates import clock

TITLE: Final = "Seed swimlane"
MAX_SPANS: Final = 4000
"""Stages that are drawn, the latest ones: more cannot be told apart, and each is a shape for the browser."""
MAX_LANES: Final = 60

_ABOUT: Final = "The stage of the seed in every slot over time. Point at a bar for the seed and its blueprint."
_LANE_HEIGHT_PX: Final = 22

_COLORS: Final = {
    "GERMINATED": "#7fc97f",
    "TRAINING": "#4a90d9",
    "BLENDING": "#e8a33d",
    "HOLDING": "#a98bd6",
    "FOSSILIZED": "#1b8a5a",
    "PRUNED": "#c8553d",
    "EMBARGOED": "#9a8478",
    "RESETTING": "#8c8c8c",
}
_OTHER: Final = "#b0b0b0"

FOSSILIZED: Final = Mark("became permanent", "star", "#0a5c39", "#ffffff")
PRUNED: Final = Mark("was removed", "x", "#8f2412", "#ffffff")
_MARKS: Final = {"SEED_FOSSILIZED": FOSSILIZED, "SEED_PRUNED": PRUNED}

# A stage lasts until the next one in its slot, or until its round ends: the hosts are built anew for each round.
# esper-lite says the last stage of a seed twice, as a change of stage and as an event of its own, in either order.
_SPANS: Final = f"""
    WITH events AS (
        SELECT *, coalesce(env_id, 0) AS env, CASE event_type WHEN 'SEED_GERMINATED' THEN 'GERMINATED'
            WHEN 'SEED_FOSSILIZED' THEN 'FOSSILIZED' WHEN 'SEED_PRUNED' THEN 'PRUNED' ELSE to_stage END AS stage
        FROM seed_lifecycle WHERE {OF_ARM}),
    told AS (
        SELECT * REPLACE (coalesce(blueprint_id, max(blueprint_id) OVER seed) AS blueprint_id) FROM events
        WINDOW seed AS (PARTITION BY rank, env, slot_id, seed_id)
        QUALIFY event_type IN ('SEED_GERMINATED', 'SEED_STAGE_CHANGED') OR
            count(*) FILTER (event_type = 'SEED_STAGE_CHANGED')
                OVER (PARTITION BY rank, env, slot_id, seed_id, stage) = 0),
    spans AS (
        SELECT *, lead(timestamp) OVER (PARTITION BY rank, env, slot_id ORDER BY timestamp, seq) AS next FROM told),
    ends AS (SELECT DISTINCT timestamp AS ended FROM tolaria_batches WHERE {OF_ARM}),
    last AS (SELECT greatest(max(ended), (SELECT max(timestamp) FROM told)) AS moment FROM ends)
    SELECT s.rank, s.env, s.slot_id, s.seed_id, s.blueprint_id, s.stage, s.alpha, s.episode_idx, s.timestamp,
        coalesce(least(s.next, e.ended), s.timestamp, last.moment) AS ended, count(*) OVER () AS total
    FROM spans s CROSS JOIN last ASOF LEFT JOIN ends e ON s.timestamp <= e.ended
    WHERE s.stage IS DISTINCT FROM 'DORMANT' ORDER BY s.timestamp DESC LIMIT {MAX_SPANS}
"""
_ENDS: Final = f"""
    SELECT event_type, rank, coalesce(env_id, 0) AS env, slot_id, seed_id, timestamp FROM seed_lifecycle
    WHERE {OF_ARM} AND event_type IN ('SEED_FOSSILIZED', 'SEED_PRUNED') ORDER BY timestamp DESC LIMIT {MAX_SPANS}
"""


def swimlane(connection: Connection, arm: Arm) -> Chart:
    """The chart of one arm."""
    spans = of_arm(connection, _SPANS, arm)
    if not spans:
        return not_measured(TITLE, _ABOUT, "no seed was placed.")
    several = len({row["rank"] for row in spans}) > 1
    lanes = _lanes(spans, several)
    shown = lanes[:MAX_LANES]
    first = min(row["timestamp"] for row in spans)
    ends = [row for row in of_arm(connection, _ENDS, arm) if row["timestamp"] >= first]
    canvas = Canvas([Axis("")], "time, UTC", is_time=True)
    _draw_stages(canvas, [row for row in spans if _lane(row, several) in shown], several)
    _draw_ends(canvas, [row for row in ends if _lane(row, several) in shown], several)
    canvas.layout(barmode="overlay", bargap=0.25)
    canvas.lanes(1, shown)
    return canvas.chart(TITLE, _ABOUT, _notes(spans, len(lanes)), 150 + _LANE_HEIGHT_PX * max(len(shown), 4))


def _draw_stages(canvas: Canvas, spans: Sequence[Row], several: bool) -> None:
    stages = dict.fromkeys([*(stage for stage in STAGES), *(str(row["stage"]) for row in spans)])
    for stage in stages:
        of_stage = [row for row in spans if str(row["stage"]) == stage]
        if of_stage:
            canvas.bars(1, stage.lower(), _bars(stage, of_stage, several))


def _bars(stage: str, spans: Sequence[Row], several: bool) -> go.Bar:
    return go.Bar(
        orientation="h",
        base=[row["timestamp"] for row in spans],
        x=[(row["ended"] - row["timestamp"]).total_seconds() * 1e3 for row in spans],
        y=[escaped(_lane(row, several)) for row in spans],
        text=[escaped(_text(row)).replace(" · ", "<br>") for row in spans],
        textposition="none",
        hovertemplate="%{text}<extra></extra>",
        marker={"color": _COLORS.get(stage, _OTHER), "line": {"width": 0}},
    )


def _draw_ends(canvas: Canvas, ends: Sequence[Row], several: bool) -> None:
    for event_type, mark in _MARKS.items():
        chosen = [row for row in ends if row["event_type"] == event_type]
        texts = [f"{mark.name}: {_or_unknown(row['seed_id'])}, {clock(row['timestamp'])}" for row in chosen]
        lanes = [escaped(_lane(row, several)) for row in chosen]
        canvas.marks_at(1, mark, Series([row["timestamp"] for row in chosen], [None] * len(chosen), texts), lanes)


def _lanes(spans: Sequence[Row], several: bool) -> list[str]:
    found = {(row["rank"], row["env"], row["slot_id"] or ""): _lane(row, several) for row in spans}
    return list(dict.fromkeys(found[key] for key in sorted(found)))


def _lane(row: Row, several: bool) -> str:
    rank = f"rank {row['rank']} " if several else ""
    return f"{rank}env {row['env']} {_or_unknown(row['slot_id'])}"


def _text(row: Row) -> str:
    seconds = (row["ended"] - row["timestamp"]).total_seconds()
    parts = [
        f"{_or_unknown(row['stage'])} for {seconds:.2f} s from {clock(row['timestamp'])}",
        f"blueprint {_or_unknown(row['blueprint_id'])}",
        f"seed {_or_unknown(row['seed_id'])}, episode {_or_unknown(row['episode_idx'])}",
    ]
    if row["alpha"] is not None:
        parts.append(f"alpha {row['alpha']:.3g} when it began")
    return " · ".join(parts)


def _or_unknown(value: object) -> str:
    return "?" if value is None else str(value)


def _notes(spans: Sequence[Row], lanes: int) -> list[str]:
    notes = []
    if spans[0]["total"] > len(spans):
        notes.append(f"The latest {len(spans):,} of {spans[0]['total']:,} stages; 'esper-otel sql' has them all.")
    if lanes > MAX_LANES:
        notes.append(f"{MAX_LANES} of {lanes} lanes.")
    return notes
