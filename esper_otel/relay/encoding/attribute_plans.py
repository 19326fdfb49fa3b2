"""Encoding of an event's attributes as protobuf bytes, by a plan compiled once for each shape of event.

The shape is which fields were measured and of what type, and which keys its maps have. Training repeats a few shapes
millions of times: all floats of an event are then packed by one call, and texts, small numbers and flags come out of a
table. What no plan covers is encoded value by value, with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from operator import getitem, itemgetter
from typing import Any, Final

import msgspec

from esper_otel.events import Event
from esper_otel.relay.encoding.attribute_tables import OF_FEW_VALUES, Floats, SingleValues, Texts, packer, table
from esper_otel.relay.encoding.attributes import MAX_KEY_BYTES, cut_text, event_attributes
from esper_otel.relay.encoding.wire import attribute
from esper_otel.signals.log_events import DROPPED

MAX_PLANS: Final = 2_000
"""Maximum number of cached shapes; beyond this the cache is cleared, which only costs speed."""

SUMMARY_FIELDS: Final = 5
"""Number of fields in the summary of an event."""

_SINGLE: Final = OF_FEW_VALUES | {int, float}
_PLANNED: Final = _SINGLE | {dict, type(None)}

_Picker = Callable[[tuple[Any, ...]], tuple[Any, ...]]


class AttributePlans:
    """Encodes the attributes of events. Not safe for use by several threads."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._plans: dict[tuple[Any, ...], _Plan | None] = {}
        self._layouts = 0

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
        keys = (*map(tuple, maps),)
        try:
            layout = plan.layouts[keys]
        except KeyError:
            layout = self._lay_out(keys, plan, maps)
        encoded = None if layout is None else layout.encode(values, maps)
        return (_encode_by_value(event, limit),) if encoded is None else encoded, plan.summary(values)

    def _learn(self, shape: tuple[Any, ...], event: Event, values: tuple[Any, ...]) -> _Plan | None:
        if len(self._plans) >= MAX_PLANS:
            self._forget()
        plan = _Plan(event, values, limit=shape[0]) if _PLANNED.issuperset(shape[2:]) else None
        self._plans[shape] = plan
        return plan

    def _lay_out(self, keys: tuple[Any, ...], plan: _Plan, maps: tuple[dict[Any, Any], ...]) -> _Layout | None:
        if self._layouts >= MAX_PLANS:
            self._forget()
        self._layouts += 1
        layout = plan.layouts[keys] = _Layout.of(plan, maps)
        return layout

    def _forget(self) -> None:
        self._plans.clear()
        self._layouts = 0


class _Plan:
    """The shape of an event by the types of its fields: positions of its single values and maps, and those that fit.

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
        self.dropped = attribute(DROPPED, left_out + 1) if self.is_cut else b""
        self._shown, self._pattern = _pattern(event.otel_name, names, values, single)
        if self.is_cut:
            single = single[: limit - 1]
        self.count = len(single)
        self.floats = [at for at in single if type(values[at]) is float]
        texts = [at for at in single if type(values[at]) in OF_FEW_VALUES]
        self.pick_floats, self.pick_texts = _picker(self.floats), _picker(texts)
        self.texts = Texts([self.keys[at] for at in texts])
        numbers = [at for at in single if type(values[at]) is int]
        self.pick_numbers, self.numbers = _picker(numbers), [SingleValues(self.keys[at]) for at in numbers]
        self.layouts: dict[tuple[tuple[Any, ...], ...], _Layout | None] = {}

    def summary(self, values: tuple[Any, ...]) -> str:
        """:func:`summary` of an event of this shape."""
        return cut_text(self._pattern % self._shown(values))


class _Layout:
    """Encoding of one shape under one limit, with the keys of its maps known."""

    def __init__(self, plan: _Plan, maps: Sequence[dict[Any, Any]], fitting: Sequence[bool]) -> None:
        """``maps`` are those that are encoded at all, ``fitting`` tells which of them get an attribute for each key."""
        self._plan = plan
        self._float_maps: list[int] = []
        self._others: list[tuple[int, Callable[[dict[Any, Any]], bytes]]] = []
        keys = [plan.keys[at] for at in plan.floats]
        for at, (mapping, fits) in enumerate(zip(maps, fitting, strict=True)):
            key, kind = plan.keys[plan.maps[at]], plan.map_kinds[at]
            names = [f"{key}.{cut_text(str(name), MAX_KEY_BYTES)}" for name in mapping]
            if not fits:
                self._others.append((at, packer(key, kind, mapping)))
            elif kind is float:
                self._float_maps.append(at)
                keys += names
            elif kind is not None and mapping:
                self._others.append((at, table(names, kind)))
        self._floats = Floats(keys)

    @classmethod
    def of(cls, plan: _Plan, maps: tuple[dict[Any, Any], ...]) -> _Layout | None:
        """The layout of events whose maps have the keys of ``maps``; None when there is none."""
        if plan.is_cut:
            kept = maps[: max(plan.limit - 1 - plan.count, 0)]
            return cls(plan, kept, [False] * len(kept)) if all(maps) else None
        fitting, count = [], plan.count
        for at, mapping in enumerate(maps):
            fits = count + len(mapping) + len(maps) - at - 1 <= plan.limit
            if fits and mapping and plan.map_kinds[at] is None:
                return None
            count += len(mapping) if fits else 1
            fitting.append(fits)
        return cls(plan, maps, fitting)

    def encode(self, values: tuple[Any, ...], maps: tuple[dict[Any, Any], ...]) -> list[bytes] | None:
        """The attributes in parts; None when a number is not finite, or a value not of its field's type."""
        plan = self._plan
        numbers = [*plan.pick_floats(values)]
        for at in self._float_maps:
            numbers += maps[at].values()
        floats = self._floats.encode(numbers)
        if floats is None:
            return None
        parts = [plan.texts[plan.pick_texts(values)], floats, plan.dropped]
        parts += map(getitem, plan.numbers, plan.pick_numbers(values))
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
    """Getter for the values at some positions of a tuple, as a tuple."""
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


def _encode_by_value(event: Event, limit: int) -> bytes:
    found = event_attributes(event, limit=limit)
    return b"".join(attribute(key, value) for key, value in found.items())
