"""Definitions of views for ClickHouse, where its SQL is not DuckDB's.

ClickHouse has no NULL of a list or a map: one that was not recorded is empty there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from esper_otel.sql.views.columns import WIDE, Column, quoted

_SCALARS: Final = {
    "VARCHAR": "String",
    "JSON": "String",
    "DOUBLE": "Float64",
    "BIGINT": "Int64",
    "BOOLEAN": "Bool",
    "TIMESTAMP": "DateTime64(6, 'UTC')",
    WIDE: "Int128",
}
_MAP: Final = re.compile(r"MAP\(VARCHAR, (.*)\)", re.DOTALL)
_STRUCT: Final = re.compile(r"STRUCT\((.*)\)", re.DOTALL)
_BETWEEN_FIELDS: Final = re.compile(r", (?=\w+ [A-Z])")


class Branch(msgspec.Struct, frozen=True):
    """One part of a union.

    Attributes:
        source: view that it reads.
        columns: SQL of its columns by their names in the union; the others are absent.
    """

    source: str
    columns: Mapping[str, str]


def type_of(duckdb_type: str) -> str:
    """ClickHouse's name of a column's type.

    Raises:
        TypeError: the type is unknown.
    """
    if duckdb_type in _SCALARS:
        return f"Nullable({_SCALARS[duckdb_type]})"
    if duckdb_type.endswith("[]"):
        return f"Array({type_of(duckdb_type[:-2])})"
    if found := _MAP.fullmatch(duckdb_type):
        return f"Map(String, {type_of(found[1])})"
    if found := _STRUCT.fullmatch(duckdb_type):
        fields = (field.partition(" ") for field in _BETWEEN_FIELDS.split(found[1]))
        return f"Tuple({', '.join(f'{name} {type_of(inner)}' for name, _, inner in fields)})"
    raise TypeError(f"no ClickHouse type is known for {duckdb_type}; add it to {__name__}")


def stored_type_of(column: Column) -> str:
    """ClickHouse's name of the type that the column has in Parquet."""
    return type_of(column.stored_type)


def from_stored(column: Column) -> str:
    """SQL that reads the column from Parquet."""
    name = quoted(column.name)
    if column.type != WIDE:
        return name
    # ClickHouse reads digits beyond the type's range as another number: the text is measured first
    fits = f"if(match({name}, {literal('^-?[0-9]{1,70}$')}), toInt256OrNull({name}), NULL)"
    return f"accurateCastOrNull({fits}, 'Int128') AS {name}"


def literal(text: str) -> str:
    """``text`` as a string of ClickHouse, in which a backslash escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def keys(maps: Sequence[str]) -> str:
    """SQL that makes a row of each key of the ``maps``."""
    return f"arrayJoin(arrayDistinct(arrayConcat({', '.join(f'mapKeys({quoted(name)})' for name in maps)})))"


def union(columns: Sequence[Column], branches: Sequence[Branch]) -> str:
    """SQL of the rows of all ``branches`` with the same columns."""
    return " UNION ALL ".join(
        f"SELECT {', '.join(_in_union(column, branch) for column in columns)} FROM {quoted(branch.source)}"
        for branch in branches
    )


def as_text(sql: str) -> str:
    """SQL of a DOUBLE as text, the way DuckDB writes it."""
    text = f"toString({sql})"
    return f"if(match({text}, '^-?[0-9]+$'), concat({text}, '.0'), {text})"


def rounded(sql: str) -> str:
    """SQL of a DOUBLE as text, rounded to two places; ClickHouse's own function rounds halves to even."""
    sign = f"if(startsWith(toString({sql}), '-'), -1, 1)"  # of a zero as well
    hundredths = f"floor(abs({sql}) * 100 + 0.5)"
    return as_text(f"if(isFinite({hundredths}), {sign} * {hundredths} / 100, {sql})")


def _in_union(column: Column, branch: Branch) -> str:
    name = quoted(column.name)
    if column.name in branch.columns:
        return f"{branch.columns[column.name]} AS {name}"
    return f"{_absent(column)} AS {name}"


def _absent(column: Column) -> str:
    type_ = type_of(column.type)
    empty = "[]" if type_.startswith("Array") else "map()" if type_.startswith("Map") else "NULL"
    return f"CAST({empty} AS {type_})"
