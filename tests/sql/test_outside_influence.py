"""No name of a directory, no variable and no home directory changes what a query answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from esper_otel.sql import connect, select
from esper_otel.sql.compact import compact
from tests.sql.made_logs import line
from tests.tools import python_environment, tool

QUERY = "SELECT run_id, rank, lr, kl_divergence, run_dir FROM tamiyo_updates ORDER BY ppo_update_idx"
PLACES = (
    *("lr=0.5", "run_id=other", "rank=7", "kl_divergence=9,lr=2", "run_dir=x/timestamp=2020-01-01", "filename=y"),
    *("a*c", "a?c", "a[b]c", "[ab", "a{b,c}", "a'b", 'a"b', "a\\b", "~", "s3:"),
)
"""Directories as Hydra, Spark and people call them."""


def made_run(directory: Path) -> Path:
    directory.mkdir(parents=True)
    lines = [
        line("PPO_UPDATE_COMPLETED", {"lr": 0.001 / n, "kl_divergence": 0.01, "ppo_updates_count": n}, n)
        for n in (1, 2)
    ]
    (directory / "events.jsonl").write_bytes(b"".join(lines))
    return directory


def answer(path: Path) -> list[tuple[object, ...]]:
    with connect(path, views=["tamiyo_updates"]) as connection:
        return select(connection, QUERY).fetchall()


@pytest.mark.parametrize("place", PLACES)
def test_the_name_of_a_directory_is_no_column_and_no_pattern(tmp_path: Path, place: str) -> None:
    compact(made_run(tmp_path / "abc" / "r"))  # what the pattern a*c, taken for one, would find too
    run = made_run(tmp_path / place / "r")
    expected = [("r", 0, 0.001, 0.01, "r"), ("r", 0, 0.0005, 0.01, "r")]

    assert expected == answer(run)
    compact(run)
    assert expected == answer(run)
    assert expected == answer(run / "parquet")


@pytest.mark.parametrize("place", ["lr=5", "a*c", "~"])
def test_the_directory_of_temporary_files_is_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / place).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / place))

    assert [("r", 0, 0.001, 0.01, "r"), ("r", 0, 0.0005, 0.01, "r")] == answer(made_run(tmp_path / "r"))


def test_a_run_is_found_by_a_relative_name_like_a_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_run(tmp_path / "~" / "r")
    monkeypatch.chdir(tmp_path)
    compact(Path("~/r"))

    assert 2 == len(answer(Path("~/r")))


@pytest.mark.parametrize(
    "query", ["SELECT now()", "SELECT {'at': [now()]} AS a, 1 AS a; -- twice", "SELECT current_timestamp"]
)
def test_a_time_with_a_zone_is_given_in_utc_without_further_packages(tmp_path: Path, query: str) -> None:
    run = made_run(tmp_path / "r")

    with connect(run, views=["runs"]) as connection:
        assert 1 == len(select(connection, query).fetchall())


def test_the_zone_of_the_process_does_not_move_a_day(tmp_path: Path) -> None:
    run = made_run(tmp_path / "r")
    query = "SELECT current_setting('TimeZone') AS zone, '2026-01-02 03:00:00+00'::TIMESTAMPTZ AS at"
    asked = [tool("esper-otel"), "sql", str(run), query, "--format", "json"]
    for zone in ("America/New_York", "Asia/Tokyo"):
        said = subprocess.run(asked, env=python_environment(TZ=zone), capture_output=True, text=True, check=True)
        assert [{"zone": "UTC", "at": "2026-01-02T03:00:00Z"}] == json.loads(said.stdout)


def test_nothing_is_taken_from_or_put_into_the_home_directory(tmp_path: Path) -> None:
    run, home = made_run(tmp_path / "r"), tmp_path / "home"
    home.mkdir()
    settings = "'home_directory', 'extension_directories', 'secret_directory', 'autoload_known_extensions'"
    query = f"SELECT name, value FROM duckdb_settings() WHERE name IN ({settings})"
    asked = [tool("esper-otel"), "sql", str(run), query, "--format", "csv"]
    said = subprocess.run(asked, env=python_environment(HOME=str(home)), capture_output=True, text=True, check=True)

    assert str(home) not in said.stdout
    assert "autoload_known_extensions,false" in said.stdout
    assert [] == list(home.iterdir())
