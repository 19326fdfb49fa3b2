"""Compaction: the same rows from Parquet, nothing lost when it is killed, nothing done twice, the log untouched."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from esper_otel.sql import connect
from esper_otel.sql.compact import compact
from esper_otel.sql.staging import stage
from tests.sql.made_logs import again_and_again, line
from tests.tools import python_environment
from tests.waiting import wait_for

SLOW = """
import sys
from pathlib import Path
from esper_otel.sql.staging import stage
from esper_otel.sql.compact import compact
stage.PIECE_LINES = stage.BATCH_LINES = 500
compact(Path(sys.argv[1]))
"""


def counts(path: Path) -> list[tuple[object, ...]]:
    with connect(path) as connection:
        return connection.execute(
            "SELECT event_type, count(*), count(DISTINCT event_id), sum(epoch) FROM raw_events"
            " GROUP BY ALL ORDER BY ALL"
        ).fetchall()


def test_a_killed_compaction_is_resumed(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(again_and_again(40))
    expected = counts(tmp_path)
    manifest = tmp_path / "parquet" / "manifest.json"
    with subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], env=python_environment()) as process:
        wait_for(manifest.exists, "the first part", every_s=0.005)
        process.send_signal(signal.SIGKILL)
    partly = stage.parts.load(manifest.parent)

    assert partly is not None
    assert 0 < partly.lines < 40 * 262
    assert expected == counts(tmp_path)  # the rest comes from the log

    done = compact(tmp_path, memory_limit="200MB")

    assert (40 * 262, 40 * 262 - partly.lines) == (done.lines, done.new_lines)
    assert expected == counts(tmp_path) == counts(done.directory)
    assert again_and_again(40) == log.read_bytes()
    assert {".lock", "manifest.json"} == {path.name for path in done.directory.iterdir() if path.suffix != ".parquet"}


def test_a_compacted_run_that_grows_shows_its_new_lines_too(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(line("TAMIYO_INITIATED", {"env_id": 1}, 1))
    compact(tmp_path)
    whole, torn = line("TAMIYO_INITIATED", {"env_id": 2}, 2), b'{"event_type": "TAM'
    with log.open("ab") as file:
        file.write(whole + torn)

    with connect(tmp_path) as connection:
        assert [(1,), (2,)] == connection.execute("SELECT env_id FROM tamiyo_initiated ORDER BY 1").fetchall()
        assert [("torn",)] == connection.execute("SELECT reason FROM rejected_lines").fetchall()
    assert 1 == compact(tmp_path).new_lines

    with log.open("ab") as file:  # the writer goes on where it was
        file.write(b'IYO_INITIATED"}\n' + line("TAMIYO_INITIATED", {"env_id": 3}, 3))
    assert 2 == compact(tmp_path).new_lines
    with connect(tmp_path / "parquet") as connection:
        assert [(1,), (2,), (3,)] == connection.execute("SELECT env_id FROM tamiyo_initiated ORDER BY 1").fetchall()


def test_a_repetition_behind_the_compacted_part_is_still_one(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(line("TAMIYO_INITIATED", {"env_id": 1}, 1))
    compact(tmp_path)
    with log.open("ab") as file:
        file.write(line("TAMIYO_INITIATED", {"env_id": 1}, 1))

    with connect(tmp_path) as connection:
        assert [(1,)] == connection.execute("SELECT count(*) FROM tamiyo_initiated").fetchall()


def test_compacting_what_has_not_changed_reads_nothing(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(again_and_again(1))
    first = compact(tmp_path)
    files = {path.name: path.stat().st_mtime_ns for path in first.directory.glob("*.parquet")}

    again = compact(tmp_path)

    assert (262, 0) == (again.lines, again.new_lines)
    assert files == {path.name: path.stat().st_mtime_ns for path in first.directory.glob("*.parquet")}


def test_parquet_is_typed_and_any_reader_understands_it(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(again_and_again(1))
    directory = compact(tmp_path).directory

    types = dict(
        duckdb.sql(f"SELECT name, type FROM parquet_schema('{directory}/episode_outcome.000001.parquet')").fetchall()
    )

    assert ("DOUBLE", "INT64", "BYTE_ARRAY") == (types["final_accuracy"], types["env_id"], types["outcome_type"])


def test_a_directory_with_other_files_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(again_and_again(1))
    other = tmp_path / "mine"
    other.mkdir()
    (other / "thesis.txt").write_text("2026")

    with pytest.raises(FileExistsError, match="contains other files"):
        compact(tmp_path, other)
    assert ["thesis.txt"] == [path.name for path in other.iterdir()]


def test_parquet_of_another_contract_is_replaced_from_the_log(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(again_and_again(1))
    directory = compact(tmp_path).directory
    manifest = directory / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"fingerprint":"', '"fingerprint":"0'))
    expected = counts(tmp_path)

    assert 262 == compact(tmp_path).new_lines
    assert expected == counts(directory)

    manifest.write_text(manifest.read_text().replace('"fingerprint":"', '"fingerprint":"0'))
    (tmp_path / "events.jsonl").unlink()
    with pytest.raises(ValueError, match="written under another contract"):
        connect(directory)
