"""Goodput of a run from the SQL views over its log, and the time that is left where the total is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from os import PathLike
from typing import Any, Final

import duckdb
import msgspec

from esper_otel.events.vocabulary import PASS_EVALUATION
from esper_otel.goodput.shares import Goodput, Session, Use, goodput_of, use_of
from esper_otel.log.reading.processes import is_of_next_process
from esper_otel.sql import connect
from esper_otel.sql.connect import MEMORY_LIMIT

_PROGRESS: Final = (
    "tolaria_training_update",
    "tamiyo_updates",
    "tolaria_epochs",
    "tolaria_batches",
    "episode_outcomes",
)
_MEASURED: Final = ("tolaria_phase_durations", "phase_profiles", "checkpoint_saved", "tolaria_loader_pass")
VIEWS: Final = (*_PROGRESS, *_MEASURED, "heartbeat", "run_ended")
_OWN_ENDS: Final = "(FROM run_ended WHERE coalesce(reported_by, 'trainer') = 'trainer')"
"""The relay reports a process that died when it finds out, which may be hours later."""

LEAST_ROUNDS: Final = 2
"""Rounds of the present session that give a pace."""

PACE_ROUNDS: Final = 20
"""Rounds that it is taken from, the latest."""


class Left(msgspec.Struct, frozen=True):
    """Rest of a run.

    Attributes:
        done: episodes that are finished.
        total: episodes that are planned.
        eta_s: time until the last of them at the pace of late, s.
    """

    done: int
    total: int
    eta_s: float


class Report(msgspec.Struct, frozen=True):
    """Goodput of every rank, the lowest first, and what is left; None where the log does not tell it."""

    ranks: list[Goodput]
    left: Left | None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"ranks": [each.as_json() for each in self.ranks], "left": msgspec.to_builtins(self.left)}


def measure(
    run: str | PathLike[str],
    *,
    memory_limit: str = MEMORY_LIMIT,
    tell: Callable[[str], object] = lambda _: None,
) -> Report:
    """Goodput of a run; its log is only read.

    Args:
        run: run directory, log file (also ``.gz``, ``.zst``), or directory of Parquet files.
        memory_limit: DuckDB's own limit.
        tell: called with a sentence for people where a part of the run cannot be read.

    Raises:
        FileNotFoundError: there is nothing to read at ``run``.
        ValueError: Parquet files there are invalid.
    """
    with connect([run], memory_limit, views=(*VIEWS, "runs"), tell=tell) as connection:
        connection.execute(f"CREATE TEMP VIEW seen AS {_all(*VIEWS[:-1], _OWN_ENDS)}")
        connection.execute(f"CREATE TEMP VIEW progress AS {_all(*_PROGRESS)}")
        connection.execute(f"CREATE TEMP VIEW spent AS {_SPENT}")
        ranks = [rank for (rank,) in connection.execute("SELECT DISTINCT rank FROM seen ORDER BY 1").fetchall()]
        return Report([_of_rank(connection, rank) for rank in ranks], _left(connection))


def _all(*views: str) -> str:
    return " UNION ALL ".join(f"SELECT rank, epoch(timestamp) AS moment, seq FROM {view}" for view in views)


_PASS: Final = "evaluation of a loader"
"""An evaluation of a plain loop; its forward passes are in a phase of a step as well, and nothing tells them apart."""

_SPENT: Final = (
    "SELECT rank, epoch(timestamp) AS moment, unnest(map_keys(durations_s)) AS phase,"
    " list_sum(unnest(map_values(durations_s))) AS seconds FROM tolaria_phase_durations"
    " UNION ALL SELECT rank, epoch(timestamp), unnest(map_keys(phases)), unnest(map_values(phases)).wall_ms / 1000"
    " FROM phase_profiles"
    " UNION ALL SELECT rank, epoch(timestamp), 'checkpoint', duration_ms / 1000 FROM checkpoint_saved"
    f" UNION ALL SELECT rank, epoch(timestamp), '{_PASS}', duration_ms / 1000 FROM tolaria_loader_pass"
    f" WHERE kind = '{PASS_EVALUATION}'"
)
_BEATS: Final = (
    "SELECT epoch(timestamp), uptime_s, seq FROM heartbeat WHERE rank = ? AND uptime_s IS NOT NULL"
    " ORDER BY timestamp, seq"
)


def _begins(connection: duckdb.DuckDBPyConnection, rank: int, first: float) -> list[float]:
    """Starts of the processes of a rank, of which the first event is at ``first``."""
    begins = [first]
    heard, before = first, -1.0
    for moment, uptime, seq in connection.execute(_BEATS, [rank]).fetchall():
        if is_of_next_process(uptime, before, moment - heard):
            # a run that the first update opens has that one's time, a moment before its log's
            own = connection.execute("SELECT min(moment) FROM seen WHERE rank = ? AND seq > ?", [rank, seq]).fetchall()
            begins.append(min([moment - uptime, *(at for (at,) in own if at is not None)]))
        elif before < 0:
            begins = [min(first, moment - uptime)]
        heard, before = moment, uptime
    return begins


def _of_rank(connection: duckdb.DuckDBPyConnection, rank: int) -> Goodput:
    (first,) = connection.execute("SELECT min(moment) FROM seen WHERE rank = ?", [rank]).fetchall()[0]
    begins = _begins(connection, rank, first)
    ends = [*begins[1:], math.inf]
    kept = _kept_until(connection, rank, begins, ends)
    sessions = []
    for begin, end, until in zip(begins, ends, kept, strict=True):
        within = "FROM {} WHERE rank = ? AND moment >= ? AND moment < ?"
        where = [rank, begin, end]
        (seen,) = connection.execute(f"SELECT max(moment) {within.format('seen')}", where).fetchall()[0]
        (progress,) = connection.execute(f"SELECT min(moment) {within.format('progress')}", where).fetchall()[0]
        rows = connection.execute(
            f"SELECT phase, moment > ?, sum(seconds) {within.format('spent')} AND seconds >= 0 AND isfinite(seconds)"
            " GROUP BY ALL ORDER BY ALL",
            [until, *where],
        ).fetchall()
        sessions.append(Session(begins=begin, ends=max(seen or begin, begin), progress=progress, spent=_by_use(rows)))
    return goodput_of(rank, sessions)


def _by_use(rows: list[tuple[str, bool, float]]) -> dict[Use, float]:
    spent: dict[Use, float] = {}
    for phase, is_redone, seconds in rows:
        use = Use.REDONE if is_redone else use_of(phase)
        spent[use] = spent.get(use, 0.0) + seconds
    evaluated = sum(seconds for phase, is_redone, seconds in rows if phase == _PASS and not is_redone)
    if Use.STEPS in spent:
        spent[Use.STEPS] = max(spent[Use.STEPS] - evaluated, 0.0)
    return spent


def _kept_until(
    connection: duckdb.DuckDBPyConnection, rank: int, begins: list[float], ends: list[float]
) -> list[float]:
    """The end, in each session, of the rounds that no later session did again."""
    kept, again = [], math.inf
    for begin, end in reversed(list(zip(begins, ends, strict=True))):
        rounds = connection.execute(
            "SELECT batch_idx, epoch(timestamp) FROM tolaria_batches WHERE rank = ? AND batch_idx IS NOT NULL"
            " AND epoch(timestamp) >= ? AND epoch(timestamp) < ? ORDER BY timestamp",
            [rank, begin, end],
        ).fetchall()
        lost = [number for number, _ in rounds if number >= again]
        kept.append(max((at for number, at in rounds if number < again), default=begin) if lost else math.inf)
        again = min([again, *(number for number, _ in rounds)])
    return kept[::-1]


def _left(connection: duckdb.DuckDBPyConnection) -> Left | None:
    """From the rounds of the present process of the lowest rank, which say what is planned."""
    rows = connection.execute(
        "SELECT episodes_completed, total_episodes, epoch(timestamp) FROM tolaria_batches WHERE rank = (SELECT"
        " min(rank) FROM tolaria_batches) AND episodes_completed IS NOT NULL AND timestamp >= coalesce((SELECT"
        " max(started_at) FROM runs WHERE rank = (SELECT min(rank) FROM tolaria_batches)),"
        " TIMESTAMP '1970-01-01') ORDER BY timestamp DESC LIMIT ?",
        [PACE_ROUNDS],
    ).fetchall()
    if len(rows) < LEAST_ROUNDS or not rows[0][1]:
        return None
    (done, total, last), (before, _, first) = rows[0], rows[-1]
    if done <= before or last <= first:
        return None
    return Left(done, total, max(total - done, 0) * (last - first) / (done - before))
