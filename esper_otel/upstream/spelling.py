"""Which names a struct's fields go by, derived from the declarations beside them.

A field is found under its own name, under an alias, and, for a map with a ``{key}`` alias, under one name per key. A
dotted name reaches into a nested object: ``head_telemetry.op_entropy``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple, get_args, get_type_hints

import msgspec

from esper_otel.events.declare import Field
from esper_otel.events.vocabulary import KEY_VALUES
from esper_otel.upstream.dialect import KEY_SPELLINGS, NESTED_ALIASES

PLACEHOLDER = "{key}"


class Target(NamedTuple):
    """Where a value belongs: ``field``, or its entry ``key``; the value is multiplied by ``scale`` on its way."""

    field: str
    key: str | None = None
    scale: float = 1.0


class Spelling:
    """The names of one struct class.

    Attributes:
        notes: the declaration of each field that has one.
        aliases: other spellings of each field, esper-lite's current one first.
    """

    def __init__(self, cls: type[msgspec.Struct]) -> None:
        self.notes = _notes(cls)
        self.aliases = {name: _aliases(cls, name, self.notes.get(name)) for name in cls.__struct_fields__}
        self._exact: dict[str, Target] = {}
        self._patterns: list[tuple[re.Pattern[str], Target]] = []
        for name in cls.__struct_fields__:
            for alias in self.aliases[name]:
                self._learn(name, alias)
        self._exact.update((name, Target(name)) for name in cls.__struct_fields__)
        self._lifted = frozenset(
            alias.split(".", 1)[0] for aliases in self.aliases.values() for alias in aliases if "." in alias
        )

    def find(self, name: str) -> Target | None:
        """The field that ``name`` means, or None when no field goes by it."""
        target = self._exact.get(name)
        if target is not None:
            return target
        for pattern, pattern_target in self._patterns:
            if match := pattern.fullmatch(name):
                return pattern_target._replace(key=match[1])
        return None

    def entries(self, payload: Mapping[str, object]) -> Iterator[tuple[str, object]]:
        """The entries of ``payload``, those of nested objects that an alias reaches into under dotted names."""
        for name, value in payload.items():
            if name in self._lifted and isinstance(value, dict):
                yield from _flattened(name, value)
            else:
                yield name, value

    def scale_of(self, field: str) -> float:
        """Factor from an alias' value to the field's."""
        note = self.notes.get(field)
        return 1.0 if note is None else note.alias_scale

    def _learn(self, field: str, alias: str) -> None:
        scale = self.scale_of(field)
        if PLACEHOLDER not in alias:
            self._exact[alias] = Target(field, None, scale)
            return
        note = self.notes.get(field)
        keys = KEY_VALUES.get(note.key or "") if note else None
        if keys is None:
            before, after = (re.escape(part) for part in alias.split(PLACEHOLDER))
            self._patterns.append((re.compile(f"{before}([^.]+){after}"), Target(field, None, scale)))
            return
        for key in keys:
            self._exact[column(alias, key)] = Target(field, key, scale)


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


def _aliases(cls: type[msgspec.Struct], field: str, note: Field | None) -> tuple[str, ...]:
    declared = () if note is None else note.aliases
    return (*NESTED_ALIASES.get(cls.__name__, {}).get(field, ()), *declared)


def _flattened(prefix: str, value: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flattened(f"{prefix}.{name}", inner)
        else:
            yield f"{prefix}.{name}", inner
