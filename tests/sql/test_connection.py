"""A connection reads the runs and nothing else; a query of somebody else reads and does nothing else."""

from __future__ import annotations

import gc
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest

from esper_otel.sql import VIEWS, QueryError, connect, select
from tests.sql.made_logs import line
from tests.tools import python_environment, tool


@pytest.fixture
def run(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "events.jsonl").write_bytes(line("TAMIYO_INITIATED", {"env_id": 1}, 1))
    return directory


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{0}/stolen.csv'",
        "ATTACH '{0}/other.db'",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW runs",
        "SET memory_limit = '99GB'",
        "PRAGMA database_size",
        "INSTALL httpfs",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{0}/stolen.csv'",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_what_is_not_one_statement_that_reads_is_refused(run: Path, query: str) -> None:
    with connect(run, views=["runs"]) as connection, pytest.raises(QueryError, match="one read-only statement"):
        select(connection, query.format(run))

    assert {"events.jsonl"} == {path.name for path in run.iterdir()}


@pytest.mark.parametrize("query", ["SELECT * FROM read_csv('/etc/passwd')", "FROM read_text('{0}/events.jsonl')"])
def test_no_other_file_can_be_read(run: Path, query: str) -> None:
    with connect(run, views=["runs"]) as connection, pytest.raises(QueryError, match="disabled by configuration"):
        select(connection, query.format(run))


@pytest.mark.parametrize("statement", ["COPY (SELECT 1) TO '{0}/x'", "ATTACH '{0}/x.db'", "SET threads = 1"])
def test_the_connection_itself_writes_no_file_and_keeps_its_settings(run: Path, statement: str) -> None:
    with (
        connect(run, views=["runs"]) as connection,
        pytest.raises(duckdb.Error, match=r"disabled by configuration|locked"),
    ):
        connection.execute(statement.format(run))


@pytest.mark.parametrize(
    "query",
    ["FROM runs", "WITH a AS (SELECT 1) FROM a", "DESCRIBE runs", "SUMMARIZE runs", "SHOW TABLES", "EXPLAIN FROM runs"],
)
def test_every_way_to_read_is_allowed(run: Path, query: str) -> None:
    with connect(run, views=["runs"]) as connection:
        assert select(connection, query).fetchall() is not None


def test_an_unknown_view_is_answered_with_near_names(run: Path) -> None:
    with (
        connect(run) as connection,
        pytest.raises(QueryError, match=r"no view 'ppo_update'; similar names: ppo_updates"),
    ):
        select(connection, "SELECT * FROM ppo_update")


def test_columns_and_types_are_those_of_the_catalogue(run: Path) -> None:
    with connect(run) as connection:
        for view in VIEWS.values():
            found = connection.execute(f"DESCRIBE {view.name}").fetchall()
            assert [(column.name, column.type) for column in view.columns] == [row[:2] for row in found], view.name


def test_every_column_has_a_meaning_and_no_view_has_one_twice() -> None:
    for view in VIEWS.values():
        names = [column.name for column in view.columns]
        assert len(names) == len(set(names)), view.name
        assert all(column.description for column in view.columns), view.name


def test_temporary_files_go_with_the_connection(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))

    connection = connect(run)
    assert 1 == len(list(scratch.iterdir()))
    del connection
    gc.collect()

    assert [] == list(scratch.iterdir())


def test_only_the_views_that_are_wanted_are_made(run: Path) -> None:
    with connect(run, views=["trends"]) as connection:
        made = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
    assert {"trends", "plateau_detected", "degradation_detected", "improvement_detected"} == made
    with pytest.raises(KeyError, match="trend"):
        connect(run, views=["trend"])


def test_a_query_that_needs_more_memory_than_allowed_is_finished_on_disk(run: Path) -> None:
    with connect(run, memory_limit="100MB") as connection:
        query = "SELECT count(*) FROM (SELECT hash(i) AS h, repeat('x', 20) || i FROM range(4000000) t(i) ORDER BY h)"
        assert [(4_000_000,)] == select(connection, query).fetchall()


MEASURED = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
print(done.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the memory of a process in this way")
@pytest.mark.parametrize(
    "query",
    [
        "SELECT repeat('a', 4000000000)",
        "SELECT repeat('a', 400000000)",
        "SELECT length(printf('%02000000000d', 1))",
        "SELECT range(60000000)",
    ],
)
def test_a_value_that_duckdb_does_not_count_does_not_take_more_memory_than_allowed(run: Path, query: str) -> None:
    asked = [sys.executable, "-c", MEASURED, tool("esper-otel"), "sql", "--memory-limit", "200MB", str(run), query]
    text = subprocess.run(asked, env=python_environment(), capture_output=True, text=True, check=True).stdout
    figures, _, said = text.partition("\n")
    code, peak_mb = map(int, figures.split())

    assert 2 == code
    assert peak_mb < 1000
    assert "Out of Memory" in said
    assert "ask for less, or start with a larger --memory-limit" in said
    assert "SET" not in said


def test_no_log_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no event log in .*looked for events\.jsonl"):
        connect(tmp_path)


@pytest.mark.parametrize(
    ("query", "instead"),
    [
        ("SELECT filename FROM raw_events", "run_dir"),
        ("SELECT json_extract(data, '$.detail') FROM anomalies", "raw_events.data"),
        ("SELECT epoch FROM anomalies", "inner_epoch"),
        ("SELECT epoch FROM morphology_causal_log", "inner_epoch"),
    ],
)
def test_a_saved_query_on_a_column_that_only_esper_lite_has_is_told_what_to_ask_for(
    run: Path, query: str, instead: str
) -> None:
    with connect(run) as connection, pytest.raises(QueryError, match=rf"which esper-lite's view has: .*{instead}"):
        select(connection, query)


def test_saved_queries_read_positional_lists_and_directories_as_in_esper_lite(tmp_path: Path) -> None:
    data = {"op_q_values": [0.5, "NaN", 0.25, 0.0, -1.0, 2.0], "op_valid_mask": [True, False, True, True, True, True]}
    phases = {"batch_idx": 0, "phases": {"train": {"wall_ms": 1.0}}}
    lines = [line("PPO_UPDATE_COMPLETED", data, 1), line("PHASE_PROFILE_COMPLETED", phases, 2)]
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines))

    with connect(tmp_path) as connection:
        values = "op_q_values, op_q_values[1], json_extract(op_q_values, '$[2]')::DOUBLE, op_valid_mask"
        query = f"SELECT {values} FROM ppo_updates"
        assert [([0.5, None, 0.25, 0.0, -1.0, 2.0], 0.5, 0.25, data["op_valid_mask"])] == select(
            connection, query
        ).fetchall()
        assert [(tmp_path.name,)] == select(connection, "SELECT run_dir FROM phase_occupancy").fetchall()
        assert [] == select(connection, "SELECT run_dir FROM reward_calibration").fetchall()
