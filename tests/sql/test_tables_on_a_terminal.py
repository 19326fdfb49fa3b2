"""The table of a query on a terminal: as wide as it has to be, else one line for each value."""

from __future__ import annotations

import io

import duckdb
import pytest

from esper_otel.sql.output import Format, write

TIME = "TIMESTAMP '2026-11-28 19:58:02.831747'"


def printed(query: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = io.StringIO()
    write(duckdb.connect().execute(query), Format.TABLE, stream)
    return [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]


def test_columns_that_fit_are_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ["1   2"] == [line.strip() for line in printed("SELECT 1 AS a, 2 AS b", 80, monkeypatch)[2:]]


def test_a_time_is_never_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(f"SELECT {TIME} AS a, {TIME} AS b, {TIME} AS c", 80, monkeypatch)

    assert ["row 1", *(f"  {name}  2026-11-28T19:58:02.831747Z" for name in "abc")] == lines


def test_the_same_columns_are_a_table_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(f"SELECT {TIME} AS a, {TIME} AS b, {TIME} AS c", 120, monkeypatch)

    assert ["a", "b", "c"] == lines[0].split()


def test_a_long_text_is_folded_in_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed("SELECT 1 AS a, repeat('x', 100) AS b", 80, monkeypatch)

    assert "a" == lines[0].split()[0]
    assert 100 == "".join(lines).count("x")


def test_values_that_are_absent_are_left_out_of_a_record_and_that_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ", ".join(f"NULL AS absent{number}" for number in range(20))
    lines = printed(f"SELECT 7 AS present, {columns}", 80, monkeypatch)

    assert ["row 1", "  present  7"] == lines[:2]
    assert ["Columns without a value are left out; --format csv prints all of them."] == lines[2:]


def test_a_wide_result_without_rows_shows_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ", ".join(f"NULL AS c{number}" for number in range(6))

    assert ["c0", "c1", "c2", "c3", "c4", "c5"] == printed(f"SELECT {columns} LIMIT 0", 80, monkeypatch)[0].split()
