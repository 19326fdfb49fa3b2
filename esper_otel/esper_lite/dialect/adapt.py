"""Conversion of a line of any log, ours or esper-lite's, old or new, to events. Never raises.

Lines that we wrote decode strictly, in one step. Everything else, and what the strict decoder refuses, is read field
by field: what fits survives, what does not is named.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, Final, cast

import msgspec

from esper_otel.esper_lite.dialect.convert import reader_of
from esper_otel.esper_lite.dialect.recipes import CONSUMED, IDENTITY, OF_THE_DECISION, RECIPES, Part
from esper_otel.esper_lite.dialect.repairs import repair
from esper_otel.esper_lite.dialect.spelling import spelling_of
from esper_otel.esper_lite.dialect.table import SNAPSHOT
from esper_otel.esper_lite.dialect.values import Findings
from esper_otel.events import EVENT_TYPES, Event
from esper_otel.log.envelope import Record
from esper_otel.signals import custom

UNKNOWN_EVENT_TYPE: Final = "unknown_event_type"
UNDECODABLE: Final = "undecodable"


class Adapted(msgspec.Struct, frozen=True):
    """Result of one line.

    Attributes:
        events: our events, the one that the line is about first.
        unknown_fields: dotted names that no field goes by.
        mistyped: dotted names whose value did not fit their field; the field is absent.
        reason: why there is no event: ``unknown_event_type`` or ``undecodable``; None when there is one.
    """

    events: tuple[Event, ...] = ()
    unknown_fields: tuple[str, ...] = ()
    mistyped: tuple[str, ...] = ()
    reason: str | None = None


_DECODERS: Final = {name: msgspec.json.Decoder(cls) for name, cls in EVENT_TYPES.items()}
_PARSER: Final = msgspec.json.Decoder()
_UNDECODABLE: Final = Adapted(reason=UNDECODABLE)


def adapt(record: Record, only: frozenset[str] | None = None) -> Adapted:
    """Events of ``record``, and the parts that could not be read.

    With ``only``, names of event types in lower case, events of other types may be missing, and what is unknown and
    mistyped is not listed; the reason of a line without events is the same.
    """
    if record.event is not None:
        return Adapted((with_envelope(record.event, record),))
    decoder = _DECODERS.get(record.event_type) or custom.decoder_of(record.event_type)
    if decoder is not None and record.schema_version is not None and not record.nonfinite:
        try:
            return Adapted((with_envelope(decoder.decode(record.data or b"{}"), record),))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass  # the payload is spelled or typed otherwise: read it field by field
    return _adapt_by_field(record, only)


def _parsed(data: bytes) -> Any:
    try:
        return _PARSER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return json.loads(data)  # takes NaN, 1e400 and half a pair of surrogates, but several times as long


def _adapt_by_field(record: Record, only: frozenset[str] | None) -> Adapted:
    try:
        payload = _parsed(record.data) if record.data else {}
    except (ValueError, RecursionError):
        return _UNDECODABLE
    if not isinstance(payload, dict):
        return _UNDECODABLE
    key = record.event_type
    if key == SNAPSHOT:
        key = f"{SNAPSHOT}:{payload.get('kind')}"
    recipe = RECIPES.get(key)
    if recipe is None:
        own = custom.class_named(key)
        if own is None:
            return Adapted(reason=UNKNOWN_EVENT_TYPE)
        recipe = (Part(own),)
    foreign = record.schema_version is None  # our log may hold esper-lite's own lines, with our run id
    repair(key, payload, foreign=foreign)
    parts = recipe if foreign else [part for part in recipe if not part.foreign_only]
    if only is not None:
        events = _events_of(parts, payload, record, only)
        if events:
            return Adapted(tuple(events))
    return _assemble(parts, payload, record)


class _Reading(msgspec.Struct):
    """Results of the parts of a line, collected part by part."""

    events: list[Event]
    unknown: list[str]
    mistyped: list[str]


def _events_of(parts: Sequence[Part], payload: dict[str, Any], record: Record, only: frozenset[str]) -> list[Event]:
    reading = _Reading([], [], [])
    for part in parts:
        if part.cls.event_type.lower() in only:
            _read(part, parts[0], payload, record, reading)
    return reading.events


def _assemble(parts: Sequence[Part], payload: dict[str, Any], record: Record) -> Adapted:
    reading = _Reading([], [], [])
    for part in parts:
        _read(part, parts[0], payload, record, reading)
    unknown = [name for name in reading.unknown if not _is_understood(name, parts)]
    return Adapted(
        tuple(reading.events),
        tuple(unknown),
        tuple(dict.fromkeys(reading.mistyped)),
        None if reading.events else UNDECODABLE,
    )


def _read(part: Part, main: Part, payload: dict[str, Any], record: Record, reading: _Reading) -> None:
    if part.nested is None:
        _read_part(part, payload, record, reading, report_unknown=part is main)
    else:
        _read_nested(part, part.nested, main, payload, record, reading)


def _read_part(
    part: Part, payload: dict[str, Any], record: Record, reading: _Reading, *, report_unknown: bool, prefix: str = ""
) -> None:
    findings = Findings()
    reader = reader_of(part.cls)
    values = reader.read(payload, prefix, findings)
    if part.fill:
        values = {**part.fill, **values}
    event = reader.build(values) if part.when(payload) else None
    if event is not None:
        reading.events.append(with_envelope(cast(Event, event), record))
    reading.mistyped += findings.mistyped
    if report_unknown:
        reading.unknown += findings.unknown


def _read_nested(part: Part, name: str, main: Part, payload: dict[str, Any], record: Record, reading: _Reading) -> None:
    """Read the event that ``payload[name]`` holds; older lines spread its fields over the payload itself."""
    inner = payload.get(name)
    if inner is not None and not isinstance(inner, dict):
        reading.mistyped.append(name)
        return
    mine, theirs = spelling_of(part.cls), spelling_of(main.cls)
    spread = {
        key: value
        for key, value in payload.items()
        if value is not None and theirs.find(key) is None and mine.find(key) is not None
    }
    if not inner and not spread:
        return
    shared = {key: payload[key] for key in IDENTITY if key in payload}
    own = {**shared, **spread, **(inner or {})}
    if record.schema_version is None:
        own |= {key: payload[key] for key in OF_THE_DECISION if key in own and payload.get(key) is not None}
    _read_part(part, own, record, reading, report_unknown=True, prefix=f"{name}.")


def _is_understood(name: str, parts: Sequence[Part]) -> bool:
    """Return True if a name unknown to the main part serves another purpose."""
    if name in CONSUMED:
        return True
    return any(name == part.nested or spelling_of(part.cls).find(name) is not None for part in parts[1:])


def with_envelope(event: Event, record: Record) -> Event:
    """The event with fields that only the envelope has."""
    missing = {}
    for field, name in _envelope_fields(type(event)):
        if getattr(event, field) is None and (value := getattr(record, name)) is not None:
            missing[field] = value
    return msgspec.structs.replace(event, **missing) if missing else event


@cache
def _envelope_fields(cls: type[Event]) -> tuple[tuple[str, str], ...]:
    """Fields of ``cls`` that the envelope can fill, with its name for them. Its ``epoch`` means ``epoch_field``."""
    named = [(name, name) for name in ("seed_id", "slot_id") if name in cls.__struct_fields__]
    return (*named, (cls.epoch_field, "epoch")) if cls.epoch_field else tuple(named)
