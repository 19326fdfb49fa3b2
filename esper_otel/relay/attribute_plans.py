"""The attributes of an event as protobuf bytes, by a plan compiled once for each shape of event.

The shape is which fields were measured and of what type. Training repeats a few shapes millions of times: all floats
of an event are then packed by one call, and texts, small numbers and flags come out of a table. What no plan covers is
encoded value by value, with the same result.
"""

from __future__ import annotations

import math
import struct
from operator import itemgetter
from typing import Any, Final

import msgspec

from esper_otel.events import Event
from esper_otel.relay.event_attributes import MAX_KEY_BYTES, attribute_value, cut_text, event_attributes
from esper_otel.relay.wire import attribute, double_prefix

MAX_PLANS: Final = 2_000
"""Shapes that are remembered; a log with more begins anew with none, which costs time and nothing else."""

MAX_CACHED_VALUES: Final = 512
"""Different values that one field's table holds; others are encoded each time."""

_SINGLE: Final = frozenset({str, bool, int})
_PLANNED: Final = _SINGLE | {float, dict, type(None)}


class _Floats:
    """Several floats of one shape, packed in one call: each behind the bytes that name it."""

    def __init__(self, keys: list[str]) -> None:
        prefixes = [double_prefix(key) for key in keys]
        self._pack = struct.Struct("<" + "".join(f"{len(prefix)}sd" for prefix in prefixes)).pack
        self._template: list[Any] = [None] * (2 * len(keys))
        self._template[::2] = prefixes

    def encode(self, values: tuple[float, ...]) -> bytes | None:
        """The attributes, or None when one of the numbers is not finite."""
        if not math.isfinite(sum(values)):
            return None
        arguments = self._template
        arguments[1::2] = values
        return self._pack(*arguments)


class SingleValues:
    """One field's text, flag or integer, looked up where it was met before."""

    def __init__(self, key: str) -> None:
        """``key`` is the attribute's name; all values must be of one type."""
        self._key = key
        self._known: dict[Any, bytes] = {}

    def encode(self, value: Any) -> bytes:
        """The attribute."""
        found = self._known.get(value)
        if found is None:
            found = attribute(self._key, attribute_value(value))
            if len(self._known) < MAX_CACHED_VALUES:
                self._known[value] = found
        return found


class _Map:
    """One field that is a map with known keys: all floats, or all of one other single type."""

    def __init__(self, key: str, mapping: dict[Any, Any]) -> None:
        keys = [f"{key}.{cut_text(str(name), MAX_KEY_BYTES)}" for name in mapping]
        is_floats = set(map(type, mapping.values())) == {float}
        self._floats = _Floats(keys) if is_floats else None
        self._singles = [SingleValues(each) for each in keys]
        self._known: dict[tuple[Any, ...], bytes] = {}

    def encode(self, mapping: dict[Any, Any]) -> bytes | None:
        values = tuple(mapping.values())
        if self._floats is not None:
            return self._floats.encode(values)
        found = self._known.get(values)
        if found is None:
            found = b"".join([single.encode(value) for single, value in zip(self._singles, values, strict=True)])
            if len(self._known) < MAX_CACHED_VALUES:
                self._known[values] = found
        return found


class _Maps:
    """One field that is a map, by the shapes of the maps that it held."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._known: dict[tuple[Any, ...], _Map | None] = {}

    def encode(self, mapping: dict[Any, Any]) -> bytes | None:
        if not mapping:
            return b""
        shape = (*mapping, *map(type, mapping.values()))
        try:
            plan = self._known[shape]
        except KeyError:
            if len(self._known) >= MAX_PLANS:
                self._known.clear()
            plan = self._known[shape] = _Map(self._key, mapping) if _is_plain_map(mapping) else None
        return None if plan is None else plan.encode(mapping)


class _Plan:
    """How one shape is encoded: positions of fields with what encodes each."""

    def __init__(self, event: Event, values: tuple[Any, ...]) -> None:
        keys = [f"{event.domain}.{name}" for name in event.__struct_fields__]
        floats = [at for at, value in enumerate(values) if type(value) is float]
        # itemgetter of one position gives no tuple: asked for it twice, it does, and the second is left out again
        self._pick = itemgetter(*floats, *floats[:1]) if floats else None
        self._floats = _Floats([keys[at] for at in floats])
        self._singles = [(at, SingleValues(keys[at])) for at, value in enumerate(values) if type(value) in _SINGLE]
        self._maps = [(at, _Maps(keys[at])) for at, value in enumerate(values) if type(value) is dict]
        self._count = len(floats) + len(self._singles)

    def encode(self, values: tuple[Any, ...], limit: int) -> bytes | None:
        """The attributes; None when a number is not finite, a map no plain one, or the limit too low."""
        count = self._count
        parts = [single.encode(values[at]) for at, single in self._singles]
        if self._pick is not None:
            floats = self._floats.encode(self._pick(values)[:-1])
            if floats is None:
                return None
            parts.append(floats)
        for at, maps in self._maps:
            encoded = maps.encode(values[at])
            if encoded is None:
                return None
            count += len(values[at])
            parts.append(encoded)
        return b"".join(parts) if count <= limit else None


class AttributePlans:
    """Encodes the attributes of events. Not safe for use by several threads."""

    def __init__(self) -> None:
        """Knows no shape yet."""
        self._plans: dict[tuple[type, ...], _Plan | None] = {}

    def encode(self, event: Event, limit: int) -> bytes:
        """The attributes of :func:`event_attributes` as the fields of a log record, in any order."""
        values = msgspec.structs.astuple(event)
        shape = (type(event), *map(type, values))
        try:
            plan = self._plans[shape]
        except KeyError:
            plan = self._learn(shape, event, values)
        encoded = None if plan is None else plan.encode(values, limit)
        return _encode_by_value(event, limit) if encoded is None else encoded

    def _learn(self, shape: tuple[type, ...], event: Event, values: tuple[Any, ...]) -> _Plan | None:
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        plan = _Plan(event, values) if _PLANNED.issuperset(shape[1:]) else None
        self._plans[shape] = plan
        return plan


def _is_plain_map(mapping: dict[Any, Any]) -> bool:
    """Whether the values of a map are all floats, or all of one other single type."""
    kinds = set(map(type, mapping.values()))
    return len(kinds) == 1 and kinds <= _PLANNED - {dict, type(None)}


def _encode_by_value(event: Event, limit: int) -> bytes:
    found = event_attributes(event, limit=limit)
    return b"".join(attribute(key, value) for key, value in found.items())
