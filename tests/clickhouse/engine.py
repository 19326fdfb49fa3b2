"""ClickHouse in a process of its own (chDB), and its rows as Python has DuckDB's."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from os import PathLike
from pathlib import Path
from typing import Any

import duckdb

from esper_otel.sql import VIEWS, View, connect
from esper_otel.sql.clickhouse import archive
from esper_otel.sql.clickhouse.creating import script
from esper_otel.sql.clickhouse.place import Place
from esper_otel.sql.views.columns import WIDE, Column, literal, quoted
from tests.archive.rows import counted
from tests.tools import python_environment, tool

Rows = dict[str, Counter[str]]


class RefusedError(Exception):
    """ClickHouse refuses a statement."""


class ClickHouse:
    """A session of chDB."""

    def __init__(self, scratch: Path, **variables: str) -> None:
        self._scratch = scratch
        self._process = subprocess.Popen(
            [tool("chdb-python"), Path(__file__).with_name("asker.py")],
            env=python_environment(**variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, sql: str, form: str = "TSV", to: Path | None = None) -> str:
        """The answer to a statement or several; in a file where ``to`` is given."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"sql": sql, "form": form, "to": str(to or "")}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise RefusedError(answer["error"])
        return str(answer["text"])

    def rows(self, sql: str) -> list[list[Any]]:
        """The rows of a query."""
        return [json.loads(row) for row in self.ask(sql, "JSONCompactEachRow").splitlines()]

    def create(self, place: Place) -> None:
        """Create the views over an archive, in place of those that are there."""
        self.ask("DROP DATABASE IF EXISTS esper")
        self.ask(script(archive.statements(place, "esper")))
        self.ask("USE default")

    def view(self, view: View, database: str = "esper") -> list[tuple[Any, ...]]:
        """Every row of a view. It travels as Parquet, which keeps types, NULL, NaN and infinities apart."""
        path = self._scratch / f"{view.name}.parquet"
        columns = ", ".join(_sent(column) for column in view.columns)
        self.ask(f"SELECT {columns} FROM {database}.{quoted(view.name)}", "Parquet", path)
        read = ", ".join(f"{quoted(column.name)}::{column.type}" for column in view.columns)
        with duckdb.connect(config={"threads": "1"}) as reader:
            reader.execute("SET TimeZone = 'UTC'")
            return reader.execute(f"SELECT {read} FROM read_parquet({literal(str(path))})").fetchall()

    def every_view(self) -> Rows:
        """How often each row is in each view that has any."""
        return counted({view.name: self.view(view) for view in VIEWS.values()})

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def of_duckdb(*runs: str | PathLike[str]) -> Rows:
    """The same of DuckDB; a list or a map that is NULL is empty, since ClickHouse knows no other."""
    with connect(runs) as connection:
        return counted(
            {
                view.name: connection.execute(
                    f"SELECT {', '.join(map(not_null, view.columns))} FROM {view.name}"
                ).fetchall()
                for view in VIEWS.values()
            }
        )


def not_null(column: Column) -> str:
    """DuckDB's SQL of a column, empty where it is NULL and ClickHouse knows no NULL."""
    name = quoted(column.name)
    if column.type.endswith("[]"):
        return f"coalesce({name}, [])"
    return f"coalesce({name}, MAP {{}})" if column.type.startswith("MAP") else name


def _sent(column: Column) -> str:
    """SQL of a column as it travels: Parquet has no integers of 128 bit."""
    name = quoted(column.name)
    return f"toString({name}) AS {name}" if column.type == WIDE else name
