"""The tables of the report: configuration, anomalies, losses. Texts are as the log has them; the page escapes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from esper_otel.events import EVENT_TYPES, TrainingStarted
from esper_otel.report.source import Connection, Row, rows
from esper_otel.report.updates import clock
from esper_otel.sql.plain import plain
from esper_otel.sql.views.columns import ENVELOPE, columns_of
from esper_otel.sql.views.view import first_sentence

MAX_ANOMALIES: Final = 300
"""Maximum number of listed anomalies, newest first; all are counted."""
MAX_STARTS: Final = 6
MAX_TEXT: Final = 600

_ENVELOPE: Final = frozenset(column.name for column in ENVELOPE)
_SAID_ALREADY: Final = _ENVELOPE | {"event_type", "anomaly_type", "detail"}
_WHERE: Final = ("env_id", "batch", "batch_idx", "episode", "episode_idx", "inner_epoch", "ppo_update_idx")


class Setting(msgspec.Struct, frozen=True):
    """One line of the configuration: its value at each start of training."""

    name: str
    values: list[str]
    meaning: str


class Configuration(msgspec.Struct, frozen=True):
    """The configuration at each start of training, and how many starts are not shown."""

    starts: list[str]
    settings: list[Setting]
    left_out: int


class Anomaly(msgspec.Struct, frozen=True):
    """One line of the anomalies."""

    time: str
    severity: str
    group: str
    kind: str
    where: str
    what: str


class Loss(msgspec.Struct, frozen=True):
    """Data missing from the charts, with its count."""

    what: str
    number: int
    detail: str


def configuration(connection: Connection) -> Configuration:
    """The configuration of the last starts, each resume and each arm with a column of its own."""
    found = rows(connection, "SELECT * FROM runs ORDER BY started_at, group_id")
    shown = found[-MAX_STARTS:]
    settings = [
        Setting(column.name, [text(row[column.name]) for row in shown], column.description)
        for column in columns_of(TrainingStarted)
        if column.name not in _ENVELOPE and any(row[column.name] is not None for row in shown)
    ]
    return Configuration(
        [f"{row['group_id']}, {clock(row['started_at'])}" for row in shown], settings, len(found) - len(shown)
    )


def anomalies(connection: Connection) -> tuple[list[Anomaly], int]:
    """The newest anomalies, newest first, and how many there are."""
    found = rows(
        connection,
        f"SELECT *, count(*) OVER () AS total FROM anomalies ORDER BY timestamp DESC LIMIT {MAX_ANOMALIES}",
    )
    return [_anomaly(row) for row in found], found[0]["total"] if found else 0


def losses(connection: Connection) -> list[Loss]:
    """Losses of the log, and data in it that could not be read."""
    dropped = rows(
        connection,
        "SELECT reason, sum(count) AS n, max(detail) AS detail FROM losses GROUP BY 1 ORDER BY n DESC, reason",
    )
    lines = rows(
        connection,
        "SELECT reason, coalesce(event_type, '') AS type, count(*) AS n, max(excerpt) AS excerpt FROM rejected_lines"
        " GROUP BY ALL ORDER BY n DESC, reason, type LIMIT 50",
    )
    fields = rows(
        connection,
        "SELECT reason, event_type AS type, field, count(*) AS n FROM rejected_fields"
        " GROUP BY ALL ORDER BY n DESC, type, field LIMIT 100",
    )
    return [
        *(Loss(f"event not recorded: {row['reason']}", int(row["n"] or 0), text(row["detail"])) for row in dropped),
        *(
            Loss(f"line without an event: {row['reason']}", row["n"], _said(row["type"], row["excerpt"]))
            for row in lines
        ),
        *(Loss(f"{row['reason']} field", row["n"], f"{row['type']} {row['field']}") for row in fields),
    ]


def text(value: Any) -> str:
    """A value of a column for people, cut where it is very long."""
    value = plain(value)
    if value is None:
        return ""
    shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return shown if len(shown) <= MAX_TEXT else f"{shown[:MAX_TEXT]}…"


def _anomaly(row: Row) -> Anomaly:
    cls = EVENT_TYPES.get(row["event_type"])
    kind = row["anomaly_type"] or row["event_type"].lower()
    return Anomaly(
        time=clock(row["timestamp"]),
        severity=row["severity"],
        group=row["group_id"],
        kind=text(kind),
        where=", ".join(_pairs(row, _WHERE)),
        what=_said(row["detail"] or row["message"] or (first_sentence(cls) if cls else ""), _rest(row)),
    )


def _rest(row: Row) -> str:
    names = [name for name in row if name not in _SAID_ALREADY and name not in _WHERE and name != "total"]
    return ", ".join(_pairs(row, names))


def _pairs(row: Row, names: Iterable[str]) -> list[str]:
    return [f"{name} {_short(row[name])}" for name in names if row.get(name) is not None]


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else text(value)


def _said(*parts: str | None) -> str:
    return text(" · ".join(part for part in parts if part))
