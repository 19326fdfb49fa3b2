"""One event to one line and back.

Non-finite numbers are observations and survive as the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, as in
protobuf's JSON. On reading, bare ``NaN`` tokens (Python's json module, esper-lite) are understood as well. A line of
ours that holds such a number says so (``nonfinite``). The usual event takes a fast path in msgspec both ways; what
that path refuses is decoded or encoded value by value.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from esper_otel.events.declare import Event
from esper_otel.log.envelope import BadLine, Reason, Record
from esper_otel.log.salvage import Salvage, plain, replace_number

SCHEMA_VERSION: Final = 1
EXCERPT_CHARACTERS: Final = 200
LATEST_NS: Final = 2**63
"""The year 2262: what comes later, or before 1970, is no Unix time in ns that OTLP could carry."""

_NULL: Final = re.compile(b"null")  # half as dear as the `in` operator, whose search likes no short needles


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line as it is written: the order of the fields is the order in the log; absent ones are left out."""

    event_id: str
    event_type: str
    timestamp: str
    seed_id: Any = None
    slot_id: Any = None
    epoch: Any = None
    group_id: str
    message: str | None = None
    data: Any
    severity: str
    run_id: str
    rank: int
    seq: int
    schema_version: int
    nonfinite: bool = False


class Envelope(msgspec.Struct, frozen=True):
    """What the producer says of an event beside its payload.

    Attributes:
        timestamp_ns: Unix time in ns.
        group_id: A/B group.
        severity: name of the severity, None for that of the event's class.
        message: text for people, None for none.
        seq: position in the rank's series of events, from 1.
    """

    timestamp_ns: int
    group_id: str
    severity: str | None
    message: str | None
    seq: int


class LineEncoder:
    """Encodes the events of one rank of one run. Not safe for use by several threads."""

    def __init__(self, run_id: str, rank: int) -> None:
        """``run_id`` and ``rank`` stand in every line and in every event id."""
        self._run_id = run_id
        self._rank = rank
        self._id_prefix = f"{run_id}-{rank}-"
        self._fast = msgspec.json.Encoder(enc_hook=replace_number)
        self._second = -1
        self._second_text = ""
        self._envelope_fields: dict[type[Event], tuple[bool, bool, str | None]] = {}

    def encode(
        self,
        event: Event,
        envelope: Envelope,
        *,
        event_type: str | None = None,
        payload: object = None,
    ) -> tuple[bytes, tuple[str, ...]]:
        """The line of ``event``, newline included, and the fields that could not be kept.

        ``event_type`` and ``payload`` replace the event's own when it is written under another name. Never raises for
        what an event may hold: a value that has no JSON form is left out and named in the second item, as
        ``field: why``.
        """
        line = self._line(event, envelope, event_type, event if payload is None else payload)
        try:
            encoded = self._fast.encode(line)
            if _NULL.search(encoded) is None:  # nothing but a non-finite number is written as null
                return encoded + b"\n", ()
        except Exception:  # whatever a foreign object raises when it is asked for its number
            return self._encode_by_value(line)
        return self._encode_by_value(line)

    def _line(self, event: Event, envelope: Envelope, event_type: str | None, payload: object) -> _Line:
        kind = type(event)
        known = self._envelope_fields.get(kind)
        if known is None:
            names = kind.__struct_fields__
            known = self._envelope_fields[kind] = ("seed_id" in names, "slot_id" in names, kind.epoch_field)
        has_seed, has_slot, epoch_field = known
        return _Line(
            event_id=f"{self._id_prefix}{envelope.seq}",
            event_type=event_type or kind.event_type,
            timestamp=self._timestamp(envelope.timestamp_ns),
            seed_id=event.seed_id if has_seed else None,  # type: ignore[attr-defined]  # known to have it
            slot_id=event.slot_id if has_slot else None,  # type: ignore[attr-defined]  # known to have it
            epoch=getattr(event, epoch_field) if epoch_field else None,
            group_id=envelope.group_id,
            message=envelope.message or None,
            data=payload,
            severity=envelope.severity or kind.severity.value,
            run_id=self._run_id,
            rank=self._rank,
            seq=envelope.seq,
            schema_version=SCHEMA_VERSION,
        )

    def _encode_by_value(self, line: _Line) -> tuple[bytes, tuple[str, ...]]:
        salvage = Salvage()
        fields = {name: getattr(line, name) for name in line.__struct_fields__ if name != "data"}
        kept = {name: salvage.value(value, name) for name, value in fields.items() if value is not None}
        kept["data"] = salvage.payload(line.data)
        ordered = {name: kept[name] for name in line.__struct_fields__ if name in kept}
        encoded = msgspec.json.encode(ordered)
        if _holds_nonfinite(encoded):
            encoded = msgspec.json.encode(ordered | {"nonfinite": True})
        return encoded + b"\n", tuple(salvage.lost)

    def _timestamp(self, timestamp_ns: int) -> str:
        second, rest = divmod(timestamp_ns, 1_000_000_000)
        if second != self._second:
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            self._second = second
        return f"{self._second_text}.{rest // 1000:06d}+00:00"


class _Read(msgspec.Struct):
    """A line as it is read; names and types of the envelope, everything optional but the type and the time."""

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


def decode(line: bytes, *, source: str = "", offset: int = 0, segment: int = 1) -> Record | BadLine:
    """The record that ``line`` holds, with or without its newline; a BadLine when it holds none. Never raises.

    ``source``, ``offset`` and ``segment`` say where the line ends; they are copied into the result.
    """
    try:
        read = _READ.decode(line)
        # our own lines say it; looking through every line for it would cost more than decoding them
        nonfinite = read.nonfinite or (read.schema_version is None and _holds_nonfinite(line))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        try:
            read, nonfinite = _decode_by_value(line)
        except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, ArithmeticError):
            return BadLine(source, offset, segment, Reason.MALFORMED, excerpt(line))
    record = _record(read, nonfinite, source, offset, segment)
    if not 0 <= record.timestamp_ns < LATEST_NS:
        return BadLine(source, offset, segment, Reason.MALFORMED, excerpt(line))
    return record


def excerpt(line: bytes) -> str:
    """The first characters of ``line`` for a person to look at; what is not UTF-8 is replaced."""
    return line[: EXCERPT_CHARACTERS * 4].decode("utf-8", "replace").rstrip("\n")[:EXCERPT_CHARACTERS]


def _record(read: _Read, nonfinite: bool, source: str, offset: int, segment: int) -> Record:
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
        nonfinite,
        source,
        offset,
        segment,
    )


def _unix_ns(moment: datetime) -> int:
    """Exact to the microsecond: a double holds microseconds of this century with room to spare, not nanoseconds."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1e6 + 0.5) * 1000


def _decode_by_value(line: bytes) -> tuple[_Read, bool]:
    """Decode what the strict decoder refuses: bare non-finite tokens, invalid UTF-8, oddly typed envelope fields."""
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
    return read, _holds_nonfinite(data)


def _holds_nonfinite(text: bytes) -> bool:
    return b'"NaN"' in text or b'Infinity"' in text


def _text(value: object) -> str | None:
    if value is None or isinstance(value, dict | list):
        return None
    return plain(value) if isinstance(value, str) else str(value)


def _number(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
