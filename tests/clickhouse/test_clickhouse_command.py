"""``esper-otel clickhouse`` prints statements, or says what is wrong with its arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.sql.clickhouse.archive import statements
from esper_otel.sql.clickhouse.creating import script
from esper_otel.sql.clickhouse.place import place_of
from tests.archive.rows import archived, command
from tests.clickhouse.engine import ClickHouse
from tests.runs import lives


def test_its_statements_create_the_views_in_the_database_that_is_named(clickhouse: ClickHouse, tmp_path: Path) -> None:
    archive = f"file://{tmp_path}/archive"
    archived(lives.append(tmp_path / "run", lives.batch(7, 1.0, 50.0)), archive)

    clickhouse.ask(command("clickhouse", archive, "--database", "training"))

    assert [[7]] == clickhouse.rows("SELECT batch_idx FROM training.tolaria_batches")
    comment = "SELECT comment FROM system.columns WHERE database = 'training' AND table = 'runs' AND name = 'ended_at'"
    assert "End of the training process, UTC" in clickhouse.ask(comment)


def test_the_place_is_where_clickhouse_finds_it() -> None:
    plain = script(statements(place_of("s3://bucket/some/prefix"), "esper"))
    own = script(statements(place_of("s3://bucket/prefix", "https://minio.example:9000/", "keys"), "esper"))

    assert "s3('s3://bucket/some/prefix/run_id=*/rank=*/raw.*.parquet', 'Parquet', " in plain
    assert "s3(keys, url = 'https://minio.example:9000/bucket/prefix/run_id=*/rank=*/raw.*.parquet', format" in own
    assert "s3('gs://bucket/run_id=*/" in script(statements(place_of("gs://bucket"), "esper"))
    assert "file('/data/my runs/run_id=*/" in script(statements(place_of("file:///data/my%20runs"), "esper"))


def test_the_endpoint_is_that_of_the_variables_for_s3_alone() -> None:
    url = "http://127.0.0.1:9"

    assert f"s3('{url}/bucket/run_id" in command("clickhouse", "s3://bucket", AWS_ENDPOINT_URL=url)
    assert "s3('s3://bucket/run_id" in command("clickhouse", "s3://bucket", "--endpoint", "", AWS_ENDPOINT_URL=url)
    assert "file('/d/run_id" in command("clickhouse", "file:///d", AWS_ENDPOINT_URL=url)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["telemetry/latest"], "expected an address of an archive"),
        (["s3://bucket/run_id=x"], "give the archive, s3://bucket, rather than a run"),
        (["az://container"], "only s3://, gs:// and file://"),
        (["s3://bucket/a*b"], "whose path contains '*'"),
        (["s3://bucket/a%20b"], "whose path contains '%'"),
        (["file:///d", "--endpoint", "http://x"], "neither an endpoint nor a named collection"),
        (["s3://bucket", "--endpoint", "minio:9000"], "must be a URL such as"),
        (["s3://bucket", "--collection", "a, b"], "is no name of a named collection"),
        (["s3://bucket", "--collection", "seed"], "takes the named collection seed for a column"),
        (["s3://bucket", "--database", "a; b"], "is no name of a database"),
        ([], "give an archive such as s3://telemetry/runs, or --live"),
        (["s3://bucket", "--live"], "give an archive such as s3://telemetry/runs, or --live"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], told: str) -> None:
    assert told in command("clickhouse", *arguments, status=2, AWS_ENDPOINT_URL="", AWS_ENDPOINT_URL_S3="")


def test_the_tables_of_the_live_stream_keep_rows_for_the_days_that_are_named() -> None:
    assert 2 == command("clickhouse", "--live").count("TTL toDateTime(Timestamp) + INTERVAL 7 DAY ")
    assert 2 == command("clickhouse", "--live", "--days", "30").count("TTL toDateTime(Timestamp) + INTERVAL 30 DAY ")
    assert 0 == command("clickhouse", "--live", "--days", "0").count("TTL")
