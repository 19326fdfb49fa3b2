"""Names of a struct's fields, derived from the declarations on them.

A field is found under its own name, under an alias, and, for a map with a ``{key}`` alias, under one name per key. A
dotted name reaches into a nested object: ``head_telemetry.op_entropy``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec

from esper_otel.esper_lite.dialect.table import COLUMN_KEYS, CURRENT, FORMER, KEY_SCALES, KEY_SPELLINGS
from esper_otel.events.declare import Field

PLACEHOLDER = "{key}"


class Target(NamedTuple):
    """Destination of a value: ``field``, or its entry ``key``; the value is multiplied by ``scale``."""

    field: str
    key: str | None = None
    scale: float = 1.0


class Spelling:
    """The names of one struct class.

    Attributes:
        notes: the declaration of each field that has one.
        written: esper-lite's current name of each field.
    """

    def __init__(self, cls: type[msgspec.Struct]) -> None:
        """Learn the names of ``cls`` from its declarations; a field's own name means that field before any alias."""
        owner = cls.__name__
        self.notes = _notes(cls)
        self.written = {name: _written(owner, name, self.notes.get(name)) for name in cls.__struct_fields__}
        self._exact: dict[str, Target] = {}
        self._patterns: list[tuple[re.Pattern[str], Target]] = []
        lifted: set[str] = set()
        for name in cls.__struct_fields__:
            for alias in _understood(owner, name, self.notes.get(name)):
                self._learn(owner, name, alias)
                lifted.update([alias.split(".", 1)[0]] if "." in alias else ())
        self._exact.update((name, Target(name)) for name in cls.__struct_fields__)
        self._lifted = frozenset(lifted)

    def find(self, name: str) -> Target | None:
        """The field that ``name`` means, or None if there is none."""
        target = self._exact.get(name)
        if target is not None:
            return target
        for pattern, pattern_target in self._patterns:
            if match := pattern.fullmatch(name):
                return pattern_target._replace(key=match[1])
        return None

    def entries(self, payload: Mapping[str, object]) -> Iterable[tuple[str, object]]:
        """The entries of ``payload``, those of nested objects that an alias reaches into under dotted names."""
        return payload.items() if self._lifted.isdisjoint(payload) else self._lifted_entries(payload)

    def _lifted_entries(self, payload: Mapping[str, object]) -> Iterator[tuple[str, object]]:
        for name, value in payload.items():
            if name in self._lifted and isinstance(value, dict):
                yield from _flattened(name, value)
            else:
                yield name, value

    def scale_of(self, field: str) -> float:
        """Factor from an alias' value to the field's."""
        note = self.notes.get(field)
        return 1.0 if note is None else note.alias_scale

    def keys_of(self, field: str) -> tuple[str, ...] | None:
        """The keys that the map ``field`` can have, in esper-lite's order; None when they are not a closed set."""
        note = self.notes.get(field)
        return COLUMN_KEYS.get(note.key or "") if note else None

    def _learn(self, owner: str, field: str, alias: str) -> None:
        scale = self.scale_of(field)
        if PLACEHOLDER not in alias:
            self._exact[alias] = Target(field, None, scale)
            return
        keys = self.keys_of(field)
        if keys is None:
            before, after = (re.escape(part) for part in alias.split(PLACEHOLDER))
            self._patterns.append((re.compile(f"{before}([^.]+){after}"), Target(field, None, scale)))
            return
        scales = KEY_SCALES.get(f"{owner}.{field}", {})
        for key in keys:
            self._exact[column(alias, key)] = Target(field, key, scale * scales.get(key, 1.0))


@cache
def spelling_of(cls: type[msgspec.Struct]) -> Spelling:
    """The names of ``cls``, worked out once."""
    return Spelling(cls)


def column(alias: str, key: str) -> str:
    """The column that carries entry ``key`` of a map with the pattern ``alias``."""
    return alias.replace(PLACEHOLDER, KEY_SPELLINGS.get(alias, {}).get(key, key))


def _notes(cls: type[msgspec.Struct]) -> dict[str, Field]:
    hints: dict[str, Any] = get_type_hints(cls, include_extras=True)
    found = {}
    for name in cls.__struct_fields__:
        for extra in get_args(hints[name]):
            if isinstance(extra, Field):
                found[name] = extra
    return found


def _written(owner: str, field: str, note: Field | None) -> str:
    current = CURRENT.get(owner, {}).get(field)
    if current is not None:
        return current
    return note.aliases[0] if note is not None and note.aliases else field


def _understood(owner: str, field: str, note: Field | None) -> tuple[str, ...]:
    declared = () if note is None else note.aliases
    return (_written(owner, field, note), *declared, *FORMER.get(owner, {}).get(field, ()))


def _flattened(prefix: str, value: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flattened(f"{prefix}.{name}", inner)
        else:
            yield f"{prefix}.{name}", inner
