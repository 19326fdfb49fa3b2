"""The attributes of an event as protobuf bytes, by a plan compiled once for each shape of event.

The shape is which fields were measured and of what type. Training repeats a few shapes millions of times: all floats
of an event are then packed by one call, and texts, small numbers and flags come out of a table. What no plan covers is
encoded value by value, with the same result.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final

import msgspec

from esper_otel.events import Event
from esper_otel.relay.event_attributes import (
    DROPPED_KEY,
    MAX_KEY_BYTES,
    attribute_value,
    cut_text,
    event_attributes,
    json_text,
)
from esper_otel.relay.wire import attribute, double_prefix

MAX_PLANS: Final = 2_000
"""Shapes that are remembered; a log with more begins anew with none, which costs time and nothing else."""

MAX_CACHED_VALUES: Final = 512
"""Different values that one field's table holds; others are encoded each time."""

_OF_FEW_VALUES: Final = frozenset({str, bool})
_SINGLE: Final = _OF_FEW_VALUES | {int, float}
_PLANNED: Final = _SINGLE | {dict, type(None)}
_JSON: Final = msgspec.json.Encoder()

_Picker = Callable[[tuple[Any, ...]], tuple[Any, ...]]


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


class _Texts:
    """Several texts and flags of one shape, looked up together where their combination was met before."""

    def __init__(self, positions: list[int], keys: list[str]) -> None:
        self._pick = _picker(positions)
        self._singles = [SingleValues(key) for key in keys]
        self._known: dict[tuple[Any, ...], bytes] = {}

    def encode(self, values: tuple[Any, ...]) -> bytes:
        picked = self._pick(values)
        found = self._known.get(picked)
        if found is None:
            found = b"".join([single.encode(value) for single, value in zip(self._singles, picked, strict=True)])
            if len(self._known) < MAX_CACHED_VALUES:
                self._known[picked] = found
        return found


class _Map:
    """One field that is a map with known keys: all floats, or all of one other single type."""

    def __init__(self, key: str, mapping: dict[Any, Any]) -> None:
        keys = [f"{key}.{cut_text(str(name), MAX_KEY_BYTES)}" for name in mapping]
        is_floats = type(next(iter(mapping.values()))) is float
        self._floats = _Floats(keys) if is_floats else None
        self._texts = _Texts(list(range(len(keys))), keys)
        # Where JSON says it as it is, it need not be made plain first.
        self._is_json = is_floats and all(type(name) is str and name.isascii() for name in mapping)

    def encode(self, values: tuple[Any, ...]) -> bytes | None:
        return self._texts.encode(values) if self._floats is None else self._floats.encode(values)

    def json(self, mapping: dict[Any, Any]) -> str:
        """All of it as one text."""
        if self._is_json and math.isfinite(sum(mapping.values())):
            return cut_text(_JSON.encode(mapping).decode())
        return json_text(mapping)


class _Maps:
    """One field that is a map, by the shapes of the maps that it held."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._known: dict[tuple[Any, ...], _Map | None] = {}

    def encode(self, mapping: dict[Any, Any]) -> bytes | None:
        """An attribute for each entry; None when there is no plan for them."""
        values = tuple(mapping.values())
        plan = self._plan(mapping, values)
        return None if plan is None else plan.encode(values)

    def encode_packed(self, mapping: dict[Any, Any]) -> bytes:
        """One attribute for all entries."""
        plan = self._plan(mapping, tuple(mapping.values()))
        return attribute(self._key, json_text(mapping) if plan is None else plan.json(mapping))

    def _plan(self, mapping: dict[Any, Any], values: tuple[Any, ...]) -> _Map | None:
        kinds = set(map(type, values))
        if len(kinds) != 1:
            return None
        shape = (*mapping, *kinds)
        try:
            return self._known[shape]
        except KeyError:
            if len(self._known) >= MAX_PLANS:
                self._known.clear()
            plan = self._known[shape] = _Map(self._key, mapping) if kinds <= _SINGLE else None
            return plan


class _Plan:
    """How one shape is encoded under one limit: positions of fields with what encodes each.

    Single values come first. A map that does not fit any more becomes one text; where even so not everything fits,
    the last ones are left out and counted, as in :func:`event_attributes`.
    """

    def __init__(self, event: Event, values: tuple[Any, ...], limit: int) -> None:
        keys = [f"{event.domain}.{name}" for name in event.__struct_fields__]
        single = [at for at, value in enumerate(values) if type(value) in _SINGLE]
        maps = [at for at, value in enumerate(values) if type(value) is dict]
        left_out = len(single) + len(maps) - limit
        self._is_cut = left_out > 0
        self._not_empty = tuple(maps) if self._is_cut else ()
        if self._is_cut:
            maps = maps[: max(limit - 1 - len(single), 0)]
            single = single[: limit - 1]
        self._dropped = attribute(DROPPED_KEY, left_out + 1) if self._is_cut else b""
        self._limit, self._count = limit, len(single)
        floats = [at for at in single if type(values[at]) is float]
        texts = [at for at in single if type(values[at]) in _OF_FEW_VALUES]
        self._pick_floats = _picker(floats)
        self._floats = _Floats([keys[at] for at in floats])
        self._texts = _Texts(texts, [keys[at] for at in texts])
        self._numbers = [(at, SingleValues(keys[at])) for at in single if type(values[at]) is int]
        self._maps = [(at, _Maps(keys[at])) for at in maps]

    def encode(self, values: tuple[Any, ...]) -> bytes | None:
        """The attributes; None when a number is not finite, a map no plain one, or one that must not be is empty."""
        if self._not_empty and not all(values[at] for at in self._not_empty):
            return None
        floats = self._floats.encode(self._pick_floats(values))
        if floats is None:
            return None
        parts = [self._texts.encode(values), floats, self._dropped]
        parts += [number.encode(values[at]) for at, number in self._numbers]
        count, later = self._count, len(self._maps)
        for at, maps in self._maps:
            later -= 1
            mapping = values[at]
            fits = not self._is_cut and count + len(mapping) + later <= self._limit
            encoded = maps.encode(mapping) if fits and mapping else b"" if fits else maps.encode_packed(mapping)
            if encoded is None:
                return None
            count += len(mapping) if fits else 1
            parts.append(encoded)
        return b"".join(parts)


class AttributePlans:
    """Encodes the attributes of events. Not safe for use by several threads."""

    def __init__(self) -> None:
        """Knows no shape yet."""
        self._plans: dict[tuple[Any, ...], _Plan | None] = {}

    def encode(self, event: Event, limit: int) -> bytes:
        """The attributes of :func:`event_attributes` as the fields of a log record, in any order."""
        values = msgspec.structs.astuple(event)
        shape = (limit, type(event), *map(type, values))
        try:
            plan = self._plans[shape]
        except KeyError:
            plan = self._learn(shape, event, values)
        encoded = None if plan is None else plan.encode(values)
        return _encode_by_value(event, limit) if encoded is None else encoded

    def _learn(self, shape: tuple[Any, ...], event: Event, values: tuple[Any, ...]) -> _Plan | None:
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        plan = _Plan(event, values, limit=shape[0]) if _PLANNED.issuperset(shape[2:]) else None
        self._plans[shape] = plan
        return plan


def _picker(positions: list[int]) -> _Picker:
    """What takes the values at some positions out of a tuple, as a tuple."""
    if len(positions) > 1:
        return itemgetter(*positions)
    return lambda values: tuple([values[at] for at in positions])


def _encode_by_value(event: Event, limit: int) -> bytes:
    found = event_attributes(event, limit=limit)
    return b"".join(attribute(key, value) for key, value in found.items())
