"""The run that is diagnosed: its rows, and what is known of it beside the log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log.reading.standing import STOPPED, end_beside, is_held, standing
from esper_otel.runs.archived import content_of, directory_of
from esper_otel.sql.views.columns import literal, quoted

Row = dict[str, Any]

VIEWS: Final = (
    *("runs", "run_ended", "heartbeat", "losses", "rejected_lines", "sensor_fault"),
    *("tamiyo_updates", "tamiyo_update_skipped", "tolaria_training_update", "tolaria_gradient_stats"),
    *("numerical_instability_detected", "value_collapse_detected", "rollbacks", "performance_degradation"),
    *("reward_hacking_suspected", "memory_warning", "plateau_detected", "gradient_anomaly"),
    *("tolaria_epochs", "tolaria_batches", "episode_outcomes", "seed_germinated", "seed_pruned", "seed_fossilized"),
    *("tolaria_phase_durations", "phase_profiles", "tolaria_throughput", "infrastructure", "allocator_stats"),
    "tolaria_recompilation",
)
"""Views that the rules read."""

VALID_ENDS: Final = "FROM run_ended AS e WHERE NOT EXISTS (FROM heartbeat AS h WHERE h.rank = e.rank AND h.seq > e.seq)"
"""Ends that stand: a process that continues a run begins with a heartbeat, which makes the end before it void."""


class Subject(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        connection: the views over it.
        directory: its directory; None for a single file or Parquet alone.
        state: state beside the log: running, a stored status, or what follows from the lock.
        is_running: a living process owns it.
        process_gone: its process is certainly gone. Where nobody here can ask the lock it is not.
        noted_end: how that process ended, by its note in the lock; None where it noted nothing.
        content: its ``run.json``.
        started_at: start of its session, UTC without a zone as in the views; None where nothing tells it.
    """

    connection: duckdb.DuckDBPyConnection
    directory: Path | None
    state: str
    is_running: bool
    process_gone: bool
    noted_end: str | None
    content: dict[str, Any]
    started_at: datetime | None

    def rows(self, query: str, *parameters: Any) -> list[Row]:
        """The rows of a query by column."""
        result = self.connection.execute(query, list(parameters))
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def one(self, query: str, *parameters: Any) -> Row:
        """The only row of a query that has one."""
        return self.rows(query, *parameters)[0]

    def count(self, view: str, where: str = "true") -> int:
        """Number of the view's rows that meet a condition."""
        return int(self.one(f"SELECT count(*) AS n FROM {view} WHERE {where}")["n"])


def subject_of(connection: duckdb.DuckDBPyConnection, run: Path, tell: Callable[[str], object]) -> Subject:
    """The run at ``run``; ``tell`` is told why its ``run.json`` cannot be read."""
    directory, content = directory_of(run), content_of(run, tell)
    held = is_held(directory)
    state = standing(directory, content) or ""
    ended = end_beside(directory, [0], content) if directory is not None and content else None
    noted = ended if ended != RUN_OUTCOMES[-1] else None
    if directory is None and state == STOPPED:  # of an archived run nobody can ask the lock
        state = ""
    began = moment_of(str(content.get("started_at") or ""))
    return Subject(connection, directory, str(state), held, ended is not None, noted, content, began)


def moment_of(text: str) -> datetime | None:
    """A time of ``run.json``, UTC without a zone as in the views; None where it is none."""
    try:
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=None)
    except ValueError:
        return None


def restrict(connection: duckdb.DuckDBPyConnection, since: datetime) -> None:
    """Let the views show only rows from ``since`` on, UTC without a zone."""
    [(database,)] = connection.execute("SELECT current_database()").fetchall()
    for view in VIEWS:
        name = quoted(view)
        columns = {row[0] for row in connection.execute(f"DESCRIBE {name}").fetchall()}
        if "timestamp" in columns and view not in {"runs", "run_ended"}:
            late = f"timestamp >= TIMESTAMP {literal(since.isoformat(sep=' '))}"
            connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {quoted(database)}.main.{name} WHERE {late}")


def when_of(batch: int | None, moment: datetime | None) -> str:
    """The round, where there is one, and the time of an event, for people."""
    return clock(moment) if batch is None else f"round {batch}, {clock(moment)}"


def clock(moment: datetime | None) -> str:
    """A time for people, UTC, to the second."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
