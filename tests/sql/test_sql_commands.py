"""The commands as a person types them: output in every format, messages on stderr, exit status."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from esper_otel.sql import VIEWS
from esper_otel.sql.command import compact, sql, views
from tests.sql.made_logs import line

app = typer.Typer()
for command in (sql, views, compact):
    app.command()(command)


def run(*arguments: str) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120"})
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return ended.exit_code, ended.stdout, ended.stderr


@pytest.fixture
def log(tmp_path: Path) -> str:
    update = {"policy_loss": float("nan"), "batch": 3, "op_q_values": [0.5, None, None, None, None, None]}
    (tmp_path / "events.jsonl").write_bytes(line("PPO_UPDATE_COMPLETED", update, 1))
    return str(tmp_path)


QUERY = "SELECT batch, policy_loss, op_q_values, timestamp, value_loss FROM tamiyo_updates"


def test_json_keeps_types_and_names_what_json_has_no_number_for(log: str) -> None:
    expected = {
        "batch": 3,
        "policy_loss": "NaN",
        "op_q_values": {"WAIT": 0.5},
        "timestamp": "2026-01-02T03:04:01Z",
        "value_loss": None,
    }

    status, output, _ = run("sql", log, QUERY, "--format", "json")

    assert 0 == status
    assert [expected] == json.loads(output)


def test_csv_is_csv(log: str) -> None:
    status, output, _ = run("sql", log, QUERY, "--format", "csv")

    assert 0 == status
    expected = ["3", "NaN", '{"WAIT":0.5}', "2026-01-02T03:04:01Z", ""]
    assert [["batch", "policy_loss", "op_q_values", "timestamp", "value_loss"], expected] == list(
        csv.reader(io.StringIO(output))
    )


def test_a_table_shows_the_values(log: str) -> None:
    status, output, _ = run("sql", log, "SELECT batch AS round, 'a[b]' AS text FROM tamiyo_updates")

    assert 0 == status
    assert ["round", "text"] == output.splitlines()[1].split()
    assert ["3", "a[b]"] == output.splitlines()[3].split()


def test_no_rows_are_an_empty_list(log: str) -> None:
    assert (0, "[]\n") == run("sql", log, "FROM rollbacks", "--format", "json")[:2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("SELECT * FROM tamiyo_update",), "there is no view 'tamiyo_update'; similar names: tamiyo_updates"),
        (("SELEC 1",), 'syntax error at or near "SELEC"'),
        (("SELECT policy_los FROM tamiyo_updates",), "policy_loss"),
        (("DROP VIEW runs",), "one read-only statement"),
        (("SELECT 1", "--memory-limit", "much"), "Memory must have a number"),
    ],
)
def test_what_is_wrong_is_said_once(log: str, arguments: tuple[str, ...], said: str) -> None:
    status, output, errors = run("sql", log, *arguments)

    assert (2, "") == (status, output)
    assert 1 == errors.count(said) or "policy_los" in arguments[0]
    assert said in errors
    assert "Traceback" not in errors


def test_a_missing_run_and_a_missing_query_are_said(tmp_path: Path) -> None:
    assert "does not exist" in run("sql", str(tmp_path / "nothing"), "SELECT 1")[2]
    assert "one or more runs and then the query" in run("sql", "SELECT 1")[2]


def test_the_views_are_listed_with_columns_and_meanings() -> None:
    status, output, _ = run("views", "--format", "json")
    listed = json.loads(output)

    assert 0 == status
    assert list(VIEWS) == [view["view"] for view in listed]
    updates = next(view for view in listed if view["view"] == "tamiyo_updates")
    loss = next(column for column in updates["columns"] if column["name"] == "policy_loss")
    assert {
        "name": "policy_loss",
        "type": "DOUBLE",
        "description": "Clipped surrogate loss, mean over mini-batches.",
    } == loss
    assert "policy_loss" in run("views", "tamiyo_updates")[1]
    assert "similar names: rollbacks" in run("views", "rollback")[2]


def test_compact_says_what_it_wrote(log: str) -> None:
    status, output, _ = run("compact", log)

    assert 0 == status
    assert f"{log}/parquet: 1 lines, 1 of them new" in output
    assert [{"n": 1}] == json.loads(run("sql", log, "SELECT count(*) AS n FROM tamiyo_updates", "--format", "json")[1])
