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

MOST_PLANS: Final = 512
"""Most plans of a run: one takes 0.3 ms and stays, which does not pay where each event has a group of its own."""


class _Made(msgspec.Struct, frozen=True):
    """A plan, if there can be one, and whether it tells where an instance has its fields."""

    plan: bytes | None = None
    has_slots: bool = False


class Plans:
    """Makes plans for one queue in C, each once, and tells it and recorders of them."""

    def __init__(self, queue: Any, encoding: Encoding) -> None:
        """``encoding`` is the encoder in Python, which must see the first event of a user's own class."""
        self._queue = queue
        self._run_id = encoding.run_id
        self._rank = encoding.rank
        self._lacks_declaration = encoding.lacks_declaration
        # Records refer to the memory of their plan: all plans live as long as the queue is encoded.
        self._made: dict[tuple[type[Event], str, str], _Made] = {}
        self._seen: set[tuple[type[Any], str]] = set()

    def bind(self, recorder: Any, event: type[Event], group_id: str, severity: str | None) -> None:
        """Have ``recorder`` copy the values of ``event`` into the queue, if its lines can be planned by now."""
        made = self._plan(event, group_id, severity)
        if made.plan is not None:
            recorder.queue = None
            recorder.plan = made.plan
            recorder.queue = self._queue

    def learn(self, items: Sequence[Queued]) -> None:
        """Have events like ``items``, which were encoded in Python, copied from now on where they can be."""
        for event, _, group_id, severity, message in items:
            kind: tuple[type[Any], str] = type(event), group_id
            if severity is None and message is None and type(group_id) is str and kind not in self._seen:
                if len(self._seen) >= MOST_PLANS:
                    return
                self._seen.add(kind)
                if isinstance(event, Event) and (made := self._plan(type(event), group_id, None)).has_slots:
                    self._queue.plans[kind] = made.plan

    def _plan(self, event: type[Event], group_id: str, severity: str | None) -> _Made:
        level = str(event.severity.value if severity is None else severity)
        key = event, group_id, level
        if self._lacks_declaration(event) or (key not in self._made and len(self._made) >= MOST_PLANS):
            return _Made()
        if key not in self._made:
            self._made[key] = self._make(event, group_id, level) if is_plain(event) else _Made()
        return self._made[key]

    def _make(self, event: type[Event], group_id: str, severity: str) -> _Made:
        """The plan; none for texts with lone surrogates, and whatever else is odd about a user's own class."""
        try:
            slots = _slots(event)
            plan = packed(self._pieces(event, group_id, severity), _repeated(event), slots or [0] * _count(event))
        except Exception:
            return _Made()
        return _Made(plan, bool(slots))

    def _pieces(self, event: type[Event], group_id: str, severity: str) -> list[bytes]:
        run_id, group, level, name, event_id = map(
            _json, (self._run_id, group_id, severity, event.event_type, f"{self._run_id}-{self._rank}-")
        )
        return [
            b'{"event_id":' + event_id[:-1],
            b'","event_type":' + name + b',"timestamp":"',
            b',"group_id":' + group + b',"data":{',
            b'},"severity":' + level + b',"run_id":' + run_id + b',"rank":%d,"seq":' % self._rank,
            b',"schema_version":%d' % SCHEMA_VERSION,
            *[b',"%s":' % name.encode() for name in _REPEATED],
            *[_json(name) + b":" for name in event.__struct_encode_fields__],
        ]


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


def _count(event: type[Event]) -> int:
    return len(event.__struct_fields__)


def _repeated(event: type[Event]) -> tuple[int, int, int]:
    """Numbers of the fields that the envelope repeats."""
    fields = event.__struct_fields__
    seed, slot, epoch = (
        fields.index(name) if name in fields else -1 for name in ("seed_id", "slot_id", event.epoch_field)
    )
    return seed, slot, epoch


def _json(text: str) -> bytes:
    return msgspec.json.encode(text)
