"""Event fields as OpenTelemetry attributes: flat, bounded, and always encodable.

A value that protobuf or a backend cannot take (NaN in JSON, an integer beyond 64 bits, a lone surrogate, a text of a
megabyte) is changed here, at one boundary, because one such value makes an exporter lose the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from esper_otel.events import Event
from esper_otel.signals.log_events import DROPPED

AttributeValue = str | bool | int | float | tuple[str, ...] | tuple[bool, ...] | tuple[int, ...] | tuple[float, ...]

MAX_TEXT_BYTES: Final = 1024
MAX_KEY_BYTES: Final = 128
MAX_ITEMS: Final = 32
"""Longest sequence that becomes an array attribute; a longer one becomes JSON text."""


def event_attributes(event: Event, *, limit: int, maps: bool = True) -> dict[str, AttributeValue]:
    """The fields of ``event`` that were measured, as ``<domain>.<field>``; a map's as ``<domain>.<field>.<key>``.

    Args:
        event: any event.
        limit: most attributes to return, at least 1. Single values come first; a map that does not fit any more is
            packed into one JSON text; what does not fit even so is counted in ``esper.attributes.dropped``.
        maps: whether to include fields that are maps.
    """
    found: dict[str, AttributeValue] = {}
    mappings: list[tuple[str, Mapping[Any, Any]]] = []
    for name, key in _keys(type(event)):
        value = getattr(event, name)
        if isinstance(value, Mapping):
            mappings.append((key, value))
        elif value is not None:
            found[key] = attribute_value(value)
    if maps:
        _add_maps(found, mappings, limit)
    return limited(found, limit)


def limited(attributes: dict[str, AttributeValue], limit: int) -> dict[str, AttributeValue]:
    """The first attributes up to ``limit``, with the number of those cut among them."""
    if len(attributes) <= limit:
        return attributes
    kept = dict(list(attributes.items())[: limit - 1])
    kept[DROPPED] = len(attributes) - len(kept)
    return kept


def attribute_value(value: object) -> AttributeValue:
    """``value`` as an attribute: numbers finite or as text (``"NaN"``), texts cut, anything nested as JSON text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _nonfinite_text(value)
    if isinstance(value, int):
        # OTLP's integers are signed 64 bit; random seeds of esper-lite are not.
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, str):
        return cut_text(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return _array(value)
    return json_text(value)


def cut_text(text: str, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """``text`` as valid UTF-8 of at most ``max_bytes`` bytes."""
    if len(text) <= max_bytes and text.isascii():
        return text
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")


@cache
def _keys(event_class: type[Event]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{event_class.domain}.{name}") for name in event_class.__struct_fields__)


def _add_maps(found: dict[str, AttributeValue], mappings: Sequence[tuple[str, Mapping[Any, Any]]], limit: int) -> None:
    for position, (key, mapping) in enumerate(mappings):
        left = len(mappings) - position - 1
        if len(found) + len(mapping) + left <= limit:
            found.update(
                (f"{key}.{cut_text(str(item), MAX_KEY_BYTES)}", attribute_value(mapping[item])) for item in mapping
            )
        else:
            found[key] = json_text(mapping)


def _array(values: Sequence[Any]) -> AttributeValue:
    kinds = {type(value) for value in values}
    if len(values) > MAX_ITEMS or not kinds <= {str, bool, int, float}:
        return json_text(values)
    # Arrays must hold one type: mixed integers and floats become floats, any other mixture texts.
    items = [float(value) if kinds == {int, float} else attribute_value(value) for value in values]
    items = [attribute_value(item) for item in items]
    if len({type(item) for item in items}) > 1:
        items = [str(item) for item in items]
    return tuple(items)  # type: ignore[return-value]  # one type, as just ensured


def json_text(value: object) -> str:
    """``value`` as JSON, cut like any text; what JSON cannot say as text."""
    return cut_text(msgspec.json.encode(_plain(value)).decode())


def _plain(value: object) -> object:
    """``value`` with texts in place of what JSON cannot say."""
    if isinstance(value, float):
        return value if math.isfinite(value) else _nonfinite_text(value)
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__ if getattr(value, name) is not None}
    if isinstance(value, Mapping):
        return {str(_plain(str(key))): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int)) else str(value)


def _nonfinite_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
