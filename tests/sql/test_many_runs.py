"""A query over many runs opens those that it is about, and answers as if it had opened all of them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from esper_otel.log.reader import LogReader
from esper_otel.runs.index import MIN_RUNS, NAME, Index
from esper_otel.runs.places import runs_below
from esper_otel.runs.stored import VERSION, sealed
from esper_otel.sql import connect, select
from esper_otel.sql.compact import compact
from esper_otel.sql.staging import gather
from tests.sql.made_logs import line
from tests.tools import python_environment, tool

RUNS = MIN_RUNS + 5

QUERIES = (
    "SELECT run_id, lr FROM tamiyo_updates WHERE run_id = 'run03'",
    "SELECT run_id, lr FROM tamiyo_updates WHERE run_id IN ('run03', 'run07', 'none') AND lr > 0",
    "SELECT run_id FROM tamiyo_updates WHERE run_id LIKE 'run1%' OR run_id = 'run02'",
    "SELECT run_id FROM tamiyo_updates WHERE run_id ~ '^run.*9$'",
    "SELECT run_id FROM tamiyo_updates WHERE run_id NOT IN ('run01', 'run02') AND run_id <> 'run03'",
    "SELECT run_id FROM tamiyo_updates WHERE run_id = '(timestamp > ''2030-01-01'')' OR run_id = 'it''s'",
    "SELECT run_id, timestamp FROM tamiyo_updates WHERE timestamp >= '2026-01-05' AND timestamp < '2026-01-07'",
    "SELECT run_id FROM tamiyo_updates WHERE timestamp::DATE = '2026-01-09'",
    "SELECT run_id FROM tamiyo_updates WHERE NOT (timestamp > '2026-01-04' AND timestamp < '2026-01-20')",
    "SELECT run_id FROM tamiyo_updates WHERE timestamp <> '2026-01-04 00:00:01'",
    "SELECT run_id FROM tamiyo_updates WHERE (run_id = 'run01' AND timestamp < '2026-01-03') OR run_id = 'run05'",
    "SELECT run_id, started_at FROM runs WHERE started_at > '2026-01-20' AND run_id > 'run22'",
    "SELECT u.run_id, r.lr FROM tamiyo_updates u JOIN runs r USING (run_id) WHERE r.run_id = 'run04'",
    "SELECT r.run_id, u.lr FROM runs r LEFT JOIN tamiyo_updates u ON u.run_id = r.run_id AND u.run_id = 'run04'",
    "WITH a AS (SELECT * FROM runs WHERE run_id = 'run01') FROM a UNION ALL SELECT * FROM runs WHERE run_id = 'run02'",
    "SELECT run_id, count(*) FROM tamiyo_updates GROUP BY 1 HAVING run_id = 'run06'",
    "SELECT run_id, row_number() OVER (ORDER BY timestamp) FROM tamiyo_updates QUALIFY run_id = 'run06'",
    "SELECT run_id FROM tamiyo_updates ORDER BY timestamp DESC LIMIT 2",
    "SELECT count(*) FROM rollbacks",
    "SELECT run_id, reason FROM rejected_lines",
    "SELECT event_type, count(*) FROM raw_events WHERE run_id = 'named by a line' GROUP BY 1",
    "SELECT max(lr) FROM tamiyo_updates WHERE run_id = (SELECT min(run_id) FROM runs)",
    "SUMMARIZE SELECT run_id FROM runs",
    "SELECT 1",
)


def made_run(directory: Path, day: int) -> Path:
    directory.mkdir(parents=True)
    at = f"2026-01-{day + 1:02d}T00:00:"
    lines = [
        line("TRAINING_STARTED", {"n_envs": 1, "lr": 0.1}, 1, timestamp=f"{at}00+00:00"),
        *(line("PPO_UPDATE_COMPLETED", {"lr": 0.1 / n}, n, timestamp=f"{at}{n:02d}+00:00") for n in (2, 3)),
    ]
    (directory / "events.jsonl").write_bytes(b"".join(lines))
    return directory


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    made = [made_run(tmp_path / "telemetry" / f"run{number:02d}", number) for number in range(RUNS)]
    own = {"run_id": "named by a line", "seq": 1, "schema_version": 1}
    with (made[8] / "events.jsonl").open("ab") as file:
        file.write(line("HEARTBEAT", {"uptime_s": 1.0}, 4, timestamp="2026-01-09T00:00:09+00:00", **own))
        file.write(b"not a line\n")
    return made


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs whose logs were read, in order."""
    names: list[str] = []

    class Watched(LogReader):
        def __init__(self, path: Path, *args: Any, **options: Any) -> None:
            names.append(Path(path).name)
            super().__init__(path, *args, **options)

    monkeypatch.setattr(gather, "LogReader", Watched)
    return names


def asked(runs: Sequence[Path], query: str) -> list[tuple[Any, ...]]:
    with connect(runs, query=query) as connection:
        return sorted(select(connection, query).fetchall(), key=repr)


@pytest.mark.parametrize("query", QUERIES)
def test_the_answer_is_that_of_a_connection_to_everything(runs: list[Path], query: str) -> None:
    with connect(runs) as connection:
        expected = sorted(select(connection, query).fetchall(), key=repr)

    assert expected == asked(runs, query)
    assert expected == asked(runs, query)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("SELECT * FROM tamiyo_updates WHERE run_id = 'run03'", ["run03"]),
        ("SELECT * FROM runs WHERE run_id IN ('run03', 'run11')", ["run03", "run11"]),
        (
            "SELECT * FROM tamiyo_updates WHERE timestamp BETWEEN '2026-01-05' AND '2026-01-06 12:00'",
            ["run04", "run05"],
        ),
        ("SELECT * FROM rollbacks", []),
        ("SELECT * FROM heartbeat", ["run08"]),
        ("SELECT u.lr FROM tamiyo_updates u JOIN runs r USING (run_id) WHERE r.run_id = 'run04'", ["run04"]),
    ],
)
def test_only_runs_that_the_query_is_about_are_opened(
    runs: list[Path], opened: list[str], query: str, names: list[str]
) -> None:
    asked(runs, "SELECT 1 FROM runs")
    opened.clear()

    asked(runs, query)

    assert names == opened


def known(index: Path) -> dict[str, Any]:
    found = Index(index.parent)
    return {name: found.facts(name, entry.signature) for name, entry in found.runs.items()}


def changed_in_place(run: Path) -> None:
    path = run / "events.jsonl"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"PPO_UPDATE_COMPLETED", b"HEARTBEAT           "))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def continued(run: Path) -> None:
    with (run / "events.jsonl").open("ab") as file:
        file.write(line("GOVERNOR_ROLLBACK", {"env_id": 0, "reason": "nan"}, 9))


def closed_segment_added(run: Path) -> None:
    (run / "events.000001.jsonl").write_bytes(line("GOVERNOR_ROLLBACK", {"env_id": 0, "reason": "nan"}, 8))


@pytest.mark.parametrize("change", [changed_in_place, continued, closed_segment_added])
def test_a_run_that_changed_is_read_again(runs: list[Path], opened: list[str], change: Any) -> None:
    asked(runs, "SELECT 1 FROM runs")
    change(runs[7])
    opened.clear()
    query = "SELECT (SELECT count(*) FROM rollbacks), (SELECT count(*) FROM tamiyo_updates WHERE run_id = 'run07')"

    found = asked(runs, query)

    with connect(runs) as connection:
        assert connection.execute(query).fetchall() == found
    assert "run07" in opened


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        msgspec.msgpack.encode([VERSION, [], {}]),
        sealed(msgspec.msgpack.encode([VERSION + 1, [], {}])),
        sealed(msgspec.msgpack.encode([VERSION, [], ["run03"], [1]])),
        sealed(msgspec.msgpack.encode([VERSION, [], ["run03"], []])),
        sealed(msgspec.msgpack.encode([VERSION, [], ["run03"], [["", 0, 0, 0, 0, False, None]], [3], [0]]), b"abc"),
    ],
)
def test_a_damaged_or_foreign_index_is_made_anew(runs: list[Path], content: bytes) -> None:
    index = runs[0].parent / NAME
    asked(runs, "SELECT 1 FROM runs")
    before = known(index)
    index.write_bytes(content)

    assert 2 == len(asked(runs, QUERIES[0]))
    asked(runs, "SELECT 1 FROM runs")
    assert len(runs) == len(before)
    assert before == known(index)


@pytest.mark.parametrize("query", ["SELECT 1 FROM runs", "SELECT * FROM runs WHERE run_id = 'run03'"])
def test_losses_are_told_of_runs_that_are_not_opened_too(runs: list[Path], query: str) -> None:
    for _ in range(2):
        said: list[str] = []
        connect(runs, query=query, tell=said.append).close()
        assert 1 == len(said)
        assert "malformed 1" in said[0]


def test_a_run_that_is_gone_is_forgotten(runs: list[Path]) -> None:
    asked(runs, "SELECT 1 FROM runs")
    runs[0].rename(runs[0].parent.parent / "elsewhere")
    continued(runs[1])
    asked(runs[1:], "SELECT 1 FROM runs")

    assert {run.name for run in runs[1:]} == set(known(runs[0].parent / NAME))


def test_few_runs_leave_nothing_beside_them(runs: list[Path]) -> None:
    asked(runs[: MIN_RUNS - 1], "SELECT 1 FROM runs")

    assert not (runs[0].parent / NAME).exists()


def test_an_index_that_can_be_written_nowhere_costs_nothing_but_time(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("no directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (runs[0].parent / NAME).mkdir()

    assert 2 == len(asked(runs, QUERIES[0]))


def test_runs_in_parquet_and_logs_are_asked_together(runs: list[Path]) -> None:
    for run in runs[:3]:
        compact(run)
    continued(runs[1])

    assert [(1, 2 * RUNS)] == asked(
        runs, "SELECT (SELECT count(*) FROM rollbacks), (SELECT count(*) FROM tamiyo_updates)"
    )


def test_all_runs_of_a_directory_are_asked_by_one_option(runs: list[Path]) -> None:
    directory = runs[0].parent
    (directory / "latest").symlink_to(runs[-1].name)
    (directory / "empty").mkdir()
    query = "SELECT count(*) AS n, count(DISTINCT run_id) AS runs FROM tamiyo_updates"

    said = {}
    for options in ([], ["--all-runs"]):
        command = [tool("esper-otel"), "sql", *options, str(directory), query, "--format", "json"]
        done = subprocess.run(command, env=python_environment(), capture_output=True, text=True, check=True)
        said[bool(options)] = json.loads(done.stdout)

    assert {False: [{"n": 2, "runs": 1}], True: [{"n": 2 * RUNS, "runs": RUNS}]} == said


def test_a_directory_without_runs_is_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no directory in .* holds a run"):
        runs_below([tmp_path])
