"""The head of the report: name of the run, outcome, time and configuration."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.events.vocabulary import RUN_OUTCOMES
from esper_otel.log.reading.standing import STOPPED, is_held, standing
from esper_otel.report.source import Connection, one, rows
from esper_otel.report.tables import text
from esper_otel.report.updates import clock
from esper_otel.runs.archived import content_of, directory_of, name_of

_TIMED: Final = (
    "runs",
    "run_ended",
    "heartbeat",
    "tamiyo_updates",
    "tolaria_batches",
    "seed_lifecycle",
    "episode_outcomes",
    "anomalies",
    "rewards",
    "tolaria_training_update",
    "tolaria_phase_durations",
    "tolaria_gradient_stats",
    "infrastructure",
)
_UNKNOWN: Final = "unknown: the log has no end"


class Header(msgspec.Struct, frozen=True):
    """The head of the report; ``outcome`` is one of the contract's run outcomes or None, ``facts`` are for people."""

    title: str
    status: str
    outcome: str | None
    facts: list[tuple[str, str]]


def header_of(connection: Connection, run: Path, tell: Callable[[str], object]) -> Header:
    """The head of the report on the run at ``run``; ``tell`` is told why its ``run.json`` cannot be read."""
    directory, content = directory_of(run), content_of(run, tell)
    outcome = None if is_held(directory) else _outcome(connection)
    names = [row["run_id"] for row in rows(connection, f"SELECT DISTINCT run_id FROM ({_times()}) ORDER BY run_id")]
    stands = standing(directory, content)
    if directory is None and stands == STOPPED:  # of an archived run nobody can ask the lock
        stands = None
    status = outcome or text(stands) or _UNKNOWN
    if stands == STOPPED:
        outcome = outcome or RUN_OUTCOMES[-1]
    elif stands in RUN_OUTCOMES:
        outcome = outcome or stands
    return Header(
        text(", ".join(names)) or name_of(run), status, outcome, [*_when(connection), *_what(connection, content)]
    )


def _outcome(connection: Connection) -> str | None:
    """The last end, unless events follow: then the run was continued, and its end is unknown."""
    found = rows(
        connection,
        f"SELECT outcome FROM run_ended WHERE outcome IS NOT NULL AND timestamp >= (SELECT max(timestamp) FROM"
        f" ({_times()})) ORDER BY timestamp DESC LIMIT 1",
    )
    return str(found[0]["outcome"]) if found else None


def _times() -> str:
    return " UNION ALL ".join(f"SELECT run_id, timestamp FROM {view}" for view in _TIMED)


def _when(connection: Connection) -> list[tuple[str, str]]:
    span = one(connection, f"SELECT min(timestamp) AS first, max(timestamp) AS last FROM ({_times()})")
    first, last = span["first"], span["last"]
    if first is None:
        return [("started", "unknown: the log contains no event that the report reads")]
    return [("started", f"{clock(first)} UTC"), ("last event", f"{clock(last)} UTC"), ("took", duration(first, last))]


def duration(first: datetime, last: datetime) -> str:
    """The time between two moments, as hours, minutes and seconds."""
    seconds = (last - first).total_seconds()
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _what(connection: Connection, content: dict[str, Any]) -> list[tuple[str, str]]:
    starts = rows(connection, "SELECT DISTINCT task, reward_mode, n_envs, policy_device FROM runs ORDER BY ALL")
    facts = [
        ("task", _joined(starts, "task")),
        ("reward", _joined(starts, "reward_mode")),
        ("environments", _joined(starts, "n_envs")),
        ("device", _joined(starts, "policy_device")),
        ("command", _command(content.get("argv"))),
        ("host", text(content.get("host"))),
        ("versions", _versions(content)),
    ]
    return [(name, said) for name, said in facts if said]


def _joined(found: list[dict[str, Any]], name: str) -> str:
    return ", ".join(dict.fromkeys(text(row[name]) for row in found if row[name] is not None))


def _command(argv: Any) -> str:
    return text(" ".join(str(part) for part in argv)) if isinstance(argv, list) else ""


def _versions(content: dict[str, Any]) -> str:
    versions = content.get("versions")
    named = [f"{name} {version}" for name, version in versions.items()] if isinstance(versions, dict) else []
    python = [f"Python {content['python']}"] if "python" in content else []
    return text(", ".join([*python, *named]))
