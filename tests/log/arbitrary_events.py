"""Hypothesis strategies for every event of the contract, from its declaration."""

from __future__ import annotations

import math
import types
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from esper_otel.events import EVENT_TYPES, Event

NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from(
    [math.nan, math.inf, -math.inf, -0.0, 5e-324]
)
INTEGERS = st.integers() | st.integers(2**63, 2**70) | st.integers(-(2**70), -(2**63))
TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["null", "NaN\n", "\x00\x1f", "\u2028", "😀"]
)
ANYTHING = st.recursive(
    st.booleans() | INTEGERS | NUMBERS | TEXT, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


def values(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of an annotation that the contract uses."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return values(arguments[0])
    if origin in (Union, types.UnionType):
        return st.one_of([values(argument) for argument in arguments])
    if origin is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*[values(argument) for argument in arguments])
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, values(arguments[1]), max_size=4)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return structs(annotation)
    return {int: INTEGERS, float: NUMBERS, bool: st.booleans(), str: TEXT, Any: ANYTHING, type(None): st.none()}[
        annotation
    ]


def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Instances of a struct, each optional field there or not."""
    hints = get_type_hints(kind, include_extras=True)
    required = {
        field.encode_name: values(hints[field.name]) for field in msgspec.structs.fields(kind) if field.required
    }
    optional = {name: values(hints[name]) for name in kind.__struct_fields__ if name not in required}
    return st.deferred(lambda: st.fixed_dictionaries(required, optional=optional).map(lambda fields: kind(**fields)))


def events() -> st.SearchStrategy[Event]:
    """Any event."""
    return st.sampled_from(list(EVENT_TYPES.values())).flatmap(structs)


def as_json(value: Any) -> Any:
    """What the standard library would read back: the expectation, made without the code under test."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        defaults = {field.name: field.default for field in msgspec.structs.fields(type(value))}
        kept = {name: item for name, item in fields.items() if item is not None and item is not defaults[name]}
        return {name: as_json(item) for name, item in kept.items()}
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    return value
