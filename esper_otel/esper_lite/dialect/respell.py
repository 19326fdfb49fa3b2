"""One event in esper-lite's spelling: the payload that it would have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from esper_otel.esper_lite.dialect.spelling import PLACEHOLDER, Spelling, column, spelling_of
from esper_otel.esper_lite.dialect.table import (
    BATCH_BASE,
    KEY_SCALES,
    POSITIONAL,
    REQUIRED,
    REQUIRED_LISTS,
    ZERO_BASED,
)
from esper_otel.events import Event


def legacy_payload(event: Event) -> dict[str, Any]:
    """Payload of ``event`` in esper-lite's spelling, with null for fields that its readers require."""
    name = event.legacy_type or event.event_type
    kind = {} if event.legacy_kind is None else {"kind": event.legacy_kind}
    payload = {**kind, **spelled(event)}
    if name in ZERO_BASED:
        _count_from_zero(payload)
    return with_required(payload, REQUIRED.get(name, ()))


def spelled(struct: msgspec.Struct) -> dict[str, Any]:
    """The measured fields of ``struct``, and of the structs inside it, in esper-lite's spelling."""
    spelling = spelling_of(type(struct))
    owner = type(struct).__name__
    payload: dict[str, Any] = {}
    for field in struct.__struct_fields__:
        value = getattr(struct, field)
        if value is not None:
            for name, item in _entries(owner, field, _plain(value), spelling):
                _put(payload, name, item)
    return payload


def with_required(payload: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """``payload`` with null, or a list of nulls, for missing ``names``."""
    missing = {name: _nothing(name) for name in names if name not in payload}
    return {**payload, **missing}


def _nothing(name: str) -> list[None] | None:
    return [None] * REQUIRED_LISTS[name] if name in REQUIRED_LISTS else None


def _entries(owner: str, field: str, value: Any, spelling: Spelling) -> list[tuple[str, Any]]:
    alias = spelling.written[field]
    place = f"{owner}.{field}"
    if place in POSITIONAL and isinstance(value, dict):
        return [(alias, [value.get(key) for key in spelling.keys_of(field) or ()])]
    scale = spelling.scale_of(field) if alias != field else 1.0
    if PLACEHOLDER not in alias:
        return [(alias, _unscaled(value, scale))]
    if not isinstance(value, dict):
        return [(field, value)]
    return _columns(alias, value, spelling.keys_of(field), scale, KEY_SCALES.get(place, {}), field)


def _columns(
    alias: str,
    value: Mapping[str, Any],
    keys: tuple[str, ...] | None,
    scale: float,
    scales: Mapping[str, float],
    field: str,
) -> list[tuple[str, Any]]:
    """One column per key; keys that have no column stay in the map under its own name."""
    columns = {key: item for key, item in value.items() if keys is None or key in keys}
    rest = {key: item for key, item in value.items() if key not in columns}
    entries = [(column(alias, key), _unscaled(item, scale * scales.get(key, 1.0))) for key, item in columns.items()]
    return [*entries, (field, rest)] if rest or not columns else entries


def _unscaled(value: Any, scale: float) -> Any:
    if scale == 1.0 or isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return {key: _unscaled(item, scale) for key, item in value.items()}
    return value / scale if isinstance(value, int | float) else value


def _put(payload: dict[str, Any], name: str, value: Any) -> None:
    """Set a dotted name, making the objects on its way."""
    *path, last = name.split(".") if "." in name else (name,)
    for step in path:
        payload = payload.setdefault(step, {})
    payload[last] = value


def _plain(value: Any) -> Any:
    """``value`` with its structs respelled; other values are left to the encoder."""
    if isinstance(value, msgspec.Struct):
        return spelled(value)
    if isinstance(value, dict) and any(isinstance(item, msgspec.Struct) for item in value.values()):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and any(isinstance(item, msgspec.Struct) for item in value):
        return [_plain(item) for item in value]
    return value


def _count_from_zero(payload: dict[str, Any]) -> None:
    number = payload.get("batch_idx")
    if isinstance(number, int):
        payload["batch_idx"] = number - 1
        payload[BATCH_BASE] = 0
