"""Numbers that no other chart is made for: those that the program logged by name, and fields of its own events."""

from __future__ import annotations

from typing import Final

from esper_otel.report.canvas import Canvas
from esper_otel.report.chart import Axis, Chart, Series, cut, missing, not_measured
from esper_otel.report.source import FIRST_RANK, OF_ARM, Arm, Connection, Row, of_arm
from esper_otel.report.updates import clock
from esper_otel.sql.custom import declared_types, view_of
from esper_otel.sql.views.columns import fields_of, quoted

TITLE: Final = "Numbers of the program"
MAX_ROWS: Final = 12
MAX_LINES: Final = 8
"""Lines in a row: values of the attributes of an event."""

_ABOUT: Final = "Numbers that the program logged by a name of its own, and fields of its own events, over time."
_SCALARS: Final = f"""
    SELECT timestamp, tag, value FROM tolaria_scalar WHERE {OF_ARM} {FIRST_RANK} ORDER BY timestamp, event_id
"""
_NUMBERS: Final = frozenset({"DOUBLE", "BIGINT"})

_Lines = dict[str, list[tuple[Row, float | None]]]


def own_numbers_chart(connection: Connection, arm: Arm) -> Chart:
    """The chart of one arm: a row for each name; the values of an event's attributes are lines of their own."""
    found = _scalars(connection, arm) | _fields(connection, arm)
    if not found:
        return not_measured(TITLE, _ABOUT, "the program logged no number by a name of its own.")
    shown = dict(list(found.items())[:MAX_ROWS])
    canvas = Canvas([Axis(cut(name)) for name in shown], "time", is_time=True)
    notes, absent = [], []
    for row, (name, lines) in enumerate(shown.items(), start=1):
        for label, points in list(lines.items())[:MAX_LINES]:
            series = _series(points)
            if series.is_measured:
                canvas.line(row, f"{name} {label}".strip(), series)
            else:
                absent.append((f"{name} {label}".strip(), series))
        if len(lines) > MAX_LINES:
            notes.append(f"{name}: {len(lines) - MAX_LINES} of {len(lines)} lines are left out; SQL has them.")
    if len(found) > MAX_ROWS:
        left_out = ", ".join(list(found)[MAX_ROWS : MAX_ROWS + 20])
        notes.append(f"{len(found) - MAX_ROWS} further numbers are left out ({left_out}); SQL has them.")
    return canvas.chart(TITLE, _ABOUT, [*missing(absent), *notes])


def _scalars(connection: Connection, arm: Arm) -> dict[str, _Lines]:
    found: dict[str, _Lines] = {}
    for row in of_arm(connection, _SCALARS, arm):
        found.setdefault(row["tag"] or "", {}).setdefault("", []).append((row, row["value"]))
    return found


def _fields(connection: Connection, arm: Arm) -> dict[str, _Lines]:
    found: dict[str, _Lines] = {}
    for cls in declared_types(connection):
        names = [column.name for column in fields_of(cls) if column.type in _NUMBERS]
        if not names:
            continue
        view = view_of(cls.event_type)
        columns = ", ".join(map(quoted, dict.fromkeys((*names, *cls.attributes))))
        query = f"SELECT timestamp, {columns} FROM {view} WHERE {OF_ARM} {FIRST_RANK} ORDER BY timestamp, event_id"
        for row in of_arm(connection, query, arm):
            label = " ".join(str(row[name]) for name in cls.attributes if row[name] is not None)
            for name in names:
                lines = found.setdefault(f"{cls.event_type.lower()} {name}", {})
                lines.setdefault(label, []).append((row, row[name]))
    return found


def _series(points: list[tuple[Row, float | None]]) -> Series:
    times = [row["timestamp"] for row, _ in points]
    return Series(times, [value for _, value in points], [clock(time) for time in times])
