"""Columns from the contract: the DuckDB type of a field, and the meaning of the columns.

A type that DuckDB has no name for (values of any kind, tuples of mixed types) is kept as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import inspect

from esper_otel.events import Event
from esper_otel.signals.registry import declared_fields

JSON: Final = "JSON"
WIDE: Final = "HUGEINT"
"""Integers beyond 64 bit; Parquet has no such type, so they are stored as text."""


class Column(msgspec.Struct, frozen=True):
    """One column of a view.

    Attributes:
        name: as it is selected.
        type: DuckDB's name of its type.
        description: meaning with unit and range.
        key: for a map, what its keys are (``head``, ``slot``, …) where they are one of the contract's sets.
    """

    name: str
    type: str
    description: str
    key: str | None = None

    @property
    def stored_type(self) -> str:
        """The type in Parquet."""
        return "VARCHAR" if self.type == WIDE else self.type

    @property
    def from_stored(self) -> str:
        """SQL that reads it from Parquet."""
        name = quoted(self.name)
        return f"TRY_CAST({name} AS {WIDE}) AS {name}" if self.type == WIDE else name


LEADING: Final = (
    Column("run_id", "VARCHAR", "The run: as in its log, else the name of its directory or file."),
    Column("group_id", "VARCHAR", "A/B group; default if the line has none."),
    Column("timestamp", "TIMESTAMP", "Time of the event, UTC."),
    Column("event_id", "VARCHAR", "Identity of the event; esper-lite's repeat across runs."),
)
TRAILING: Final = (
    Column("severity", "VARCHAR", "Severity: debug, info, warning, error or critical."),
    Column("message", "VARCHAR", "Text for people; may be empty."),
    Column("rank", "BIGINT", "Rank of the process that emitted it; 0 if the line has none."),
    Column("seq", "BIGINT", "Position in the rank's own series of events, from 1; NULL in logs without numbers."),
    Column("run_dir", "VARCHAR", "Name of the directory of the log."),
)
ENVELOPE: Final = (*LEADING, *TRAILING)


def quoted(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


@cache
def fields_of(cls: type[msgspec.Struct]) -> tuple[Column, ...]:
    """The columns of the fields of an event, or of a struct inside one, in the contract's order.

    Raises:
        TypeError: a field has a type that no event field may have.
    """
    nodes = _nodes(cls)
    return tuple(
        Column(name, _field_type(name, nodes[name]), declaration.description, declaration.key)
        for name, (_, declaration) in declared_fields(cls).items()
    )


@cache
def columns_of(cls: type[Event]) -> tuple[Column, ...]:
    """All columns of an event; a field hides the envelope's column of the same name."""
    fields = fields_of(cls)
    names = {column.name for column in fields}
    lead = tuple(column for column in LEADING if column.name not in names)
    return (*lead, *fields, *(column for column in TRAILING if column.name not in names))


def map_value(cls: type[Event], name: str) -> str | type[msgspec.Struct] | None:
    """Value type of the map ``name`` of an event: a DuckDB type or a struct class; None if it is not a map."""
    node = _nodes(cls)[name]
    if not isinstance(node, inspect.DictType) or _duckdb_type(node) == JSON:
        return None
    value = _required(node.value_type)
    return value.cls if isinstance(value, inspect.StructType) else _duckdb_type(value)


@cache
def _nodes(cls: type[msgspec.Struct]) -> Mapping[str, inspect.Type]:
    """The type of each field, once and for all: msgspec looks at every class inside ``cls`` to tell it."""
    info = inspect.type_info(cls)
    if not isinstance(info, inspect.StructType):
        raise TypeError(f"{cls!r} is not a struct")
    return {field.name: _required(field.type) for field in info.fields}


def _field_type(name: str, node: inspect.Type) -> str:
    is_seed = name == "seed" or name.endswith("_seed")  # seeds of random streams fill 64 bit and more
    return WIDE if is_seed and isinstance(node, inspect.IntType) else _duckdb_type(node)


def _required(node: inspect.Type) -> inspect.Type:
    if not isinstance(node, inspect.UnionType):
        return node
    kept = [inner for inner in node.types if not isinstance(inner, inspect.NoneType)]
    return kept[0] if len(kept) == 1 else inspect.AnyType()


def _struct(node: Any) -> str:
    parts = [(name, _duckdb_type(inner)) for name, inner in _nodes(node.cls).items()]
    if any(type_ == JSON for _, type_ in parts):
        return JSON
    return f"STRUCT({', '.join(f'{name} {type_}' for name, type_ in parts)})"


def _map(node: Any) -> str:
    value = _duckdb_type(_required(node.value_type))
    return JSON if value == JSON else f"MAP(VARCHAR, {value})"


def _list(node: Any) -> str:
    item = _duckdb_type(_required(node.item_type))
    return JSON if item == JSON else f"{item}[]"


_TYPES: Final[dict[type[inspect.Type], Callable[[Any], str]]] = {
    inspect.FloatType: lambda node: "DOUBLE",
    inspect.IntType: lambda node: "BIGINT",
    inspect.BoolType: lambda node: "BOOLEAN",
    inspect.StrType: lambda node: "VARCHAR",
    inspect.AnyType: lambda node: JSON,
    inspect.TupleType: lambda node: JSON,
    inspect.VarTupleType: _list,
    inspect.DictType: _map,
    inspect.StructType: _struct,
}


def _duckdb_type(node: inspect.Type) -> str:
    convert = _TYPES.get(type(node))
    if convert is None:
        raise TypeError(f"no event field may have the type {type(node).__name__}; add it to {__name__}")
    return convert(node)
