"""Decoding of lines to events.

Non-finite numbers are observations and survive as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, as in
protobuf's JSON. On reading, bare ``NaN`` tokens (Python's json module, esper-lite) are accepted too. A line of
ours that holds such a number says so (``nonfinite``). The usual line is decoded by msgspec in one step; what that
refuses is decoded value by value. The way from events to lines is :mod:`esper_otel.log.encode`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from esper_otel.events.declare import Event
from esper_otel.log.encode import SCHEMA_VERSION, holds_nonfinite
from esper_otel.log.envelope import BadLine, Reason, Record
from esper_otel.log.own_lines import OwnLine, decode_own
from esper_otel.log.salvage import plain

Decoder = Callable[[bytes, str, int, int], Record | BadLine]
"""Reader of a line; takes the line and, as :func:`decode` does, its place."""

EXCERPT_CHARACTERS: Final = 200
_BYTE_ORDER_MARKS: Final = re.compile(rb"(?:\xef\xbb\xbf)+")
LATEST_NS: Final = 2**63
"""The year 2262: what comes later, or before 1970, is no Unix time in ns that OTLP could carry."""


class _Read(msgspec.Struct):
    """A line as it is read: names and types of the envelope, everything optional except type and time."""

    event_type: str
    timestamp: datetime
    event_id: str = ""
    seed_id: str | None = None
    slot_id: str | None = None
    epoch: int | None = None
    group_id: str | None = None
    message: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    severity: str | None = None
    run_id: str | None = None
    rank: int | None = None
    seq: int | None = None
    schema_version: int | None = None
    nonfinite: bool = False


_READ: Final = msgspec.json.Decoder(_Read)


def decode(line: bytes, source: str = "", offset: int = 0, segment: int = 1) -> Record | BadLine:
    """The record in ``line``, with or without its newline, or a BadLine if there is none. Never raises.

    ``source``, ``offset`` and ``segment`` say where the line ends; they are copied into the result.
    """
    try:
        read = _READ.decode(line)
        # our own lines say it; looking through every line for it would cost more than decoding them
        nonfinite = read.nonfinite or (read.schema_version is None and holds_nonfinite(line))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        if marks := _BYTE_ORDER_MARKS.match(line):  # some editors begin a file with one
            return decode(line[marks.end() :], source, offset, segment)
        try:
            read, nonfinite = _decode_by_value(line)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, ArithmeticError):
            return BadLine(source, offset, segment, Reason.MALFORMED, excerpt(line))
    record = _record(read, nonfinite, source, offset, segment)
    if not 0 <= record.timestamp_ns < LATEST_NS:
        return BadLine(source, offset, segment, Reason.MALFORMED, excerpt(line))
    return record


def decode_to_convert(line: bytes, source: str, offset: int, segment: int) -> Record | BadLine:
    """:func:`decode` for whoever only converts the payload.

    Of lines of other producers it does not say that they hold a non-finite number: their conversion finds it anyway,
    and looking for it takes as long as decoding the line.
    """
    try:
        record = _record(_READ.decode(line), None, source, offset, segment)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return decode(line, source, offset, segment)
    return record if 0 <= record.timestamp_ns < LATEST_NS else decode(line, source, offset, segment)


def decode_with_event(
    line: bytes, source: str, offset: int, segment: int, otherwise: Decoder = decode
) -> Record | BadLine:
    """:func:`decode`, including the payload of our own lines if one step suffices: see :attr:`Record.event`.

    All other lines are left to ``otherwise``.
    """
    own = decode_own(line)
    if own is not None:
        record = _own_record(own, source, offset, segment)
        if 0 <= record.timestamp_ns < LATEST_NS:
            return record
    return otherwise(line, source, offset, segment)


def excerpt(line: bytes) -> str:
    """The first characters of ``line`` for display; invalid UTF-8 is replaced."""
    return line[: EXCERPT_CHARACTERS * 4].decode("utf-8", "replace").rstrip("\n")[:EXCERPT_CHARACTERS]


def _record(read: _Read, nonfinite: bool | None, source: str, offset: int, segment: int) -> Record:
    data = bytes(read.data)
    return Record(
        read.event_id,
        read.event_type,
        _unix_ns(read.timestamp),
        read.group_id or "default",
        read.rank or 0,
        read.run_id,
        read.seq,
        read.epoch,
        read.seed_id,
        read.slot_id,
        read.message or "",
        read.severity or "info",
        read.schema_version,
        b"" if data == b"null" else data,
        read.nonfinite if nonfinite is None else nonfinite,
        source,
        offset,
        segment,
    )


def _own_record(own: OwnLine, source: str, offset: int, segment: int) -> Record:
    event: Event = own.data
    return Record(
        own.event_id,
        event.event_type,
        _unix_ns(own.timestamp),
        own.group_id or "default",
        own.rank,
        own.run_id,
        own.seq,
        own.epoch,
        own.seed_id,
        own.slot_id,
        own.message,
        own.severity or "info",
        SCHEMA_VERSION,
        b"",
        False,
        source,
        offset,
        segment,
        event,
    )


def _unix_ns(moment: datetime) -> int:
    """Exact to the microsecond: a double holds microseconds of this century with room to spare, not nanoseconds."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1e6 + 0.5) * 1000


def _decode_by_value(line: bytes) -> tuple[_Read, bool]:
    """Decode what the strict decoder rejects: bare non-finite tokens, invalid UTF-8, envelope fields of other types."""
    parsed = json.loads(line.decode("utf-8", "replace"))
    if not isinstance(parsed, dict):
        raise TypeError("a line must be a JSON object")
    data = msgspec.json.encode(plain(parsed.get("data")))
    read = _Read(
        event_type=msgspec.convert(parsed.get("event_type"), str),
        timestamp=msgspec.convert(parsed.get("timestamp"), datetime),
        event_id=_text(parsed.get("event_id")) or "",
        seed_id=_text(parsed.get("seed_id")),
        slot_id=_text(parsed.get("slot_id")),
        epoch=_number(parsed.get("epoch")),
        group_id=_text(parsed.get("group_id")),
        message=_text(parsed.get("message")),
        data=msgspec.Raw(data),
        severity=_text(parsed.get("severity")),
        run_id=_text(parsed.get("run_id")),
        rank=_number(parsed.get("rank")),
        seq=_number(parsed.get("seq")),
        schema_version=_number(parsed.get("schema_version")),
    )
    return read, holds_nonfinite(data)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    return plain(value) if isinstance(value, str) else str(value)


def _number(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
