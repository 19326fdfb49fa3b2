"""ClickHouse's views over an archive have the rows that DuckDB's have over the log: types, NULL, NaN and times included."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.archive.address import address_of
from esper_otel.sql import VIEWS
from esper_otel.sql.clickhouse.place import place_of
from tests.archive.rows import archived
from tests.archive.test_archive_equals_log import recorded
from tests.clickhouse.engine import ClickHouse, of_duckdb
from tests.recorded import RECORDINGS, recording


def archive_of(tmp_path: Path, *runs: Path) -> str:
    archive = f"file://{tmp_path}/archive"
    for run in runs:
        archived(run, archive)
    return archive


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_row_of_a_recording_is_the_same(clickhouse: ClickHouse, name: str, tmp_path: Path) -> None:
    log = recording(name)

    clickhouse.create(place_of(archive_of(tmp_path, log)))

    assert of_duckdb(log) == clickhouse.every_view() != {}


def test_every_row_of_a_run_with_many_segments_and_ranks_is_the_same(clickhouse: ClickHouse, tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs", ranks=2, updates=20)

    clickhouse.create(place_of(archive_of(tmp_path, run)))

    assert of_duckdb(run) == clickhouse.every_view() != {}
