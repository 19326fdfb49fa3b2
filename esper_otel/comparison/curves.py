"""Outcome of a run as curves over its rounds and over time, and its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.events import BatchCompleted, EpisodeOutcome, Event, TrainingUpdate
from esper_otel.runs.archived import content_of, name_of
from esper_otel.runs.summary import OUTCOMES
from esper_otel.sql import connect
from esper_otel.sql.connect import MEMORY_LIMIT
from esper_otel.sql.views.view import view_name

POINTS: Final = 1000
"""Points of a curve; of more updates the means of equal stretches are taken."""

_NUMBERS: Final[dict[type[Event], str]] = {
    BatchCompleted: "batch_idx",
    EpisodeOutcome: "row_number() OVER (ORDER BY timestamp, event_id)",
    TrainingUpdate: '"update"',
}
"""Number of a round, episode or update."""

_CURVES: Final = {
    name: [(_NUMBERS[cls], field, view_name(cls)) for cls, field in sources] for name, sources in OUTCOMES.items()
}
"""Number, value and view of each outcome; the first that has rows counts."""

VIEWS: Final = ("training_starts", *map(view_name, _NUMBERS))

_IGNORED: Final = frozenset(
    ("run_id", "run_dir", "event_id", "timestamp", "seq", "message", "severity", "rank", "local_rank", "episode_id")
)


class Curve(msgspec.Struct, frozen=True):
    """One outcome: number of the round, episode or update, seconds since the start, value."""

    numbers: list[float]
    seconds: list[float]
    values: list[float]


class Outcome(msgspec.Struct, frozen=True):
    """One run, or one arm of it.

    Attributes:
        name: name of the run, with its arm if it has several.
        seed: its random seed; None if it is not recorded.
        curves: its outcomes by name.
        settings: configuration, versions and machine by name, as text.
    """

    name: str
    seed: int | None
    curves: dict[str, Curve]
    settings: dict[str, str]


def outcomes_of(
    run: Path, tell: Callable[[str], object] = lambda _: None, memory_limit: str = MEMORY_LIMIT
) -> dict[str, Outcome]:
    """The arms of a run by their group; most runs have one.

    Raises:
        FileNotFoundError: there is nothing to read at ``run``.
        ValueError: Parquet files there are invalid.
    """
    content = content_of(run, tell)
    with connect([run], memory_limit, views=VIEWS, tell=tell) as connection:

        def rows(query: str, **parameters: Any) -> list[dict[str, Any]]:
            result = connection.execute(query, parameters or None)
            names = [column[0] for column in result.description or ()]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

        union = " UNION ".join(f"SELECT DISTINCT group_id FROM {view}" for view in VIEWS[1:])
        arms = [str(row["group_id"]) for row in rows(f"{union} ORDER BY 1")]
        starts = {str(row["group_id"]): row for row in rows("SELECT * FROM training_starts ORDER BY timestamp DESC")}
        times = " UNION ALL ".join(f"SELECT min(epoch(timestamp)) AS s FROM {view}" for view in VIEWS)
        first = rows(f"SELECT min(s) AS s FROM ({times})")[0]["s"]
        found = {}
        for arm in arms:
            start = starts.get(arm, {})
            curves = {name: curve for name, queries in _CURVES.items() if (curve := _curve(rows, queries, arm, first))}
            name = name_of(run) if len(arms) == 1 else f"{name_of(run)} / {arm}"
            found[arm] = Outcome(name, start.get("seed"), curves, _settings(start, content))
    return found


def _curve(
    rows: Callable[..., list[dict[str, Any]]], sources: list[tuple[str, str, str]], arm: str, first: float
) -> Curve | None:
    for number, value, view in sources:
        found = rows(
            f"WITH each AS (SELECT {number} AS number, {value} AS value, epoch(timestamp) AS s FROM {view}"
            f" WHERE group_id = $arm AND isfinite({value})), span AS (SELECT min(number) AS low, max(number) AS high"
            f" FROM each) SELECT max(number) AS number, avg(value) AS value, max(s) AS s FROM each, span GROUP BY"
            f" floor((number - low) / greatest(ceil((high - low + 1) / {POINTS}), 1)) ORDER BY number",
            arm=arm,
        )
        if found:
            return Curve(
                [float(row["number"]) for row in found],
                [float(row["s"] - first) for row in found],
                [float(row["value"]) for row in found],
            )
    return None


def _settings(start: dict[str, Any], content: dict[str, Any]) -> dict[str, str]:
    settings = {name: str(value) for name, value in start.items() if value is not None and name not in _IGNORED}
    argv = content.get("argv")
    if isinstance(argv, list):
        settings["command"] = " ".join(map(str, argv))
    versions = content.get("versions")
    if isinstance(versions, dict):
        settings |= {f"version of {name}": str(version) for name, version in versions.items()}
    return settings | {name: str(content[name]) for name in ("python", "host", "commit") if name in content}
