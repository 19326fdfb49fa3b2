"""Encoding of events to lines.

A training process writes up to 10,000 events a second, and all of this holds the interpreter's lock, which the training
thread then waits for. The usual slice of events therefore takes one call of msgspec and one search for nulls. Where
something in it needs more than that, its events are encoded one by one, and those that msgspec refuses or that hold a
non-finite number (which it writes as null) value by value.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from esper_otel.events.declare import EVENT_TYPES, Event
from esper_otel.log.queued import Queued
from esper_otel.log.salvage import Salvage, replace_number

SCHEMA_VERSION: Final = 1

_THREE_DIGITS: Final = tuple(f"{number:03d}" for number in range(1000))
"""Looking up the digits of a timestamp takes half the time of formatting them."""


def null_finder() -> Callable[[bytes], object]:
    """Search function for the first ``null`` in a text; it returns None if there is none.

    memmem(3), if available, is three times as fast as a pattern and releases the interpreter's lock. A
    pattern is twice as fast as the ``in`` operator, which is slow for short needles.
    """
    try:
        memmem = ctypes.CDLL(None).memmem
    except (AttributeError, OSError, TypeError):
        return re.compile(b"null").search
    memmem.argtypes, memmem.restype = (ctypes.c_char_p, ctypes.c_size_t) * 2, ctypes.c_void_p
    return lambda text: memmem(text, len(text), b"null", 4)


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """A line as it is written: fields in the order of the log, absent ones omitted."""

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


_BY_VALUE_LAST: Final = ("data", "nonfinite")
"""The parts of a line that vary."""


class Envelope(msgspec.Struct, frozen=True):
    """The producer's information about an event besides its payload.

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


_Kind = tuple[str, str, bool, bool, str | None]
"""Of a class of events: name in the log, severity, whether it has a seed and a slot, the field that is its epoch."""


class UndeclaredError(TypeError):
    """An event is of a user's own class, whose declaration must be written first."""


class LineEncoder:
    """Encodes the events of one rank of one run. Not safe for use by several threads.

    Attributes:
        declared: users' own classes whose declaration is written.
    """

    def __init__(self, run_id: str, rank: int) -> None:
        """``run_id`` and ``rank`` stand in every line and in every event id."""
        self._run_id = run_id
        self._rank = rank
        self._id_prefix = f"{run_id}-{rank}-"
        self._fast = msgspec.json.Encoder(enc_hook=replace_number)
        self._find_null = null_finder()
        self._kinds: dict[type[Any], _Kind] = {}
        self.declared: set[type[Any]] = set()
        self._second_ns = 0
        self._second_text = "1970-01-01T00:00:00."

    def encode_slice(self, items: Sequence[Queued], first_seq: int) -> bytes | None:
        """The lines of ``items``, numbered from ``first_seq``; None if :meth:`encode` must encode them one by one.

        Never raises for what an event may hold.
        """
        try:
            encoded = self._fast.encode_lines(self._lines(items, first_seq))
        except Exception:  # whatever a foreign object raises when it is asked for its number
            return None
        return encoded if self._find_null(encoded) is None else None

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
        item = (event, envelope.timestamp_ns, envelope.group_id, envelope.severity, envelope.message)
        line = self._lines((item,), envelope.seq)[0]
        if event_type:
            line.event_type = event_type
        if payload is not None:
            line.data = payload
        try:
            encoded = self._fast.encode(line)
            if self._find_null(encoded) is None:  # nothing but a non-finite number is written as null
                return encoded + b"\n", ()
        except Exception:  # whatever a foreign object raises when it is asked for its number
            return self._encode_by_value(line)
        return self._encode_by_value(line)

    def lacks_declaration(self, cls: type[Event]) -> bool:
        """Return True for a class that the contract does not have and that no line of this session declares."""
        return EVENT_TYPES.get(cls.event_type) is not cls and cls not in self.declared

    def _lines(self, items: Sequence[Queued], first_seq: int) -> list[_Line]:
        prefix, run_id, rank, kinds = self._id_prefix, self._run_id, self._rank, self._kinds
        lines = []
        for seq, (event, timestamp_ns, group_id, severity, message) in enumerate(items, first_seq):
            name, usual_severity, has_seed, has_slot, epoch_field = kinds.get(type(event)) or self._kind(event)
            lines.append(
                _Line(
                    event_id=f"{prefix}{seq}",
                    event_type=name,
                    timestamp=self._timestamp(timestamp_ns),
                    seed_id=event.seed_id if has_seed else None,  # type: ignore[union-attr]  # known to have it
                    slot_id=event.slot_id if has_slot else None,  # type: ignore[union-attr]  # known to have it
                    epoch=getattr(event, epoch_field) if epoch_field else None,
                    group_id=group_id,
                    message=message or None,
                    data=event,
                    severity=severity or usual_severity,
                    run_id=run_id,
                    rank=rank,
                    seq=seq,
                    schema_version=SCHEMA_VERSION,
                )
            )
        return lines

    def _kind(self, event: object) -> _Kind:
        cls = type(event)
        if not issubclass(cls, Event):
            raise TypeError(f"{cls.__name__} is not an event")
        if self.lacks_declaration(cls):
            raise UndeclaredError(f"{cls.__name__} is not declared in this log")
        names = cls.__struct_fields__
        kind = (cls.event_type, cls.severity.value, "seed_id" in names, "slot_id" in names, cls.epoch_field)
        self._kinds[cls] = kind
        return kind

    def _timestamp(self, timestamp_ns: int) -> str:
        rest_ns = timestamp_ns - self._second_ns
        if not 0 <= rest_ns < 1_000_000_000:
            second, rest_ns = divmod(timestamp_ns, 1_000_000_000)
            text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            self._second_ns, self._second_text = second * 1_000_000_000, text
        microsecond = rest_ns // 1000
        return f"{self._second_text}{_THREE_DIGITS[microsecond // 1000]}{_THREE_DIGITS[microsecond % 1000]}+00:00"

    def _encode_by_value(self, line: _Line) -> tuple[bytes, tuple[str, ...]]:
        salvage = Salvage()
        fields = {name: getattr(line, name) for name in line.__struct_fields__ if name not in _BY_VALUE_LAST}
        kept = {name: salvage.value(value, name) for name, value in fields.items() if value is not None}
        kept["data"] = salvage.payload(line.data)
        ordered = {name: kept[name] for name in line.__struct_fields__ if name in kept}
        encoded = msgspec.json.encode(ordered)
        if holds_nonfinite(encoded):
            encoded = msgspec.json.encode(ordered | {"nonfinite": True})
        return encoded + b"\n", tuple(salvage.lost)


def holds_nonfinite(text: bytes) -> bool:
    """Return True if a line or payload contains a non-finite number (or a text that spells one)."""
    return b'"NaN"' in text or b'Infinity"' in text
