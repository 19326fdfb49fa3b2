"""Directories of runs as they lie on shared disks: what can be read is read, the rest is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import duckdb
import pytest

from esper_otel.backfill.backfill import backfill
from esper_otel.doctor.checks import State, examine
from esper_otel.mcp_server.directories import runs_in
from esper_otel.mcp_server.listing import described, rows_of
from esper_otel.report.page import report
from esper_otel.runs.places import runs_below
from esper_otel.sql import connect
from esper_otel.sql.compact import compact
from esper_otel.sql.select import QueryError, check
from tests.log.test_odd_files import recorded

ESPER_OTEL: Final = Path(sys.executable).with_name("esper-otel")
QUERY: Final = "SELECT run_id, count(*) FROM ppo_updates GROUP BY run_id ORDER BY run_id"
ODD_NAME: Final = os.fsdecode(b"bad\xff")
WITHOUT_RIGHTS: Final = [
    "setpriv",
    "--bounding-set=-dac_override,-dac_read_search",
    "--inh-caps=-dac_override,-dac_read_search",
]
"""Root reads what nobody may read, unless it gives that up."""


def made(directory: Path, name: str) -> Path:
    run = directory / name
    run.mkdir()
    recorded(run)
    return run


def test_one_run_that_may_not_be_read_costs_none_of_the_others(tmp_path: Path) -> None:
    made(tmp_path, "a")
    closed = made(tmp_path, "closed")
    closed.chmod(0)
    own = WITHOUT_RIGHTS if os.geteuid() == 0 else []
    command = [*own, str(ESPER_OTEL), "sql", str(tmp_path), "--all-runs", QUERY, "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    closed.chmod(0o755)

    assert 0 == done.returncode, done.stderr
    assert 1 == len(json.loads(done.stdout))
    assert f"esper-otel: {closed} is left out: Permission denied" in done.stderr


@pytest.mark.parametrize("content", ["{", "[]", '{"files": 3}', ""])
def test_parquet_files_that_cannot_be_used_are_named_and_the_log_is_read(tmp_path: Path, content: str) -> None:
    run = made(tmp_path, "a")
    (run / "parquet").mkdir()
    (run / "parquet" / "manifest.json").write_text(content)
    told: list[str] = []
    with connect([run], tell=told.append) as connection:
        found = connection.execute(QUERY).fetchall()

    assert [4] == [count for _, count in found]
    assert [True] == [text.endswith("the log is read instead") for text in told]


def test_a_name_that_is_no_valid_text_is_shown_with_its_bytes_replaced(tmp_path: Path) -> None:
    run = made(tmp_path, ODD_NAME)
    with connect([run]) as connection:
        assert [4] == [count for _, count in connection.execute(QUERY).fetchall()]
    with (tmp_path / "out").open("wb") as out:
        assert backfill(run, out, step_ms=15_000, run_id=None, spool_directory=tmp_path).samples
    assert "</html>" in report(run)
    [name] = runs_in([tmp_path])
    assert b"bad\xef\xbf\xbd" in json.dumps(described(name, run), ensure_ascii=False).encode()
    with pytest.raises(ValueError, match="not valid UTF-8, which DuckDB needs"):
        compact(run)


def test_a_query_that_is_no_valid_text_is_refused() -> None:
    with duckdb.connect() as parser, pytest.raises(QueryError, match="surrogates"):
        check(parser, "SELECT '\udcff'")


def test_an_assistant_gets_every_run_that_can_be_read(tmp_path: Path) -> None:
    made(tmp_path, "good")
    looping = made(tmp_path, "looping")
    (looping / "events.rank1.jsonl").symlink_to("events.rank1.jsonl")
    broken = made(tmp_path, "broken")
    (broken / "run.json").write_text("[]")
    (tmp_path / "itself").symlink_to("itself")
    os.mkfifo(tmp_path / "pipe.jsonl")
    rows = rows_of([tmp_path])
    found = {name: described(name, path, rows.get(path)) for name, path in runs_in([tmp_path]).items()}

    assert {"good", "looping", "broken", "pipe.jsonl"} == found.keys()
    assert "must hold a JSON object" in found["broken"]["problem"]
    assert found["broken"]["size_bytes"] > 0
    assert "problem" not in found["looping"]


def test_links_are_no_runs_of_a_directory(tmp_path: Path) -> None:
    run = made(tmp_path, "a")
    (tmp_path / "latest").symlink_to("a")
    (tmp_path / "itself").symlink_to("itself")

    assert [run] == runs_below([tmp_path])


def test_doctor_does_not_call_a_link_to_nothing_writable(tmp_path: Path) -> None:
    link = tmp_path / "telemetry"
    link.symlink_to("/nonexistent/disk")
    [found] = [finding for finding in examine(link) if finding.what == "telemetry directory"]

    assert State.BAD is found.state
    assert "is a link that leads nowhere" in found.text
