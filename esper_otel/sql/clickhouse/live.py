"""Statements that create the tables of the live stream, and the views over them.

The collector's ``clickhouse`` exporter inserts what gateways receive. It does not create the tables: a gateway would
not start while ClickHouse is away, and they would be sorted by service. These are sorted by run. A row that arrives
twice counts once: the tables keep one of equal rows, and the views read them so (``FINAL``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from esper_otel.signals import log_events as named
from esper_otel.sql.clickhouse.creating import create_database, create_view, create_views
from esper_otel.sql.clickhouse.log_attributes import ATTRIBUTES, fields_as_json, text_of, value_of
from esper_otel.sql.views.clickhouse import from_stored, literal, type_of
from esper_otel.sql.views.columns import Column, quoted
from esper_otel.sql.views.tables import RAW, REJECTED_FIELDS, REJECTED_LINES, Table

DATABASE: Final = "esper_live"
LOGS: Final = "otel_logs"
TRACES: Final = "otel_traces"
SPANS: Final = "spans"
"""View of the spans."""

_TEXTS: Final = "Map(LowCardinality(String), String)"
_NAME: Final = "LowCardinality(String)"
_AT: Final = "DateTime64(9) CODEC(Delta, ZSTD)"
_LONG: Final = "CODEC(ZSTD)"

_LOG_COLUMNS: Final = (
    f"Timestamp {_AT}",
    f"TraceId String {_LONG}",
    f"SpanId String {_LONG}",
    "TraceFlags UInt8",
    f"SeverityText {_NAME}",
    "SeverityNumber UInt8",
    f"ServiceName {_NAME}",
    f"Body String {_LONG}",
    f"ResourceSchemaUrl {_NAME}",
    f"ResourceAttributes {_TEXTS} {_LONG}",
    f"ScopeSchemaUrl {_NAME}",
    f"ScopeName {_NAME}",
    f"ScopeVersion {_NAME}",
    f"ScopeAttributes {_TEXTS} {_LONG}",
    f"LogAttributes {_TEXTS} {_LONG}",
    f"EventName {_NAME}",
    f"RunId {_NAME} MATERIALIZED {ATTRIBUTES}[{literal(named.RUN_ID)}]",
    # A gateway that started while the table was away sends no names of events until its next start.
    f"Event {_NAME} MATERIALIZED if(EventName = '', {ATTRIBUTES}[{literal(named.EVENT_TYPE)}], EventName)",
    f"Content UInt64 MATERIALIZED cityHash64({ATTRIBUTES}, Body)",
)
_SPAN_COLUMNS: Final = (
    f"Timestamp {_AT}",
    f"TraceId String {_LONG}",
    f"SpanId String {_LONG}",
    f"ParentSpanId String {_LONG}",
    "TraceState String",
    f"SpanName {_NAME}",
    f"SpanKind {_NAME}",
    f"ServiceName {_NAME}",
    f"ResourceAttributes {_TEXTS} {_LONG}",
    f"ScopeName {_NAME}",
    f"ScopeVersion {_NAME}",
    f"SpanAttributes {_TEXTS} {_LONG}",
    "Duration UInt64 CODEC(ZSTD)",
    f"StatusCode {_NAME}",
    f"StatusMessage String {_LONG}",
    f"Events Nested (Timestamp DateTime64(9), Name {_NAME}, Attributes {_TEXTS}) {_LONG}",
    f"Links Nested (TraceId String, SpanId String, TraceState String, Attributes {_TEXTS}) {_LONG}",
    f"RunId {_NAME} MATERIALIZED SpanAttributes[{literal(named.RUN_ID)}]",
    "INDEX trace TraceId TYPE bloom_filter(0.001) GRANULARITY 1",
)

_EVENT_ID: Final = f"{ATTRIBUTES}[{literal(named.EVENT_ID)}]"
_IS_EVENT: Final = f"NOT mapContains({ATTRIBUTES}, {literal(named.UNKNOWN_REASON)})"
_RANK: Final = f"toInt64OrNull({text_of(named.RANK)})"
_BEFORE: Final = f"concat(RunId, '-', {ATTRIBUTES}[{literal(named.RANK)}], '-')"
_AFTER: Final = f"substring({_EVENT_ID}, length({_BEFORE}) + 1)"

_ENVELOPE: Final = {
    "run_id": "RunId",
    "group_id": text_of(named.GROUP_ID),
    "timestamp": "toDateTime64(Timestamp, 6, 'UTC')",
    "event_id": _EVENT_ID,
    "severity": "lower(SeverityText)",
    # The relay sums an event without a message up: its name, and its first values.
    "message": "if(EventName != '' AND (Body = EventName OR startsWith(Body, concat(EventName, ' '))), '', Body)",
    "rank": _RANK,
    # Identities of our own events are the run, the rank and the number.
    "seq": f"if(startsWith({_EVENT_ID}, {_BEFORE}), toInt64OrNull({_AFTER}), NULL)",
}
"""SQL of the columns that every event has; the directory of the log is not known here."""

_OF_LINES: Final = {
    "event_type": text_of(named.EVENT_TYPE),
    "epoch": f"toInt64OrNull({text_of(named.EPOCH)})",
    "seed_id": text_of(named.SEED_ID),
    "slot_id": text_of(named.SLOT_ID),
    "data": f"if({_IS_EVENT}, {fields_as_json()}, Body)",
    "reason": text_of(named.UNKNOWN_REASON),
}

_SPAN_VIEW: Final = (
    (Column("run_id", "VARCHAR", "The run."), "RunId"),
    (Column("group_id", "VARCHAR", "A/B group."), "SpanAttributes['esper.group.id']"),
    (Column("rank", "BIGINT", "Rank of the process."), "toInt64OrNull(SpanAttributes['esper.rank'])"),
    (Column("name", "VARCHAR", "Name of the span."), "SpanName"),
    (Column("started_at", "TIMESTAMP", "Start, UTC."), "toDateTime64(Timestamp, 6, 'UTC')"),
    (Column("duration_s", "DOUBLE", "Duration."), "Duration / 1e9"),
    (Column("status", "VARCHAR", "Unset, Ok or Error."), "StatusCode"),
    (Column("status_message", "VARCHAR", "Reason of an error."), "StatusMessage"),
    (Column("trace_id", "VARCHAR", "Trace of the round."), "TraceId"),
    (Column("span_id", "VARCHAR", "The span."), "SpanId"),
    (Column("parent_span_id", "VARCHAR", "Span that it is part of; empty for the root."), "ParentSpanId"),
    (Column("attributes", "MAP(VARCHAR, VARCHAR)", "Its attributes, all as texts."), "SpanAttributes"),
)


def statements(database: str, days: int) -> Iterator[str]:
    """Every statement, in the order in which they are to be executed.

    Args:
        database: name of the database; the same as in the collector's configuration.
        days: how long rows are kept, 0 for ever.

    Raises:
        ValueError: ``database`` is no plain name.
    """
    yield from create_database(database)
    yield _table(LOGS, _LOG_COLUMNS, "RunId, Event, Timestamp, Content", days)
    yield _table(TRACES, _SPAN_COLUMNS, "RunId, SpanName, Timestamp, TraceId, SpanId", days)
    yield from create_views(_stored)
    chosen = ", ".join(f"CAST({sql} AS {type_of(column.type)}) AS {quoted(column.name)}" for column, sql in _SPAN_VIEW)
    columns = [column for column, _ in _SPAN_VIEW]
    yield create_view(SPANS, columns, f"SELECT {chosen} FROM {TRACES} FINAL", "A span of a round that was kept.")


def _table(name: str, columns: tuple[str, ...], key: str, days: int) -> str:
    ttl = f" TTL toDateTime(Timestamp) + INTERVAL {days} DAY" if days else ""
    return (
        f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(columns)}) ENGINE = ReplacingMergeTree"
        f" PARTITION BY toDate(Timestamp) ORDER BY ({key}){ttl} SETTINGS ttl_only_drop_parts = 1"
    )


def _stored(table: Table) -> str:
    """SQL of the rows of a table."""
    columns = ", ".join(from_stored(column) for column in table.columns)
    found = ", ".join(
        f"CAST({_sql_of(column, table)} AS {type_of(column.stored_type)}) AS {quoted(column.name)}"
        for column in table.columns
    )
    rows = f"SELECT {found} FROM {LOGS} FINAL WHERE {_condition(table)}"
    return f"SELECT {columns} FROM ({rows})"


def _condition(table: Table) -> str:
    if table.event is not None:
        return f"Event IN ({literal(table.event.otel_name)}, {literal(table.event.event_type)}) AND {_IS_EVENT}"
    return {RAW.name: "true", REJECTED_LINES.name: f"NOT ({_IS_EVENT})", REJECTED_FIELDS.name: "false"}[table.name]


def _sql_of(column: Column, table: Table) -> str:
    if table.event is not None and column in table.fields:
        return value_of(f"{table.event.domain}.{column.name}", column)
    return _ENVELOPE.get(column.name) or _OF_LINES.get(column.name) or "NULL"
