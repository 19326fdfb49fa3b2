"""SQL that reads a column from the attributes of a log event, which are all texts in ClickHouse.

A log event has each field as ``<domain>.<field>``, a map's entries as ``<domain>.<field>.<key>``; a list, and a map
that did not fit, as JSON text. A text that was cut is no JSON any more: such a list or map is empty.
"""

from __future__ import annotations

import re
from typing import Final

from esper_otel.signals.log_events import OWN
from esper_otel.sql.views.clickhouse import literal, type_of
from esper_otel.sql.views.columns import JSON, Column

ATTRIBUTES: Final = "LogAttributes"

_SCALARS: Final = {
    "VARCHAR": "{text}",
    "DOUBLE": "toFloat64OrNull({text})",
    "BIGINT": "toInt64OrNull({text})",
    "BOOLEAN": "multiIf({text} = 'true', true, {text} = 'false', false, NULL)",
}
_MAP: Final = re.compile(r"MAP\(VARCHAR, (.*)\)", re.DOTALL)


def text_of(key: str) -> str:
    """SQL of the attribute ``key`` as text; NULL where there is none."""
    return f"if(mapContains({ATTRIBUTES}, {literal(key)}), {ATTRIBUTES}[{literal(key)}], NULL)"


def value_of(key: str, column: Column) -> str:
    """SQL of the field ``column`` in the type that it has in Parquet; ``key`` is its attribute."""
    kind = column.stored_type
    if kind in _SCALARS:
        return _scalar(kind, text_of(key))
    if kind == JSON:
        return _json(key)
    if found := _MAP.fullmatch(kind):
        return _map(key, found[1])
    return f"JSONExtract({ATTRIBUTES}[{literal(key)}], {literal(type_of(kind))})"


def fields_as_json() -> str:
    """SQL of one JSON object of all fields, without their domain."""
    own = ", ".join(map(literal, sorted(OWN)))
    fields = f"mapFilter((k, v) -> k NOT IN ({own}), {ATTRIBUTES})"
    return _object(fields, "substring(k, position(k, '.') + 1)")


def _scalar(kind: str, text: str) -> str:
    return _SCALARS[kind].format(text=text)


def _entries(key: str) -> str:
    """SQL of the entries of the map ``key`` that are attributes of their own."""
    return f"mapFilter((k, v) -> startsWith(k, {literal(key + '.')}), {ATTRIBUTES})"


def _key_in_map(key: str) -> str:
    return f"substring(k, {len(key.encode()) + 2})"


def _map(key: str, value: str) -> str:
    type_ = type_of(f"MAP(VARCHAR, {value})")
    entry = _scalar(value, "v") if value in _SCALARS else f"JSONExtract(v, {literal(type_of(value))})"
    apart = f"CAST(mapApply((k, v) -> ({_key_in_map(key)}, {entry}), {_entries(key)}) AS {type_})"
    packed = f"JSONExtract({ATTRIBUTES}[{literal(key)}], {literal(type_)})"
    return f"if(mapContains({ATTRIBUTES}, {literal(key)}), {packed}, {apart})"


def _json(key: str) -> str:
    entries = _entries(key)
    as_object = f"if(empty({entries}), NULL, {_object(entries, _key_in_map(key))})"
    return f"if(mapContains({ATTRIBUTES}, {literal(key)}), {_json_value(f'{ATTRIBUTES}[{literal(key)}]')}, {as_object})"


def _json_value(text: str) -> str:
    """SQL of a value as JSON: a number, a flag or a list as it is, another text as one."""
    return f"if(isValidJSON({text}), {text}, toJSONString({text}))"


def _object(entries: str, key: str) -> str:
    pair = f"(k, v) -> concat(toJSONString({key}), ':', {_json_value('v')})"
    return f"concat('{{', arrayStringConcat(arrayMap({pair}, mapKeys({entries}), mapValues({entries})), ','), '}}')"
