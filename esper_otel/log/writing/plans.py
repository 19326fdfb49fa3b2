"""Plans of the lines that are encoded in C: what the encoder in Python would write for a class, group and severity."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from esper_otel.events.declare import Event
from esper_otel.log.encode import SCHEMA_VERSION
from esper_otel.log.queued import Queued
from esper_otel.log.writing.encoding import Encoding
from esper_otel.native.plan import packed

_REPEATED: Final = ("seed_id", "slot_id", "epoch")
"""Values of an event that its envelope has as well, in its order."""

_POINTER: Final = struct.calcsize("P")
_MOST_FIELDS: Final = 512
"""The same as in ``recording.c``."""


class Plans:
    """Makes plans for one queue in C, each once, and tells it and recorders of them."""

    def __init__(self, queue: Any, encoding: Encoding) -> None:
        """``encoding`` is the encoder in Python, which must see the first event of a user's own class."""
        self._queue = queue
        self._run_id = encoding.run_id
        self._rank = encoding.rank
        self._lacks_declaration = encoding.lacks_declaration
        # Records refer to the memory of their plan: all plans live as long as the queue is encoded.
        self._made: dict[tuple[type[Event], str, str], bytes | None] = {}
        self._seen: set[tuple[type[Any], str]] = set()

    def bind(self, recorder: Any, event: type[Event], group_id: str, severity: str | None) -> None:
        """Have ``recorder`` copy the values of ``event`` into the queue, if its lines can be planned by now."""
        plan = self._plan(event, group_id, severity)
        if plan is not None:
            recorder.queue = None
            recorder.plan = plan
            recorder.queue = self._queue

    def learn(self, items: Sequence[Queued]) -> None:
        """Have events like ``items``, which were encoded in Python, copied from now on where they can be."""
        for event, _, group_id, severity, message in items:
            kind: tuple[type[Any], str] = type(event), group_id
            if severity is None and message is None and type(group_id) is str and kind not in self._seen:
                self._seen.add(kind)
                if not isinstance(event, Event):
                    continue
                plan = self._plan(type(event), group_id, None)
                if plan is not None and _slots(type(event)):
                    self._queue.plans[kind] = plan

    def _plan(self, event: type[Any], group_id: str, severity: str | None) -> bytes | None:
        level = str(event.severity.value if severity is None else severity)
        key = event, group_id, level
        if self._lacks_declaration(event):
            return None
        if key not in self._made:
            self._made[key] = self._make(event, group_id, level) if is_plain(event) else None
        return self._made[key]

    def _make(self, event: type[Event], group_id: str, severity: str) -> bytes | None:
        fields = event.__struct_fields__
        repeated = [_number(fields, name) for name in ("seed_id", "slot_id", event.epoch_field)]
        try:
            run_id, group, level, name, event_id = map(
                _json, (self._run_id, group_id, severity, event.event_type, f"{self._run_id}-{self._rank}-")
            )
            keys = [_json(name) + b":" for name in event.__struct_encode_fields__]
        except msgspec.EncodeError:  # lone surrogates
            return None
        pieces = [
            b'{"event_id":' + event_id[:-1],
            b'","event_type":' + name + b',"timestamp":"',
            b',"group_id":' + group + b',"data":{',
            b'},"severity":' + level + b',"run_id":' + run_id + b',"rank":%d,"seq":' % self._rank,
            b',"schema_version":%d' % SCHEMA_VERSION,
            *[b',"%s":' % name.encode() for name in _REPEATED],
            *keys,
        ]
        return packed(pieces, (repeated[0], repeated[1], repeated[2]), _slots(event) or [0] * len(fields))


def is_plain(event: type[Event]) -> bool:
    """Return True if the line of an event follows from its fields alone, as for every class of the contract.

    A user's own class may have defaults, which lines leave out, or code that runs when an event is made.
    """
    config = event.__struct_config__
    fields = msgspec.structs.fields(event)
    return (
        bool(config.omit_defaults)
        and config.tag is None
        and not config.array_like
        and len(fields) <= _MOST_FIELDS
        and all(field.default in (None, msgspec.NODEFAULT) for field in fields)
        and all(field.default_factory is msgspec.NODEFAULT for field in fields)
        and (event.epoch_field is None or event.epoch_field in event.__struct_fields__)
        and not any(hasattr(event, name) for name in ("__post_init__", "__getattr__"))
        and event.__init__ is Event.__init__
        and event.__new__ is Event.__new__
    )


def _slots(event: type[Event]) -> list[int]:
    """Position of each field in an instance, in pointers; empty if a sample does not hold each value once."""
    values = {name: object() for name in event.__struct_fields__}
    sample = event(**values)
    memory = ctypes.string_at(id(sample), event.__basicsize__)
    held = struct.unpack(f"{len(memory) // _POINTER}P", memory[: len(memory) // _POINTER * _POINTER])
    addresses = [id(value) for value in values.values()]
    return [held.index(address) for address in addresses] if all(held.count(at) == 1 for at in addresses) else []


def _number(fields: Sequence[str], name: str | None) -> int:
    return fields.index(name) if name in fields else -1


def _json(text: str) -> bytes:
    return msgspec.json.encode(text)
