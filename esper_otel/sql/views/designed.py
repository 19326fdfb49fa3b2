"""Views over several event types, or with computed columns.

A union has the columns of all its parts; what a part does not have is NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from esper_otel.events import (
    DegradationDetected,
    Event,
    EventDeclared,
    GradientAnomaly,
    GradientPathology,
    Heartbeat,
    ImprovementDetected,
    MemoryWarning,
    NumericalInstability,
    PerformanceDegradation,
    PlateauDetected,
    RatioCollapse,
    RatioExplosion,
    RewardHackingSuspected,
    Rollback,
    SeedFossilized,
    SeedGerminated,
    SeedPruned,
    SeedStageChanged,
    TrainingStarted,
    UpdateSkipped,
    ValueCollapse,
)
from esper_otel.sql.views import clickhouse
from esper_otel.sql.views.calibration import reward_calibration
from esper_otel.sql.views.columns import Column, columns_of, literal, quoted
from esper_otel.sql.views.tables import RAW, REJECTED_FIELDS, REJECTED_LINES
from esper_otel.sql.views.view import View, event_views, map_views, view_name

_EVENT_TYPE: Final = Column("event_type", "VARCHAR", "Name of the event in the contract.")
_DETECTED: Final = (
    GradientAnomaly,
    GradientPathology,
    NumericalInstability,
    RatioCollapse,
    RatioExplosion,
    ValueCollapse,
    PerformanceDegradation,
    Rollback,
    RewardHackingSuspected,
)

_SIGNS_OF_LIFE: Final = (view_name(Heartbeat),)
"""Views in which a run that continues after an end has a row within 5 s; few rows, and one view more to open."""

_EPOCH_IN_DATA: Final = r'"action_id":\s*"[^"]*-e(\d+)-'


def designed_views() -> list[View]:
    """All of them."""
    return [
        _raw_events(),
        *_rejected(),
        _runs(),
        _union(
            "seed_lifecycle",
            "A seed was placed, changed its stage, became permanent or was removed.",
            (SeedGerminated, SeedStageChanged, SeedFossilized, SeedPruned),
        ),
        _union(
            "trends",
            "Accuracy rises, falls or no longer changes.",
            (PlateauDetected, DegradationDetected, ImprovementDetected),
        ),
        _union(
            "anomalies",
            "Problems and suspicions: every detector's finding, rollback and skipped update.",
            (*_DETECTED, MemoryWarning, PlateauDetected, UpdateSkipped),
        ),
        _run_confounders(),
        _action_distribution(),
        _phase_occupancy(),
        reward_calibration(),
    ]


def _union(name: str, description: str, classes: Sequence[type[Event]]) -> View:
    columns = {column.name: column for cls in classes for column in columns_of(cls)}
    branches = [f"SELECT {literal(cls.event_type)} AS event_type, * FROM {quoted(view_name(cls))}" for cls in classes]
    chosen = (_EVENT_TYPE, *columns.values())
    names = ", ".join(quoted(column.name) for column in chosen)
    return View(
        name,
        description,
        chosen,
        f"SELECT {names} FROM ({' UNION ALL BY NAME '.join(branches)})",
        (),
        tuple(view_name(cls) for cls in classes),
        for_clickhouse=clickhouse.union(
            chosen,
            [
                clickhouse.Branch(
                    view_name(cls),
                    {_EVENT_TYPE.name: literal(cls.event_type)} | {c.name: quoted(c.name) for c in columns_of(cls)},
                )
                for cls in classes
            ],
        ),
    )


def _raw_events() -> View:
    found = f"regexp_extract(data, {literal(_EPOCH_IN_DATA)}, 1)"
    found_there = f"accurateCastOrNull(nullIf(extract(data, {clickhouse.literal(_EPOCH_IN_DATA)}), ''), 'Int64')"
    return View(
        "raw_events",
        "Every event of the log, once, unknown types included; data is JSON text.",
        RAW.columns,
        f"SELECT * REPLACE (coalesce(epoch, TRY_CAST({found} AS BIGINT)) AS epoch) FROM {{{RAW.name}}}",
        (RAW,),
        for_clickhouse=f"SELECT * REPLACE (coalesce(epoch, {found_there}) AS epoch) FROM {{{RAW.name}}}",
    )


def _rejected() -> list[View]:
    declared = view_name(EventDeclared)  # a line whose type its own log declares is an event
    return [
        View(
            "rejected_lines",
            "Lines without an event: torn, malformed, unknown, or a repetition under another name.",
            REJECTED_LINES.columns,
            f"SELECT * FROM {{{REJECTED_LINES.name}}} AS rejected WHERE reason <> 'unknown_event_type'"
            f" OR NOT EXISTS (FROM {declared} WHERE declared = rejected.event_type AND run_id = rejected.run_id)",
            (REJECTED_LINES,),
            (declared,),
            for_clickhouse=f"SELECT * FROM {{{REJECTED_LINES.name}}} WHERE reason <> 'unknown_event_type'"
            f" OR ifNull((event_type, run_id) NOT IN (SELECT declared, run_id FROM {declared}), true)",
        ),
        View(
            "rejected_fields",
            "Fields without a column, because their name is unknown or their value does not fit.",
            REJECTED_FIELDS.columns,
            f"SELECT * FROM {{{REJECTED_FIELDS.name}}}",
            (REJECTED_FIELDS,),
        ),
    ]


def _runs() -> View:
    base = view_name(TrainingStarted)
    columns = (
        *columns_of(TrainingStarted),
        Column("started_at", "TIMESTAMP", "Start of training, UTC."),
        Column("ended_at", "TIMESTAMP", "End of the training process, UTC; NULL if unknown, or the run continues."),
        Column("outcome", "VARCHAR", "finished, failed, interrupted or died; NULL if unknown, or the run continues."),
    )
    # A window and a union let a condition on run_id, also IN (…), reach every part, so that other runs are not opened.
    parts = (
        f"SELECT *, true AS is_start FROM {base}",
        "SELECT run_id, timestamp AS end_at, outcome AS end_outcome FROM run_ended",
        *(f"SELECT run_id, timestamp AS seen_at FROM {view}" for view in _SIGNS_OF_LIFE),
    )
    of_run = "OVER (PARTITION BY run_id)"
    seen = f"max(coalesce(seen_at, CASE WHEN is_start THEN timestamp END)) {of_run}"
    is_over = f"NOT coalesce({seen} > max(end_at) {of_run}, false)"
    outcome = f"arg_max(end_outcome, end_at) {of_run}"
    chosen = ", ".join(quoted(column.name) for column in columns)
    over = (
        f"SELECT {chosen} FROM (SELECT *, timestamp AS started_at,"
        f" CASE WHEN {is_over} THEN max(end_at) {of_run} END AS ended_at,"
        f" CASE WHEN {is_over} THEN {outcome} END AS outcome FROM ("
    )
    return View(
        "runs",
        "Training starts: one row per run, arm of an A/B run, resume and reporting rank.",
        columns,
        f"{over}{' UNION ALL BY NAME '.join(parts)})) WHERE is_start",
        (),
        (base, "run_ended", *_SIGNS_OF_LIFE),
        for_clickhouse=f"{over.replace('arg_max', 'argMax')}{_lives(base)})) WHERE is_start",
    )


def _lives(base: str) -> str:
    """Starts, ends and signs of life of runs, for ClickHouse."""
    start, run_id = columns_of(TrainingStarted), {"run_id": "run_id"}
    more = (
        Column("is_start", "BOOLEAN", ""),
        *(Column(name, "TIMESTAMP", "") for name in ("end_at", "seen_at")),
        Column("end_outcome", "VARCHAR", ""),
    )
    return clickhouse.union(
        (*start, *more),
        [
            clickhouse.Branch(base, {column.name: quoted(column.name) for column in start} | {"is_start": "true"}),
            clickhouse.Branch("run_ended", run_id | {"end_at": "timestamp", "end_outcome": "outcome"}),
            *(clickhouse.Branch(view, run_id | {"seen_at": "timestamp"}) for view in _SIGNS_OF_LIFE),
        ],
    )


def _run_confounders() -> View:
    union = _union("run_confounders", "", _DETECTED)
    have = {column.name: column for column in union.columns}
    episode = Column(
        "episode", "BIGINT", "Number of finished episodes for a detector's event, the episode's number for the others."
    )
    detail = Column("detail", "VARCHAR", "Measured values as text.")
    blocking = Column("proof_blocking", "BOOLEAN", "Always true: such a run proves nothing about a policy.")
    kept = ("run_id", "group_id", "timestamp", "event_id", "env_id", "event_type", "anomaly_type")
    before, after = f"SELECT {', '.join(map(quoted, kept))}, ", " AS detail, true AS proof_blocking, run_dir"
    before += "coalesce(episode, episode_idx) AS episode, batch, inner_epoch, total_episodes, "
    counted = (have[name] for name in ("batch", "inner_epoch", "total_episodes"))
    return msgspec.structs.replace(
        union,
        description="Events that make a run unfit as evidence about a policy.",
        columns=(*(have[name] for name in kept), episode, *counted, detail, blocking, have["run_dir"]),
        sql=f"{before}{_detail(str, lambda number: f'round({number}, 2)')}{after} FROM ({union.sql})",
        for_clickhouse=f"{before}{_detail(clickhouse.as_text, clickhouse.rounded)}{after} FROM ({union.clickhouse})",
    )


def _detail(number: Callable[[str], str], rounded: Callable[[str], str]) -> str:
    """SQL of a finding in words; ``number`` and ``rounded`` make the SQL of a number of the one of its column."""
    return (
        "coalesce(detail, CASE event_type"
        f" WHEN {literal(Rollback.event_type)} THEN coalesce(panic_reason, '') || ': ' || coalesce(reason, '')"
        f" WHEN {literal(RewardHackingSuspected.event_type)} THEN pattern || ', slot ' || slot_id || ', contribution '"
        f" || {number('seed_contribution')} || ' of ' || {number('total_improvement')}"
        f" WHEN {literal(PerformanceDegradation.event_type)} THEN 'accuracy ' || {rounded('current_acc')}"
        f" || ' against ' || {rounded('rolling_avg_acc')} || ', drop '"
        f" || {rounded('drop_percent')} || ' %' END, message)"
    )


def _action_distribution() -> View:
    base = {column.name: column for column in _columns_named("action_distributions")}
    columns = (
        *(base[name] for name in ("run_id", "group_id", "timestamp", "event_id", "episodes_completed")),
        Column("batch_idx", "BIGINT", "Number of the batch (round), from 1."),
        Column("action_name", "VARCHAR", "Operation."),
        Column("count", "BIGINT", "Times it was chosen in the batch."),
        Column("success_count", "BIGINT", "Times it succeeded in the batch."),
        Column("pct", "DOUBLE", "Its share of the batch's choices, 0 to 1."),
        base["run_dir"],
    )
    return View(
        "action_distribution",
        "Choices of each operation in a batch: one row per operation.",
        columns,
        _choices("a.e.key", "a.e.value", "a.success_counts[a.e.key]", "list_sum(map_values(a.action_counts))").format(
            rows="SELECT *, unnest(map_entries(action_counts)) AS e FROM action_distributions"
        ),
        (),
        ("action_distributions", "tolaria_batches"),
        for_clickhouse=_choices("a.op", "a.action_counts[a.op]", "a.success_counts[a.op]", "a.chosen").format(
            rows="SELECT *, arrayJoin(mapKeys(action_counts)) AS op,"
            " arraySum(arrayMap(x -> ifNull(x, 0), mapValues(action_counts))) AS chosen FROM action_distributions"
        ),
    )


def _choices(op: str, count: str, success_count: str, chosen: str) -> str:
    """SQL of the choices by operation. The batch of an event is the last that its run had ended with its episodes."""
    return f"""
        SELECT a.run_id AS run_id, a.group_id AS group_id, a.timestamp AS timestamp, a.event_id AS event_id,
               a.episodes_completed AS episodes_completed,
               coalesce(a.batch, b.batch_idx) AS batch_idx, {op} AS action_name, {count} AS count,
               {success_count} AS success_count, {count} / nullif({chosen}, 0) AS pct, a.run_dir AS run_dir
        FROM ({{rows}}) a
        ASOF LEFT JOIN (SELECT * FROM tolaria_batches WHERE episodes_completed IS NOT NULL) b
          ON a.run_id = b.run_id AND a.group_id = b.group_id AND a.rank = b.rank
         AND a.episodes_completed = b.episodes_completed AND a.timestamp >= b.timestamp
    """


def _phase_occupancy() -> View:
    columns = tuple(
        msgspec.structs.replace(column, name="phase_name") if column.name == "phase" else column
        for column in _columns_named("phase_profiles_by_phase")
    )
    return View(
        "phase_occupancy",
        "Time of an epoch, or of the policy update, by phase: one row per phase.",
        columns,
        "SELECT * RENAME (phase AS phase_name) FROM phase_profiles_by_phase",
        (),
        ("phase_profiles_by_phase",),
        for_clickhouse="SELECT *, phase AS phase_name FROM phase_profiles_by_phase",
    )


def _columns_named(name: str) -> tuple[Column, ...]:
    return next(view.columns for view in (*event_views(), *map_views()) if view.name == name)
