"""Data source of the report: the SQL views, queried arm by arm.

An arm is what a chart is drawn of: one group of one run. An A/B run has several.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import duckdb
import msgspec

Connection = duckdb.DuckDBPyConnection
Row = dict[str, Any]

VIEWS: Final = (
    "runs",
    "run_ended",
    "heartbeat",
    "tamiyo_updates",
    "tamiyo_updates_by_head",
    "tamiyo_update_skipped",
    "batch_stats",
    "rollbacks",
    "anomalies",
    "tolaria_batches",
    "tolaria_throughput",
    "phase_occupancy",
    "tolaria_training_update",
    "tolaria_scalar",
    "event_declared",
    "tolaria_phase_durations",
    "tolaria_gradient_stats",
    "infrastructure",
    "allocator_stats",
    "seed_lifecycle",
    "episode_outcomes",
    "rewards",
    "rewards_by_component",
    "reward_calibration",
    "losses",
    "rejected_lines",
    "rejected_fields",
)
"""Views that a report reads."""

OF_OWN_EVENTS: Final = ("raw_events",)
"""Views that it reads as well where the log declares events of the program's own."""

MAX_ARMS: Final = 6
"""Arms that are drawn: each has eight charts, and more are compared better in SQL."""

OF_ARM: Final = "run_id = $run_id AND group_id = $group_id"
"""Condition of every query run by :func:`of_arm`."""

FIRST_RANK: Final = "QUALIFY rank = min(rank) OVER ()"
"""Ends a query for events that every rank logs of the same thing."""

_MADE_OF: Final = ("runs", "tamiyo_updates", "tolaria_batches", "episode_outcomes", "seed_lifecycle")
_MADE_OF_SENSORS: Final = (
    "tolaria_training_update",
    "tolaria_phase_durations",
    "tolaria_gradient_stats",
    "infrastructure",
    "tolaria_throughput",
    "tolaria_scalar",
    "event_declared",
)


class Arm(msgspec.Struct, frozen=True):
    """One group of one run; ``label`` tells it from the others and is empty when it is alone."""

    run_id: str
    group_id: str
    label: str = ""


def rows(connection: Connection, query: str, parameters: Row | None = None) -> list[Row]:
    """The rows of a query by column."""
    result = connection.execute(query, parameters or {})
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def one(connection: Connection, query: str, parameters: Row | None = None) -> Row:
    """The only row of a query that has one."""
    return rows(connection, query, parameters)[0]


def of_arm(connection: Connection, query: str, arm: Arm) -> list[Row]:
    """The rows of a query that holds :data:`OF_ARM` once."""
    return rows(connection, query, {"run_id": arm.run_id, "group_id": arm.group_id})


def arms_of(connection: Connection) -> list[Arm]:
    """The arms by run and group.

    A group that only stray events name (esper-lite leaves ``default`` on some) is none. A run that has nothing but the
    events of the sensors, as a plain training loop has, is made of these.
    """
    found = _groups(connection, _MADE_OF) or _groups(connection, _MADE_OF_SENSORS)
    runs = Counter(row["run_id"] for row in found)
    labels = [_label(row, len(runs), runs[row["run_id"]]) for row in found]
    return [Arm(row["run_id"], row["group_id"], label) for row, label in zip(found, labels, strict=True)]


def _groups(connection: Connection, views: tuple[str, ...]) -> list[Row]:
    union = " UNION ".join(f"SELECT DISTINCT run_id, group_id FROM {view}" for view in views)
    return rows(connection, f"SELECT DISTINCT run_id, group_id FROM ({union}) ORDER BY run_id, group_id")


def _label(row: Row, run_count: int, group_count: int) -> str:
    parts = ([row["run_id"]] if run_count > 1 else []) + ([row["group_id"]] if group_count > 1 else [])
    return " / ".join(parts)
