"""The tables under the views: one per event type, one of raw lines, two of rejected data.

Rows arrive as JSON lines that our own code wrote (:mod:`..staging.rows`), so DuckDB is told every type and guesses
nothing. The quick reading fails as a whole where a number does not fit its column; the tolerant one makes that value
NULL.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.events import EVENT_TYPES, Event
from esper_otel.sql.views.columns import ENVELOPE, Column, columns_of, fields_of, literal, quoted

LAYOUT: Final = 1
"""Increased if stored data changes in a way that the columns do not show."""

_PLACE: Final = (
    Column("source", "VARCHAR", "Name of the log that it came from."),
    Column("segment", "BIGINT", "Number of the segment, from 1."),
    Column("offset", "BIGINT", "Byte at which its line ends in the uncompressed segment."),
)
_EVENT_TYPE: Final = Column("event_type", "VARCHAR", "Name of the event in the log.")


_NOTHING_OF_THE_PATH: Final = "hive_partitioning=false, filename=false"
"""DuckDB takes a directory called ``lr=0.5`` for a column, and puts it over the one of that name."""


def pattern(path: Path) -> str:
    """The text by which DuckDB finds ``path`` and nothing else: it reads names as patterns, and ``~`` as a home."""
    return re.sub(r"[*?\[]", r"[\g<0>]", str(path.absolute()))


class Table(msgspec.Struct, frozen=True):
    """One table.

    Attributes:
        name: its name and the stem of its Parquet files.
        head: columns outside the payload, in the order of storage.
        fields: columns inside the payload.
        event: the event class whose rows it holds, None for the others.
    """

    name: str
    head: tuple[Column, ...]
    fields: tuple[Column, ...] = ()
    event: type[Event] | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns in the order in which people see them."""
        return columns_of(self.event) if self.event else self.head

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the columns."""
        text = json.dumps([(column.name, column.type) for column in self.columns])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def select(self, rows: list[Path], *, tolerant: bool, max_row_bytes: int) -> str:
        """SQL that reads files of rows; ``tolerant`` makes NULL of values that do not fit their column."""
        inside = _struct_type(self.fields)
        columns = {column.name: _row_type(column) for column in self.head}
        if self.fields:
            columns["data"] = "JSON" if tolerant else inside
        listed = ", ".join(literal(pattern(path)) for path in rows)
        source = (
            f"read_json([{listed}], format='newline_delimited', maximum_object_size={max_row_bytes},"
            f" {_NOTHING_OF_THE_PATH},"
            f" columns={{{', '.join(f'{quoted(name)}: {literal(type_)}' for name, type_ in columns.items())}}})"
        )
        if self.fields and tolerant:
            shape = json.dumps({column.name: column.stored_type for column in self.fields})
            source = f"(SELECT * REPLACE (json_transform(data, {literal(shape)}) AS data) FROM {source})"
        names = {column.name for column in self.fields}
        heads = [_from_row(column) for column in self.head if column.name not in names]
        chosen = [*heads, *(f"data.{quoted(column.name)} AS {quoted(column.name)}" for column in self.fields)]
        return f"SELECT {', '.join(chosen)} FROM {source}"

    def stored(self, files: list[Path]) -> str:
        """SQL of the table's content in ``files``; of an empty table if there are none."""
        if not files:
            typed = ", ".join(f"NULL::{column.type} AS {quoted(column.name)}" for column in self.columns)
            return f"SELECT {typed} WHERE false"
        columns = ", ".join(column.from_stored for column in self.columns)
        return f"SELECT {columns} FROM {self.source(files)}"

    def source(self, files: list[Path]) -> str:
        """SQL of the rows of Parquet files as they are; names of their directories are no columns."""
        listed = ", ".join(literal(pattern(path)) for path in files)
        return f"read_parquet([{listed}], {_NOTHING_OF_THE_PATH}, union_by_name=false)"


def table_of(cls: type[Event]) -> Table:
    """The table of an event class."""
    return TABLES[cls.event_type.lower()]


def _row_type(column: Column) -> str:
    return "BIGINT" if column.type == "TIMESTAMP" else column.stored_type


def _from_row(column: Column) -> str:
    name = quoted(column.name)
    return f"make_timestamp({name}) AS {name}" if column.type == "TIMESTAMP" else name


def _struct_type(fields: tuple[Column, ...]) -> str:
    return f"STRUCT({', '.join(f'{quoted(column.name)} {column.stored_type}' for column in fields)})"


RAW: Final = Table(
    "raw",
    (
        *ENVELOPE,
        _EVENT_TYPE,
        Column("epoch", "BIGINT", "The envelope's epoch, whose meaning depends on the event type."),
        Column("seed_id", "VARCHAR", "Seed that it concerns."),
        Column("slot_id", "VARCHAR", "Slot that it concerns."),
        Column("data", "VARCHAR", "The payload as JSON text, unchanged from the log."),
        *_PLACE,
    ),
)
REJECTED_LINES: Final = Table(
    "rejected_lines",
    (
        Column("run_id", "VARCHAR", "The run."),
        Column("reason", "VARCHAR", "Reason why the line has no event."),
        *_PLACE,
        Column("event_type", "VARCHAR", "Its event type, if any."),
        Column("event_id", "VARCHAR", "Its event id, if any."),
        Column("excerpt", "VARCHAR", "Its first characters, if it could not be read."),
    ),
)
REJECTED_FIELDS: Final = Table(
    "rejected_fields",
    (
        Column("run_id", "VARCHAR", "The run."),
        Column("event_type", "VARCHAR", "Event type of the line."),
        Column("event_id", "VARCHAR", "Event id of the line."),
        Column("field", "VARCHAR", "Dotted name in the payload."),
        Column("reason", "VARCHAR", "unknown: there is no such field; mistyped: the value does not fit."),
    ),
)

TABLES: Final[dict[str, Table]] = {
    **{name.lower(): Table(name.lower(), ENVELOPE, fields_of(cls), cls) for name, cls in EVENT_TYPES.items()},
    **{table.name: table for table in (RAW, REJECTED_LINES, REJECTED_FIELDS)},
}
"""Every table by its name."""


@cache
def fingerprint() -> str:
    """Fingerprint of the layout of all tables."""
    text = f"{LAYOUT} " + " ".join(f"{name}={table.fingerprint}" for name, table in sorted(TABLES.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
