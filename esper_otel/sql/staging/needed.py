"""Selection of the lines that give rows of some tables, before any of them is converted."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import msgspec

from esper_otel.esper_lite.dialect.recipes import RECIPES
from esper_otel.esper_lite.dialect.table import SNAPSHOT
from esper_otel.log.envelope import Record
from esper_otel.sql.views.tables import RAW, REJECTED_FIELDS, REJECTED_LINES


class _Kind(msgspec.Struct):
    kind: Any = None


_KIND: Final = msgspec.json.Decoder(_Kind)
_KIND_FIRST: Final = re.compile(rb'\s*\{\s*"kind"\s*:\s*"([a-z_]+)"\s*[,}]')
"""The usual payload: reading some bytes of it takes a tenth of the time of decoding it."""

_KIND_NAME: Final = b'"kind"'


class Needed:
    """Knows the lines that the tables ``wanted`` need.

    With ``all_rejected`` the table of rejected lines needs every line, because only its conversion shows that it holds
    no event; else it has those among the lines that other tables need, and lines of types that nobody knows.
    """

    def __init__(self, wanted: frozenset[str], *, all_rejected: bool) -> None:
        """Lines that ``wanted`` need."""
        needs_all = {RAW.name, REJECTED_FIELDS.name} | ({REJECTED_LINES.name} if all_rejected else set())
        self._is_all = bool(wanted & needs_all)
        self._keys = _keys(wanted)
        self._types = _line_types(wanted)
        self._unknown = REJECTED_LINES.name in wanted

    def has(self, record: Record) -> bool:
        """Return True if ``record`` may give a row."""
        if self._is_all:
            return True
        if record.event_type != SNAPSHOT:
            return record.event_type in self._types or (self._unknown and record.event_type not in _known_types())
        return (self._unknown or SNAPSHOT in self._types) and self._is_snapshot_needed(record)

    def _is_snapshot_needed(self, record: Record) -> bool:
        try:
            key = f"{SNAPSHOT}:{_kind_of(record.data)}"
        except (msgspec.MsgspecError, ValueError, RecursionError):  # its conversion tells why
            return True
        return key in self._keys or (self._unknown and key not in RECIPES)


def _kind_of(payload: bytes) -> Any:
    first = _KIND_FIRST.match(payload)
    if first is not None and _KIND_NAME not in payload[first.end() :]:  # of two the last one counts
        return first[1].decode()
    return _KIND.decode(payload).kind


@cache
def line_types(wanted: frozenset[str]) -> frozenset[str] | None:
    """Types of the lines that give rows of the tables ``wanted``; None if every line may."""
    if wanted & {RAW.name, REJECTED_LINES.name, REJECTED_FIELDS.name}:
        return None
    return _line_types(wanted)


@cache
def _keys(wanted: frozenset[str]) -> frozenset[str]:
    return frozenset(
        key for key, recipe in RECIPES.items() if any(part.cls.event_type.lower() in wanted for part in recipe)
    )


def _line_types(wanted: frozenset[str]) -> frozenset[str]:
    return frozenset(key.partition(":")[0] for key in _keys(wanted))


@cache
def _known_types() -> frozenset[str]:
    return frozenset(key.partition(":")[0] for key in RECIPES)
