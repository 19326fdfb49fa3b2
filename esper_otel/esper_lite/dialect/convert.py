"""Tolerant reading of JSON values into the types that a struct declares.

A strict decoder refuses a whole event for one odd field. Here each field is converted alone: what does not fit its
type is left out and listed, what no field goes by is listed, and the rest of the event survives. Nothing raises.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import inspect

from esper_otel.esper_lite.dialect.spelling import Target, spelling_of
from esper_otel.esper_lite.dialect.values import LEAVES, REFUSED, Converter, Findings, number


class _Plan(NamedTuple):
    """Handling of the values under one name.

    Attributes:
        target: their destination.
        convert: reader of the values; None if nothing fits there.
        is_own: the name is the field's own, and the value is all of it.
        as_is: type of the values that are taken as they are, which spares most of them the converter; None for none.
    """

    target: Target
    convert: Converter | None
    is_own: bool
    as_is: type | None


MAX_PLANS: Final = 4096
"""Names that are remembered: those of the contract are few, those of a hostile log are not."""


class StructReader:
    """Reads JSON objects into structs of one class, accepting every spelling of their fields."""

    def __init__(self, cls: type[msgspec.Struct]) -> None:
        """Compile one converter per field of ``cls``.

        Raises:
            TypeError: a field has a type that no event field may have.
        """
        self._cls = cls
        self._spelling = spelling_of(cls)
        info = inspect.type_info(cls)
        if not isinstance(info, inspect.StructType):
            raise TypeError(f"{cls!r} is not a struct")
        self._types = {field.name: _required_type(field.type) for field in info.fields}
        self._whole = {name: self._field_converter(name) for name in self._types}
        self._entry = {
            name: _converter(node.value_type)
            for name, node in self._types.items()
            if isinstance(node, inspect.DictType)
        }
        self._plans: dict[str, _Plan | None] = {}

    def read(self, payload: Mapping[str, object], path: str, findings: Findings) -> dict[str, object]:
        """Field values found in ``payload``; null counts as absent, ``path`` prefixes what ``findings`` lists."""
        aliased: dict[str, object] = {}
        own: dict[str, object] = {}
        for name, raw in self._spelling.entries(payload):
            if raw is None or (type(raw) is list and _holds_nulls_alone(raw)):
                continue
            plan = self._plans[name] if name in self._plans else self._plan(name)
            if plan is None:
                findings.unknown.append(path + name)
                continue
            value = raw if type(raw) is plan.as_is else _value(plan, raw, path + name, findings)
            if value is REFUSED:
                findings.mistyped.append(path + name)
            elif plan.is_own:
                own[name] = value
            else:
                _put(aliased, plan.target, value)
        return _merged(aliased, own) if aliased else own

    def build(self, values: Mapping[str, object]) -> msgspec.Struct | None:
        """The struct, or None if a required field is missing."""
        try:
            return self._cls(**values)
        except TypeError:
            return None

    def _plan(self, name: str) -> _Plan | None:
        """Handling of values under ``name``; None if it is no field's name."""
        target = self._spelling.find(name)
        plan = None
        if target is not None:
            convert = self._whole[target.field] if target.key is None else self._entry.get(target.field)
            node = self._types[target.field]
            as_is = _as_is(node) if target.key is None and target.scale == 1.0 else None
            plan = _Plan(target, convert, is_own=name == target.field and target.key is None, as_is=as_is)
        if len(self._plans) < MAX_PLANS:
            self._plans[name] = plan
        return plan

    def _field_converter(self, name: str) -> Converter:
        node = self._types[name]
        keys = self._spelling.keys_of(name)
        if keys is None or not isinstance(node, inspect.DictType):
            return _converter(node)
        return _positional(keys, _converter(node))


@cache
def reader_of(cls: type[msgspec.Struct]) -> StructReader:
    """The reader of ``cls``, built once."""
    return StructReader(cls)


def _holds_nulls_alone(raw: list[object]) -> bool:
    """A positional list in which nothing was measured."""
    return bool(raw) and all(item is None for item in raw)


def _value(plan: _Plan, raw: object, path: str, findings: Findings) -> object:
    if plan.convert is None:
        return REFUSED
    if plan.target.scale != 1.0:
        raw = _scaled(raw, plan.target.scale)
    return plan.convert(raw, path, findings)


def _put(into: dict[str, object], target: Target, value: object) -> None:
    if target.key is None:
        into[target.field] = value
        return
    entries = into.setdefault(target.field, {})
    if isinstance(entries, dict):
        entries[target.key] = value


def _merged(aliased: dict[str, object], own: dict[str, object]) -> dict[str, object]:
    for name, value in own.items():
        other = aliased.get(name)
        aliased[name] = other | value if isinstance(other, dict) and isinstance(value, dict) else value
    return aliased


def _scaled(raw: object, scale: float) -> object:
    if isinstance(raw, dict):
        return {key: _scaled(value, scale) for key, value in raw.items()}
    value = number(raw, "", Findings())
    return value * scale if isinstance(value, float) else raw


def _required_type(node: inspect.Type) -> inspect.Type:
    if not isinstance(node, inspect.UnionType):
        return node
    kept = tuple(inner for inner in node.types if not isinstance(inner, inspect.NoneType))
    return kept[0] if len(kept) == 1 else inspect.UnionType(kept)


def _one_of(node: Any) -> Converter:
    allowed = node.values if isinstance(node, inspect.LiteralType) else tuple(node.cls)

    def convert(value: object, path: str, findings: Findings) -> object:
        for name in allowed:
            if value == name or (isinstance(name, enum.Enum) and value == name.value):
                return name
        return REFUSED

    return convert


def _dict(node: Any) -> Converter:
    read_key, read_value = _converter(node.key_type), _converter(node.value_type)
    as_is = _as_is(node.value_type) if isinstance(node.key_type, inspect.StrType) else None

    def convert(value: object, path: str, findings: Findings) -> object:
        if not isinstance(value, dict):
            return REFUSED
        kept = {}
        for name, inner in value.items():
            if inner is None:
                continue
            if type(inner) is as_is:
                kept[name] = inner
                continue
            key, entry = read_key(name, path, findings), read_value(inner, f"{path}.{name}", findings)
            if key is REFUSED or entry is REFUSED:
                findings.mistyped.append(f"{path}.{name}")
            else:
                kept[key] = entry
        return kept

    return convert


def _sequence(node: Any) -> Converter:
    read_item = _converter(node.item_type)
    make: Callable[[list[object]], object] = list if isinstance(node, inspect.ListType) else tuple

    def convert(value: object, path: str, findings: Findings) -> object:
        if not isinstance(value, list):
            return REFUSED
        items = [read_item(item, f"{path}[{index}]", findings) for index, item in enumerate(value)]
        return REFUSED if REFUSED in items else make(items)

    return convert


def _tuple(node: Any) -> Converter:
    readers = [_converter(item) for item in node.item_types]

    def convert(value: object, path: str, findings: Findings) -> object:
        if not isinstance(value, list) or len(value) != len(readers):
            return REFUSED
        items = tuple(read(item, path, findings) for read, item in zip(readers, value, strict=True))
        return REFUSED if REFUSED in items else items

    return convert


def _struct(node: Any) -> Converter:
    cls = node.cls

    def convert(value: object, path: str, findings: Findings) -> object:
        if not isinstance(value, dict):
            return REFUSED
        reader = reader_of(cls)
        built = reader.build(reader.read(value, f"{path}.", findings))
        return REFUSED if built is None else built

    return convert


def _union(node: Any) -> Converter:
    readers = [_converter(_required_type(inner)) for inner in node.types]

    def convert(value: object, path: str, findings: Findings) -> object:
        for read in readers:
            converted = read(value, path, findings)
            if converted is not REFUSED:
                return converted
        return REFUSED

    return convert


def _positional(keys: tuple[str, ...], read: Converter) -> Converter:
    """Also takes the list that esper-lite writes in the order of ``keys``."""

    def convert(value: object, path: str, findings: Findings) -> object:
        if isinstance(value, list):
            if len(value) > len(keys):
                return REFUSED
            value = dict(zip(keys, value, strict=False))
        return read(value, path, findings)

    return convert


_BRANCHES: Final[dict[type[inspect.Type], Callable[[Any], Converter]]] = {
    inspect.LiteralType: _one_of,
    inspect.EnumType: _one_of,
    inspect.DictType: _dict,
    inspect.ListType: _sequence,
    inspect.VarTupleType: _sequence,
    inspect.TupleType: _tuple,
    inspect.StructType: _struct,
    inspect.UnionType: _union,
}


_AS_IS: Final = {inspect.FloatType: float, inspect.IntType: int, inspect.BoolType: bool, inspect.StrType: str}


def _as_is(node: inspect.Type) -> type | None:
    """The type of JSON's values that a field of a simple type takes unchanged."""
    return _AS_IS.get(type(_required_type(node)))


def _converter(node: inspect.Type) -> Converter:
    node = _required_type(node)
    leaf = LEAVES.get(type(node))
    if leaf is not None:
        return leaf
    branch = _BRANCHES.get(type(node))
    if branch is None:
        raise TypeError(f"no event field may have the type {type(node).__name__}; add it to {__name__}")
    return branch(node)
