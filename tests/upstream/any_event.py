"""Strategies that make any event that the contract allows, derived from its declarations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from esper_otel.esper_lite.dialect.spelling import spelling_of
from esper_otel.events import Event

TEXT: Final = st.text(st.characters(codec="utf-8"), max_size=12)

_LEAVES: Final[dict[type[inspect.Type], st.SearchStrategy[Any]]] = {
    inspect.FloatType: st.floats(),
    inspect.IntType: st.integers(-(2**70), 2**70),
    inspect.BoolType: st.booleans(),
    inspect.StrType: TEXT,
    inspect.AnyType: st.one_of(st.booleans(), st.integers(), st.floats(), st.lists(st.integers(), max_size=2)),
}


def _union(node: Any, keys: tuple[str, ...] | None) -> st.SearchStrategy[Any]:
    kept = [inner for inner in node.types if not isinstance(inner, inspect.NoneType)]
    return st.one_of(*(_values(inner, keys) for inner in kept))


def _dict(node: Any, keys: tuple[str, ...] | None) -> st.SearchStrategy[Any]:
    names = TEXT if keys is None else st.sampled_from(keys)
    return st.dictionaries(names, _values(node.value_type), min_size=1, max_size=3)


_BRANCHES: Final[dict[type[inspect.Type], Callable[[Any, tuple[str, ...] | None], st.SearchStrategy[Any]]]] = {
    inspect.UnionType: _union,
    inspect.DictType: _dict,
    inspect.VarTupleType: lambda node, keys: st.lists(_values(node.item_type), max_size=3).map(tuple),
    inspect.TupleType: lambda node, keys: st.tuples(*(_values(item) for item in node.item_types)),
    inspect.StructType: lambda node, keys: structs(node.cls),
}


def _values(node: inspect.Type, keys: tuple[str, ...] | None = None) -> st.SearchStrategy[Any]:
    leaf = _LEAVES.get(type(node))
    return _BRANCHES[type(node)](node, keys) if leaf is None else leaf


def structs(cls: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Structs of ``cls`` with any of its fields measured; a map that has columns is absent or holds something."""
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    spelling = spelling_of(cls)
    required = {
        field.name: _values(field.type, spelling.keys_of(field.name)) for field in info.fields if field.required
    }
    optional = {
        field.name: _values(field.type, spelling.keys_of(field.name)) for field in info.fields if not field.required
    }
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: cls(**values))


def comparable(value: Any) -> Any:
    """``value`` such that equal observations are equal: NaN equals NaN, and a class does not equal another."""
    if isinstance(value, msgspec.Struct):
        return type(value).__name__, {name: comparable(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: comparable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def events(cls: type[Event]) -> st.SearchStrategy[Any]:
    """Events of ``cls``."""
    return structs(cls)
