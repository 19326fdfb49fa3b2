"""ClickHouse's views over an archive have the rows that DuckDB's have over the logs, values of every kind included."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.sql import VIEWS
from esper_otel.sql.clickhouse.place import place_of
from esper_otel.sql.views.clickhouse import type_of
from tests.archive.rows import archived
from tests.archive.test_archive_equals_log import recorded
from tests.clickhouse import hard_values
from tests.clickhouse.engine import ClickHouse, of_duckdb
from tests.recorded import RECORDINGS, recording
from tests.runs import lives


def created(clickhouse: ClickHouse, tmp_path: Path, *runs: Path) -> None:
    archive = f"file://{tmp_path}/archive"
    for run in runs:
        archived(run, archive)
    clickhouse.create(place_of(archive))


def test_every_row_of_every_recording_is_the_same(clickhouse: ClickHouse, tmp_path: Path) -> None:
    logs = [recording(name) for name in RECORDINGS]

    created(clickhouse, tmp_path, *logs)

    assert of_duckdb(*logs) == clickhouse.every_view() != {}


def test_every_row_of_runs_with_hard_values_and_of_several_ranks_is_the_same(
    clickhouse: ClickHouse, tmp_path: Path
) -> None:
    runs = [*hard_values.written(tmp_path), recorded(tmp_path / "runs", ranks=2, updates=20)]

    created(clickhouse, tmp_path, *runs)

    assert of_duckdb(*runs) == clickhouse.every_view() != {}


def test_every_column_has_the_type_of_duckdbs(clickhouse: ClickHouse, tmp_path: Path) -> None:
    created(clickhouse, tmp_path)

    for view in VIEWS.values():
        described = clickhouse.rows(f"DESCRIBE esper.{view.name} SETTINGS print_pretty_type_names = 0")
        declared = [[column.name, type_of(column.type)] for column in view.columns]
        assert declared == [row[:2] for row in described], view.name


@pytest.mark.parametrize(
    ("of_duckdb", "of_clickhouse"),
    [
        ("VARCHAR", "Nullable(String)"),
        ("HUGEINT", "Nullable(Int128)"),
        ("TIMESTAMP", "Nullable(DateTime64(6, 'UTC'))"),
        ("DOUBLE[]", "Array(Nullable(Float64))"),
        ("MAP(VARCHAR, BIGINT[])", "Map(String, Array(Nullable(Int64)))"),
        ("STRUCT(mask BOOLEAN[], mean DOUBLE)[]", "Array(Tuple(mask Array(Nullable(Bool)), mean Nullable(Float64)))"),
    ],
)
def test_a_type_is_the_same_in_clickhouse(of_duckdb: str, of_clickhouse: str) -> None:
    assert of_clickhouse == type_of(of_duckdb)


def test_a_type_that_is_not_known_is_named() -> None:
    with pytest.raises(TypeError, match="no ClickHouse type is known for TIME"):
        type_of("TIME")


def test_a_list_or_a_map_that_was_not_recorded_is_empty(clickhouse: ClickHouse, tmp_path: Path) -> None:
    updates = (lives.line(1, "TAMIYO_POLICY_UPDATE"), lives.line(2, "TAMIYO_POLICY_UPDATE", op_q_values={}))
    created(clickhouse, tmp_path, lives.append(tmp_path / "run", *updates))

    for column, empty in (("head_entropy", {}), ("grad_nan_layers", []), ("op_q_values", [])):
        query = f"SELECT {column}, empty({column}) FROM esper.ppo_updates"
        assert [[empty, 1], [empty, 1]] == clickhouse.rows(query), column
