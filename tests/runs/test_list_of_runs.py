"""The rows of the list, their order and the conditions on them."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from esper_otel.log.locks.lock import WriterLock
from esper_otel.runs import listing
from esper_otel.runs.filters import condition_of, meeting, ordered
from esper_otel.runs.index import MIN_RUNS, NAME
from esper_otel.runs.listed import options_in
from esper_otel.runs.listing import rows_in
from esper_otel.runs.rows import Row
from esper_otel.sql import connect
from esper_otel.sql.staging import gather
from tests.runs.lives import append, batch, ended, line, started, told, update
from tests.tools import python_environment, tool


def only(directory: Path) -> Row:
    (row,) = rows_in(directory)
    return row


def asked(directory: Path, *options: str, status: int = 0, **environment: str) -> str:
    command = [tool("esper-otel"), "runs", *([str(directory)] if directory.name else []), *options]
    found = subprocess.run(command, env=python_environment(**environment), capture_output=True, text=True)
    assert status == found.returncode, found.stderr
    return found.stdout if status == 0 else found.stderr


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Runs a, b and c: finished and good, failed and bad, without a word of an outcome."""
    good = append(tmp_path / "a", started(1, lr=0.1), batch(2, 5.0, 60.0), batch(3, 4.0, 50.0), ended(9))
    told(good, status="finished")
    bad = append(tmp_path / "b", started(2, lr=0.2), batch(3, 1.0, 10.0), ended(4, "failed"))
    told(bad, status="failed", tags=["x", "y"])
    append(tmp_path / "c", update(3, 0.5), update(4, "NaN"))
    return tmp_path


def test_a_row_has_the_best_and_the_last_of_each_outcome(three: Path) -> None:
    rows = {row.run: row for row in rows_in(three)}

    assert (5.0, 4.0, 60.0, 50.0) == tuple(
        rows["a"].value(name) for name in ("best_reward", "reward", "best_accuracy", "accuracy")
    )
    assert rows["a"].value("loss") is None
    assert {"best": 0.5, "last": "NaN"} == rows["c"].as_json()["loss"]
    assert "reward" not in rows["c"].as_json()
    assert (3, 8.0) == (rows["a"].value("rounds"), rows["a"].value("duration_s"))


def test_an_update_counts_where_there_are_no_rounds_and_an_episode_is_second_to_a_round(tmp_path: Path) -> None:
    episode = line(2, "EPISODE_OUTCOME", episode_reward=7.0)
    assert 7.0 == only(append(tmp_path / "a" / "run", update(1, 1.0), episode).parent).value("reward")

    assert 1.0 == only(append(tmp_path / "b" / "run", episode, batch(3, 1.0, 1.0)).parent).value("reward")


def test_the_last_value_is_that_of_the_latest_line_whichever_rank_wrote_it(tmp_path: Path) -> None:
    run = append(tmp_path / "run", update(5, 5.0), started(5, lr=0.5))
    append(run, update(3, 3.0, 1), line(3, "TRAINING_STARTED", 1, lr=0.3), rank=1)

    assert (5.0, 0.5) == tuple(only(tmp_path).value(name) for name in ("loss", "lr"))


@pytest.mark.parametrize(
    ("lines", "status", "state"),
    [
        ((ended(2),), "finished", "finished"),
        ((ended(2), update(3, 1.0)), "running", "died"),
        ((update(2, 1.0),), "running", "died"),
        ((update(2, 1.0),), "failed", "failed"),
        ((update(2, 1.0), ended(3, "invented")), None, "failed"),
        ((update(2, 1.0),), None, "unknown"),
        ((ended(2), update(3, 1.0, 1)), None, "unknown"),
        ((ended(2), ended(3, "died", 1)), None, "died"),
    ],
)
def test_the_state_is_that_of_the_log_and_of_run_json(
    tmp_path: Path, lines: tuple[bytes, ...], status: str | None, state: str
) -> None:
    run = append(tmp_path / "run", *lines)
    if status is not None:
        told(run, status=status)

    assert state == only(tmp_path).state


@pytest.mark.parametrize(("seconds_ago", "state"), [(5, "running"), (1000, "stalled")])
def test_a_held_lock_is_a_run_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds_ago: int, state: str
) -> None:
    run = append(tmp_path / "run", ended(2), update(3, 1.0), line(2000, "HEARTBEAT", uptime_s=1.0))
    told(run, status="finished")
    lock = WriterLock(run / ".writer.rank0.lock")
    lock.acquire()
    monkeypatch.setattr("time.time", lambda: 1_770_000_003.0 + seconds_ago)

    assert state == only(tmp_path).state
    lock.release()


def test_sessions_are_counted_by_ends_and_by_heartbeats_that_begin_anew(tmp_path: Path) -> None:
    def beat(number: int, uptime_s: float) -> bytes:
        return line(number, "HEARTBEAT", uptime_s=uptime_s)

    lines = beat(1, 0.0), beat(2, 5.0), ended(3), beat(4, 0.0), beat(5, 5.0), beat(6, 0.1), beat(7, 5.0)
    append(tmp_path / "run", *lines)

    assert 3 == only(tmp_path).value("sessions")


def test_options_of_the_command_are_settings() -> None:
    argv = ["train.py", "--lr", "0.1", "--amp", "--batch-size=32", "rest", "--last"]
    assert {"lr": "0.1", "amp": "true", "batch_size": "32", "last": "true"} == options_in(argv)


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("best_reward > 2", ["a"]),
        ("reward <= 1", ["b"]),
        ("state = failed", ["b"]),
        ("state != failed", ["a", "c"]),
        ("lr >= 0.1", ["a", "b"]),
        ("lr != 0.1", ["b"]),
        ("tags = x", ["b"]),
        ("tags != x", ["a", "c"]),
        ("run ~ A", ["a"]),
        ("started_at < '2026-02-02T02:40:02'", ["a"]),
        ("loss < 1e9", []),
    ],
)
def test_a_condition_chooses_runs(three: Path, condition: str, names: list[str]) -> None:
    assert names == [row.run for row in ordered(meeting(rows_in(three), [condition_of(condition)]), "run")]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("best_reward", ["b", "a", "c"]),
        ("-best_reward", ["a", "b", "c"]),
        ("-started_at", ["c", "b", "a"]),
        ("lr", ["a", "b", "c"]),
        ("tags", ["b", "a", "c"]),
        ("loss", ["a", "b", "c"]),
    ],
)
def test_runs_without_a_value_come_last(three: Path, order: str, names: list[str]) -> None:
    assert names == [row.run for row in ordered(rows_in(three), order)]


@pytest.mark.parametrize("text", ["", "reward", "> 5", "reward >> 5", "a b = 1"])
def test_what_is_no_condition_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="no condition; write a column"):
        condition_of(text)


def test_a_directory_of_something_else_and_links_are_no_runs_and_a_lone_log_is_one(tmp_path: Path) -> None:
    append(tmp_path / "run", update(1, 1.0))
    (tmp_path / "latest").symlink_to("run")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text("")
    (tmp_path / "old.jsonl").write_bytes(update(1, 1.0))

    assert ["old.jsonl", "run"] == sorted(row.run for row in rows_in(tmp_path))


def test_a_run_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (append(tmp_path / "left", update(1, 1.0)) / "events.jsonl").unlink()
    (tmp_path / "left" / "parquet").mkdir()
    (tmp_path / "left" / "parquet" / "manifest.json").write_text("{}")

    row = only(tmp_path)
    assert "its log was removed" in row.problem
    assert row.problem == row.as_json()["problem"]


def test_queries_open_no_log_where_the_list_read_that_it_has_no_such_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"run{number:02d}" for number in range(MIN_RUNS + 5)]
    paths = [append(tmp_path / name, started(0, lr=0.1), update(1, 1.0)) for name in names]
    query = "SELECT run_id FROM rollbacks"
    rows_in(tmp_path)
    monkeypatch.delattr(gather, "LogReader")  # a log that is opened is a NameError

    with connect(paths, query=query) as connection:
        assert [] == connection.execute(query).fetchall()


def test_a_directory_that_cannot_be_written_has_its_index_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "WORTH_BYTES", -1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    append(tmp_path / "runs" / "a", update(1, 1.0))
    (tmp_path / "runs" / NAME).mkdir()  # root may write anywhere, but not over a directory

    rows_in(tmp_path / "runs")

    (found,) = (tmp_path / "cache" / "esper-otel").iterdir()
    assert found.stat().st_size > 0
    assert 0o700 == stat.S_IMODE(found.parent.stat().st_mode)


def test_the_command_prints_a_table_and_json_and_names_what_is_wrong(three: Path) -> None:
    table = asked(three, COLUMNS="160")
    assert all(text in table for text in ("finished", "4 (5)", "lr=0.2", "x, y"))

    rows: list[dict[str, Any]] = json.loads(asked(three, "--json", "--where", "lr = 0.1"))
    assert [("a", "finished")] == [(row["run"], row["state"]) for row in rows]
    assert "1 of 3 runs" in asked(three, "--limit", "1")
    assert "no run has 'rewrad'; did you mean reward" in asked(three, "--where", "rewrad > 1", status=2)
    assert "never in the state" in asked(three, "--where", "state = finnished", status=2)
    assert "does not exist" in asked(three / "nowhere", status=2)


def test_a_setting_of_any_shape_is_listed_before_and_after_the_run_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MIN_RUNS", 1)
    append(
        tmp_path / "a",
        started(1, lr=0.1, entropy_anneal={"start": 0.02, "end": None}, layers=[4, 4], seed=2**127),
        update(1, 1.0),
    )
    before = only(tmp_path)
    append(tmp_path / "a", update(2, 1.0))
    after = only(tmp_path)

    assert ["", ""] == [before.problem, after.problem]
    assert before.settings == after.settings
    assert (0.1, str(2**127)) == (after.settings["lr"], after.settings["seed"])


@pytest.mark.parametrize("columns", [50, 60, 80, 300])
def test_a_table_fits_the_terminal_and_names_what_it_leaves_out(three: Path, columns: int) -> None:
    shown = asked(three, FORCE_COLOR="1", NO_COLOR="1", COLUMNS=str(columns))

    table, _, left_out = re.sub(r"\x1b\[[0-9;]*m", "", shown).partition("Not shown")
    assert bool(left_out) == (columns < 300)
    assert ["c", "b", "a"] == [word for line in table.splitlines() for word in line.split()[:1] if word in "abc"]
    assert columns >= max(map(len, table.splitlines()))


def test_tags_and_notes_of_configure_are_in_the_list(tmp_path: Path) -> None:
    code = (
        "import esper_otel, sys; d, more = sys.argv[1:];"
        "esper_otel.configure(telemetry_dir=d, run_id='r', relay=False, **eval(more)); esper_otel.shutdown()"
    )
    for arguments in ("{'tags': ['a', 'b', 'a'], 'notes': 'n'}", "{}"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path), arguments], env=python_environment(), check=True)
    assert (["a", "b"], "n", 2) == tuple(only(tmp_path).value(name) for name in ("tags", "notes", "sessions"))

    environment = python_environment(ESPER_OTEL_TAGS=" c, d,", ESPER_OTEL_NOTES="other")
    subprocess.run([sys.executable, "-c", code, str(tmp_path), "{}"], env=environment, check=True)
    assert (["c", "d"], "other") == tuple(only(tmp_path).value(name) for name in ("tags", "notes"))


def test_an_index_is_not_a_way_out_of_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "WORTH_BYTES", -1)
    append(tmp_path / "runs" / "a", update(1, 1.0))
    (tmp_path / "other").write_text("kept")
    (tmp_path / "runs" / NAME).symlink_to(tmp_path / "other")

    rows_in(tmp_path / "runs")

    assert "kept" == (tmp_path / "other").read_text()
    assert not (tmp_path / "runs" / NAME).is_symlink()
