"""What a column holds, whatever the order of its rows: how many numbers, their sum, how many NaN, and which texts."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import duckdb
import pytest

EPOCH = datetime(1970, 1, 1)


class Checksum:
    """Filled value by value; two are equal when they hold the same values, sums to rounding."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.numbers: list[float] = []
        self.others: Counter[str] = Counter()
        for value in values:
            self._add(value)

    def _add(self, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, Mapping):
            self.others.update(f"key {name}" for name, inner in value.items() if inner is not None)
            value = list(value.values())
        if isinstance(value, list | tuple):
            for inner in value:
                self._add(inner)
        elif isinstance(value, bool) or not isinstance(value, int | float | datetime):
            self.others[repr(value)] += 1
        elif isinstance(value, datetime):
            self.others[str(round((value - EPOCH).total_seconds() * 1e6))] += 1
        elif math.isfinite(value):
            self.numbers.append(value)
        else:
            self.others[str(value)] += 1

    @property
    def summary(self) -> tuple[int, Any, dict[str, int]]:
        return (
            len(self.numbers),
            pytest.approx(math.fsum(self.numbers), rel=1e-12, abs=1e-12),
            dict(self.others),
        )

    @property
    def facts(self) -> tuple[int, float, dict[str, int]]:
        return len(self.numbers), math.fsum(self.numbers), dict(self.others)


def of_view(
    connection: duckdb.DuckDBPyConnection, view: str
) -> tuple[int, dict[str, tuple[int, float, dict[str, int]]]]:
    """Rows of a view, and the facts of each of its columns that holds anything."""
    result = connection.execute(f"SELECT * FROM {view}")
    names = [(column[0], str(column[1])) for column in result.description or ()]
    rows = result.fetchall()
    columns = {}
    for place, (name, type_) in enumerate(names):
        values = [row[place] for row in rows]
        if type_ == "JSON":
            values = [None if value is None else json.loads(value) for value in values]
        columns[name] = Checksum(values)
    return len(rows), {name: each.facts for name, each in columns.items() if each.numbers or each.others}


def of_rows(rows: list[dict[str, Any]]) -> tuple[int, dict[str, tuple[int, Any, dict[str, int]]]]:
    """The same of rows that were made otherwise, to compare with."""
    names = {name for row in rows for name in row}
    columns = {name: Checksum(row.get(name) for row in rows) for name in names}
    return len(rows), {name: each.summary for name, each in columns.items() if each.numbers or each.others}
