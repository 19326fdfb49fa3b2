"""The attributes of an event as protobuf bytes, by a plan compiled once for each shape of event.

The shape is which fields were measured and of what type, and which keys its maps have. Training repeats a few shapes
millions of times: all floats of an event are then packed by one call, and texts, small numbers and flags come out of a
table. What no plan covers is encoded value by value, with the same result.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
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

SUMMARY_FIELDS: Final = 5
"""How many fields the summary of an event shows."""

_OF_FEW_VALUES: Final = frozenset({str, bool})
_SINGLE: Final = _OF_FEW_VALUES | {int, float}
_PLANNED: Final = _SINGLE | {dict, type(None)}

_Picker = Callable[[tuple[Any, ...]], tuple[Any, ...]]
_PLAIN_JSON: Final = frozenset({float, int, bool})
_JSON: Final = msgspec.json.Encoder()


class AttributePlans:
    """Encodes the attributes of events. Not safe for use by several threads."""

    def __init__(self) -> None:
        """Knows no shape yet."""
        self._plans: dict[tuple[Any, ...], _Plan | None] = {}
        self._layouts: dict[tuple[Any, ...], _Layout | None] = {}

    def encode(self, event: Event, limit: int) -> tuple[Sequence[bytes], str]:
        """The attributes of :func:`event_attributes` as the fields of a log record, in any order, and a summary.

        The fields come in parts to be joined. The summary has the event's name and its first measured single values.
        """
        values = msgspec.structs.astuple(event)
        shape = (limit, type(event), *map(type, values))
        try:
            plan = self._plans[shape]
        except KeyError:
            plan = self._learn(shape, event, values)
        if plan is None:
            return (_encode_by_value(event, limit),), summary(event)
        maps = plan.pick_maps(values)
        keys = (plan, *map(len, maps), *chain.from_iterable(maps))
        try:
            layout = self._layouts[keys]
        except KeyError:
            layout = self._lay_out(keys, plan, maps)
        encoded = None if layout is None else layout.encode(values, maps)
        return (_encode_by_value(event, limit),) if encoded is None else encoded, plan.summary(values)

    def _learn(self, shape: tuple[Any, ...], event: Event, values: tuple[Any, ...]) -> _Plan | None:
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
            self._layouts.clear()
        plan = _Plan(event, values, limit=shape[0]) if _PLANNED.issuperset(shape[2:]) else None
        self._plans[shape] = plan
        return plan

    def _lay_out(self, keys: tuple[Any, ...], plan: _Plan, maps: tuple[dict[Any, Any], ...]) -> _Layout | None:
        if len(self._layouts) >= MAX_PLANS:
            self._layouts.clear()
        layout = self._layouts[keys] = _Layout.of(plan, maps)
        return layout


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

    def __init__(self, keys: Sequence[str]) -> None:
        self._singles = [SingleValues(key) for key in keys]
        self._known: dict[tuple[Any, ...], bytes] = {}

    def encode(self, values: tuple[Any, ...]) -> bytes:
        found = self._known.get(values)
        if found is None:
            found = b"".join([single.encode(value) for single, value in zip(self._singles, values, strict=True)])
            if len(self._known) < MAX_CACHED_VALUES:
                self._known[values] = found
        return found


class _Floats:
    """Several floats of one shape, packed in one call: each behind the bytes that name it."""

    def __init__(self, keys: Sequence[str]) -> None:
        prefixes = [double_prefix(key) for key in keys]
        self._pack = struct.Struct("<" + "".join(f"{len(prefix)}sd" for prefix in prefixes)).pack
        self._template: list[Any] = [None] * (2 * len(keys))
        self._template[::2] = prefixes

    def encode(self, values: Sequence[float]) -> bytes | None:
        """The attributes, or None when one of them is no finite number."""
        try:
            if not math.isfinite(sum(values)):
                return None
            arguments = self._template
            arguments[1::2] = values
            return self._pack(*arguments)
        except (TypeError, OverflowError, struct.error):  # not the declared type: only in an event made in this process
            return None


class _Plan:
    """What the types of an event's fields tell: where its single values and its maps are, and which of them fit.

    Single values come first. A map that does not fit any more becomes one text; where even so not everything fits,
    the last ones are left out and counted, as in :func:`event_attributes`.
    """

    def __init__(self, event: Event, values: tuple[Any, ...], limit: int) -> None:
        names = event.__struct_fields__
        self.limit = limit
        self.keys = [f"{event.domain}.{name}" for name in names]
        single = [at for at, value in enumerate(values) if type(value) in _SINGLE]
        self.maps = [at for at, value in enumerate(values) if type(value) is dict]
        self.pick_maps = _picker(self.maps)
        self.map_kinds = [_map_kinds(type(event))[at] for at in self.maps]
        left_out = len(single) + len(self.maps) - limit
        self.is_cut = left_out > 0
        self.dropped = attribute(DROPPED_KEY, left_out + 1) if self.is_cut else b""
        self._shown, self._pattern = _pattern(event.otel_name, names, values, single)
        if self.is_cut:
            single = single[: limit - 1]
        self.count = len(single)
        self.floats = [at for at in single if type(values[at]) is float]
        texts = [at for at in single if type(values[at]) in _OF_FEW_VALUES]
        self.pick_floats, self.pick_texts = _picker(self.floats), _picker(texts)
        self.texts = _Texts([self.keys[at] for at in texts])
        self.numbers = [(at, SingleValues(self.keys[at])) for at in single if type(values[at]) is int]

    def summary(self, values: tuple[Any, ...]) -> str:
        """:func:`summary` of an event of this shape."""
        return cut_text(self._pattern % self._shown(values))


class _Layout:
    """How one shape is encoded under one limit, the keys of its maps being known."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._keys = [plan.keys[at] for at in plan.floats]
        self._float_maps: list[int] = []
        self._others: list[tuple[int, Callable[[dict[Any, Any]], bytes]]] = []

    @classmethod
    def of(cls, plan: _Plan, maps: tuple[dict[Any, Any], ...]) -> _Layout | None:
        """The layout of events whose maps have the keys of ``maps``; None when there is none."""
        if plan.is_cut and not all(maps):
            return None
        layout, count = cls(plan), plan.count
        fitting = max(plan.limit - 1 - plan.count, 0) if plan.is_cut else len(maps)
        for at, mapping in enumerate(maps[:fitting]):
            fits = not plan.is_cut and count + len(mapping) + len(maps) - at - 1 <= plan.limit
            if not layout._add(at, mapping, fits=fits):
                return None
            count += len(mapping) if fits else 1
        layout._floats = _Floats(layout._keys)
        return layout

    def _add(self, at: int, mapping: dict[Any, Any], *, fits: bool) -> bool:
        key, kind = self._plan.keys[self._plan.maps[at]], self._plan.map_kinds[at]
        if not fits:
            self._others.append((at, _packer(key, kind, mapping)))
            return True
        if kind not in _SINGLE:
            return not mapping
        keys = [f"{key}.{cut_text(str(name), MAX_KEY_BYTES)}" for name in mapping]
        if kind is float:
            self._float_maps.append(at)
            self._keys += keys
        elif mapping:
            self._others.append((at, _table(keys, kind)))
        return True

    def encode(self, values: tuple[Any, ...], maps: tuple[dict[Any, Any], ...]) -> list[bytes] | None:
        """The attributes in parts; None when a number is not finite, or a value not of its field's type."""
        plan = self._plan
        numbers = [*plan.pick_floats(values)]
        for at in self._float_maps:
            numbers += maps[at].values()
        floats = self._floats.encode(numbers)
        if floats is None:
            return None
        parts = [plan.texts.encode(plan.pick_texts(values)), floats, plan.dropped]
        parts += [number.encode(values[at]) for at, number in plan.numbers]
        parts += [encode(maps[at]) for at, encode in self._others]
        return parts


def summary(event: Event) -> str:
    """The event's name and its first measured single values."""
    names, values = event.__struct_fields__, msgspec.structs.astuple(event)
    single = [at for at, value in enumerate(values) if isinstance(value, (str, int, float))]
    pick, pattern = _pattern(event.otel_name, names, values, single)
    return cut_text(pattern % pick(values))


def _pattern(name: str, names: Sequence[str], values: tuple[Any, ...], single: Sequence[int]) -> tuple[_Picker, str]:
    shown = single[:SUMMARY_FIELDS]
    fields = [f" {names[at]}={'%.6g' if isinstance(values[at], float) else '%s'}" for at in shown]
    return _picker(shown), name + "".join(fields)


def _picker(positions: Sequence[int]) -> _Picker:
    """What takes the values at some positions out of a tuple, as a tuple."""
    match positions:
        case []:
            return lambda _: ()
        case [only]:
            return lambda values: (values[only],)
        case _:
            return itemgetter(*positions)


@cache
def _map_kinds(cls: type[Event]) -> tuple[type[Any] | None, ...]:
    """For each field the type that the values of its map are declared to have; None where it is no single one."""
    kinds = {
        msgspec.inspect.FloatType: float,
        msgspec.inspect.IntType: int,
        msgspec.inspect.BoolType: bool,
        msgspec.inspect.StrType: str,
    }
    found = []
    for field in msgspec.inspect.type_info(cls).fields:  # type: ignore[attr-defined]  # of a Struct
        choices = getattr(field.type, "types", (field.type,))
        maps = [choice for choice in choices if isinstance(choice, msgspec.inspect.DictType)]
        found.append(kinds.get(type(maps[0].value_type)) if len(maps) == 1 else None)
    return tuple(found)


def _table(keys: Sequence[str], kind: type[Any]) -> Callable[[dict[Any, Any]], bytes]:
    """What encodes a map of other values than floats."""
    if kind in _OF_FEW_VALUES:
        texts = _Texts(keys)
        return lambda mapping: texts.encode(tuple(mapping.values()))
    singles = [SingleValues(key) for key in keys]
    return lambda mapping: b"".join([single.encode(v) for single, v in zip(singles, mapping.values(), strict=True)])


def _packer(key: str, kind: type[Any] | None, mapping: dict[Any, Any]) -> Callable[[dict[Any, Any]], bytes]:
    """What makes one attribute of a whole map. Where JSON says it as it is, it need not be made plain first."""
    if kind not in _PLAIN_JSON or not all(type(name) is str and name.isascii() for name in mapping):
        return lambda mapping: attribute(key, json_text(mapping))

    def pack(mapping: dict[Any, Any]) -> bytes:
        try:
            is_plain = math.isfinite(sum(mapping.values()))
        except (TypeError, OverflowError):  # not the declared type: only in an event made in this process
            is_plain = False
        return attribute(key, cut_text(_JSON.encode(mapping).decode()) if is_plain else json_text(mapping))

    return pack


def _encode_by_value(event: Event, limit: int) -> bytes:
    found = event_attributes(event, limit=limit)
    return b"".join(attribute(key, value) for key, value in found.items())
