"""Conversion of lines of a log to rows of tables, as JSON lines for DuckDB.

The same adapter as the relay's reads them, so old names, new names and esper-lite's habits mean here what they mean
there. Non-finite numbers are texts, which DuckDB casts to DOUBLE.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import msgspec

from esper_otel.esper_lite.dialect.adapt import adapt
from esper_otel.events import Event
from esper_otel.log.duplicates import DUPLICATE
from esper_otel.log.envelope import BadLine, Record
from esper_otel.log.salvage import Salvage
from esper_otel.sql.views.tables import RAW, REJECTED_FIELDS, REJECTED_LINES

_encoder: Final = msgspec.json.Encoder()


class Batch(msgspec.Struct, frozen=True, tag=True):
    """Lines of one run, in order.

    Attributes:
        run_ids: name of the run by source, for lines that do not say it.
        run_dirs: name of the directory by source.
        records: lines to be read.
        repeated: lines that repeat an event.
        bad: lines that hold no event.
        wanted: names of the tables to make rows for.
    """

    run_ids: dict[str, str]
    run_dirs: dict[str, str]
    records: list[Record]
    repeated: list[Record]
    bad: list[BadLine]
    wanted: frozenset[str]


class _Row(msgspec.Struct, omit_defaults=True, gc=False):
    run_id: str
    group_id: str
    timestamp: int
    event_id: str
    severity: str
    message: str
    rank: int
    seq: int | msgspec.UnsetType
    run_dir: str
    data: Event | msgspec.Raw


class _RawRow(msgspec.Struct, omit_defaults=True):
    run_id: str
    group_id: str
    timestamp: int
    event_id: str
    severity: str
    message: str
    rank: int
    seq: int | None
    run_dir: str
    event_type: str
    epoch: int | None
    seed_id: str | None
    slot_id: str | None
    data: str
    source: str
    segment: int
    offset: int


def rows_of(batch: Batch) -> dict[str, bytes]:
    """The rows of a batch by table, one JSON line each."""
    rows: dict[str, list[bytes]] = defaultdict(list)
    reads_events = not batch.wanted <= {RAW.name}
    for record in batch.records:
        if RAW.name in batch.wanted:
            rows[RAW.name].append(_encode(_raw_row(batch, record)))
        if reads_events:
            _add_events(batch, record, rows)
    if REJECTED_LINES.name in batch.wanted:
        rows[REJECTED_LINES.name] += [_rejected(batch, record, DUPLICATE) for record in batch.repeated]
        rows[REJECTED_LINES.name] += [_bad(batch, line) for line in batch.bad]
    return {name: b"\n".join(lines) + b"\n" for name, lines in rows.items() if lines}


def _add_events(batch: Batch, record: Record, rows: dict[str, list[bytes]]) -> None:
    adapted = adapt(record, None if REJECTED_FIELDS.name in batch.wanted else batch.wanted)
    for event in adapted.events:
        name = event.event_type.lower()
        if name in batch.wanted:
            rows[name].append(_encoded(_row(batch, record, event)))
    if adapted.reason is not None and REJECTED_LINES.name in batch.wanted:
        rows[REJECTED_LINES.name].append(_rejected(batch, record, adapted.reason))
    if REJECTED_FIELDS.name in batch.wanted:
        for reason, names in (("unknown", adapted.unknown_fields), ("mistyped", adapted.mistyped)):
            rows[REJECTED_FIELDS.name] += [_rejected_field(batch, record, name, reason) for name in names]


def _row(batch: Batch, record: Record, event: Event) -> _Row:
    return _Row(
        record.run_id or batch.run_ids[record.source],
        record.group_id,
        record.timestamp_ns // 1000,
        record.event_id,
        record.severity,
        record.message,
        record.rank,
        msgspec.UNSET if record.seq is None else record.seq,
        batch.run_dirs[record.source],
        event,
    )


def _encoded(row: _Row) -> bytes:
    encoded = _encode(row)
    # absent values are left out, so a null is a number that is not finite, or a text that says so
    if b"null" in encoded:
        row.data = msgspec.Raw(_encode(Salvage().payload(row.data)))
        return _encode(row)
    return encoded


def _encode(row: object) -> bytes:
    try:
        return _encoder.encode(row)
    except UnicodeEncodeError:  # the name of a file that is not valid UTF-8
        return _encoder.encode(Salvage().payload(row))


def _raw_row(batch: Batch, record: Record) -> _RawRow:
    return _RawRow(
        record.run_id or batch.run_ids[record.source],
        record.group_id,
        record.timestamp_ns // 1000,
        record.event_id,
        record.severity,
        record.message,
        record.rank,
        record.seq,
        batch.run_dirs[record.source],
        record.event_type,
        record.epoch,
        record.seed_id,
        record.slot_id,
        record.data.decode("utf-8", "replace"),
        record.source,
        record.segment,
        record.offset,
    )


def _rejected(batch: Batch, record: Record, reason: str) -> bytes:
    return _encode(
        {
            "run_id": record.run_id or batch.run_ids[record.source],
            "reason": reason,
            "source": record.source,
            "segment": record.segment,
            "offset": record.offset,
            "event_type": record.event_type,
            "event_id": record.event_id,
        }
    )


def _bad(batch: Batch, line: BadLine) -> bytes:
    return _encode(
        {
            "run_id": batch.run_ids[line.source],
            "reason": line.reason.value,
            "source": line.source,
            "segment": line.segment,
            "offset": line.offset,
            "excerpt": line.excerpt,
        }
    )


def _rejected_field(batch: Batch, record: Record, name: str, reason: str) -> bytes:
    return _encode(
        {
            "run_id": record.run_id or batch.run_ids[record.source],
            "event_type": record.event_type,
            "event_id": record.event_id,
            "field": name,
            "reason": reason,
        }
    )
