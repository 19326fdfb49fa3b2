"""ClickHouse reads of an archive what counts, wherever it lies and while it grows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from esper_otel.archive.address import address_of
from esper_otel.archive.layout import SEGMENTS
from esper_otel.sql.clickhouse.place import place_of
from tests.archive.object_store import BUCKET, Proxy
from tests.archive.rows import archived
from tests.archive.test_archive_equals_log import recorded
from tests.clickhouse.engine import ClickHouse, RefusedError, of_duckdb
from tests.runs import lives


def batches(clickhouse: ClickHouse) -> list[list[object]]:
    return clickhouse.rows("SELECT run_dir, batch_idx FROM esper.tolaria_batches ORDER BY ALL")


def test_a_segment_that_grew_and_a_new_run_are_there_at_once(clickhouse: ClickHouse, tmp_path: Path) -> None:
    archive = f"file://{tmp_path}/archive"
    run = lives.append(tmp_path / "run", lives.batch(1, 1.0, 50.0))
    archived(run, archive)
    clickhouse.create(place_of(archive))
    assert [["run", 1]] == batches(clickhouse)

    archived(lives.append(run, lives.batch(2, 2.0, 60.0)), archive)
    archived(lives.append(tmp_path / "later", lives.batch(3, 3.0, 70.0)), archive)

    assert [["later", 3], ["run", 1], ["run", 2]] == batches(clickhouse)


def test_half_an_upload_and_what_was_replaced_are_not_opened(clickhouse: ClickHouse, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    run = lives.append(tmp_path / "run", lives.batch(1, 1.0, 50.0))
    archived(run, f"file://{archive}")
    (stored,) = archive.glob("run_id=run/rank=0/tolaria_batch_completed.*.parquet")
    (described,) = (archive / SEGMENTS).rglob("*.json")
    stored.with_name(f"tolaria_batch_completed.000002.{'0' * 32}.parquet").write_bytes(b"half")
    earlier = described.with_name("events-000001-000000000001.json")
    earlier.write_text(described.read_text().replace(stored.name, f"tolaria_batch_completed.000002.{'0' * 32}.parquet"))

    clickhouse.create(place_of(f"file://{archive}"))

    assert [["run", 1]] == batches(clickhouse)


def test_a_segment_of_a_later_version_is_left_out(clickhouse: ClickHouse, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    for number, name in enumerate(("known", "later format", "later layout")):
        archived(lives.append(tmp_path / name, lives.batch(number, 1.0, 50.0)), f"file://{archive}")
    for name, field in (("later%20format", "format"), ("later%20layout", "layout")):
        (described,) = (archive / SEGMENTS / f"run_id={name}").rglob("*.json")
        described.write_text(json.dumps(json.loads(described.read_text()) | {field: 99}))

    clickhouse.create(place_of(f"file://{archive}"))

    assert [["known", 0]] == batches(clickhouse)


def test_a_file_that_is_lost_is_named(clickhouse: ClickHouse, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archived(lives.append(tmp_path / "run", lives.batch(1, 1.0, 50.0)), f"file://{archive}")
    clickhouse.create(place_of(f"file://{archive}"))
    assert [] == clickhouse.rows("SELECT * FROM esper.archive_missing")

    (stored,) = archive.glob("run_id=run/rank=0/tolaria_batch_completed.*.parquet")
    size = stored.stat().st_size
    stored.unlink()

    missing = clickhouse.rows("SELECT * FROM esper.archive_missing")
    assert [[str(stored), "tolaria_batch_completed", str(size)]] == [list(map(str, row)) for row in missing]


def test_a_column_that_files_of_an_earlier_contract_lack_is_null(clickhouse: ClickHouse, tmp_path: Path) -> None:
    import duckdb

    archive = tmp_path / "archive"
    archived(lives.append(tmp_path / "run", lives.batch(1, 1.5, 50.0)), f"file://{archive}")
    (stored,) = archive.glob("run_id=run/rank=0/tolaria_batch_completed.*.parquet")
    with duckdb.connect() as writer:
        writer.execute(f"CREATE TABLE earlier AS SELECT * EXCLUDE (avg_accuracy, env_accuracies) FROM '{stored}'")
        writer.execute(f"COPY earlier TO '{stored}' (FORMAT parquet)")

    clickhouse.create(place_of(f"file://{archive}"))

    query = "SELECT avg_reward, avg_accuracy, env_accuracies FROM esper.tolaria_batches"
    assert [[1.5, None, []]] == clickhouse.rows(query)


@pytest.mark.parametrize("name", ["lr=0.1, seed=3", "Läufe/über", "50%25", "a*b?[c]", "rank=1", "run_id=x", ".."])
def test_names_of_runs_and_directories_are_no_columns_and_no_patterns(
    clickhouse: ClickHouse, tmp_path: Path, name: str
) -> None:
    archive = f"file://{tmp_path}/batch_idx=99/it's here"
    run = lives.append(tmp_path / "run", lives.batch(1, 1.0, 50.0))

    archived(run, str(address_of(archive).of(name)))
    clickhouse.create(place_of(archive))

    assert [["r", 0, 1]] == clickhouse.rows("SELECT run_id, rank, batch_idx FROM esper.tolaria_batches")


def test_every_row_of_an_archive_on_s3_is_the_same(s3: Proxy, tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs", updates=5)
    archive = f"s3://{BUCKET}/lr=0.5/prefix"
    archived(run, archive)
    engine = ClickHouse(tmp_path)

    engine.create(place_of(archive, s3.url))

    assert of_duckdb(run) == engine.every_view() != {}
    engine.close()


def test_a_named_collection_has_the_credentials(s3: Proxy, tmp_path: Path) -> None:
    archive = f"s3://{BUCKET}/runs"
    archived(lives.append(tmp_path / "run", lives.batch(1, 1.0, 50.0)), archive)
    engine = ClickHouse(tmp_path, **dict.fromkeys(s3.variables(), ""))
    keys = s3.variables()
    engine.ask(
        f"CREATE NAMED COLLECTION archive AS access_key_id = '{keys['AWS_ACCESS_KEY_ID']}',"
        f" secret_access_key = '{keys['AWS_SECRET_ACCESS_KEY']}'"
    )

    engine.create(place_of(archive, s3.url, "archive"))

    assert [["run", 1]] == batches(engine)
    engine.close()


def test_a_store_that_is_away_is_an_error_and_no_empty_answer(s3: Proxy, tmp_path: Path) -> None:
    archive = f"s3://{BUCKET}/runs"
    archived(lives.append(tmp_path / "run", lives.batch(1, 1.0, 50.0)), archive)
    engine = ClickHouse(tmp_path)
    engine.create(place_of(archive, s3.url))
    s3.fault = lambda request: request.refuse(403, "AccessDenied")

    with pytest.raises(RefusedError, match="from the proxy"):
        batches(engine)
    engine.close()
