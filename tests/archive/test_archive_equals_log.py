"""SQL on an archived run gives the same rows as SQL on its log: in every view, from a directory and from S3."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import esper_otel
from esper_otel.archive.address import address_of
from esper_otel.events import BatchCompleted, EpisodeOutcome, PolicyUpdate
from esper_otel.sql import connect
from esper_otel.sql.archiving import segment
from tests.archive.rows import archived, rows_of
from tests.recorded import RECORDINGS, recording
from tests.runs import lives
from tests.sql.made_logs import again_and_again, batch, line
from tests.waiting import wait_for

SEGMENT_UPDATES = 20


def recorded(directory: Path, run_id: str = "mine", ranks: int = 1, updates: int = 60) -> Path:
    """A run of ours whose log has many segments, and values that are not finite."""
    for rank in range(ranks):
        run = esper_otel.configure(
            telemetry_dir=directory, run_id=run_id, rank=rank, world_size=ranks, relay=False, segment_bytes=8_000
        )
        for number in range(1, updates + 1):
            loss = float("nan") if number % 7 == 0 else 1.0 / number
            esper_otel.emit(
                PolicyUpdate(policy_loss=loss, batch=number, head_entropy={"op": 0.5, "slot": float("inf")})
            )
            esper_otel.emit(BatchCompleted(batch_idx=number, avg_accuracy=number / 2, avg_reward=float(number)))
            if number % SEGMENT_UPDATES == 0:  # what is written at once is in one segment
                wait_for(lambda run=run: run.counters["written"] == run.counters["emitted"], "these updates in the log")
        esper_otel.emit(EpisodeOutcome(env_id=0, episode_idx=1, final_accuracy=50.0, episode_reward=1.5))
        esper_otel.shutdown()
    return run.run_dir


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_row_of_a_recording_is_the_same(archive: str, name: str) -> None:
    log = recording(name)

    done = archived(log, archive)

    assert rows_of(log) == rows_of(str(done.address)) != {}


def test_every_row_of_a_run_with_many_segments_and_ranks_is_the_same(archive: str, tmp_path: Path) -> None:
    run = recorded(tmp_path / "runs", ranks=3, updates=150)

    done = archived(run, archive)

    assert len(list(run.glob("events*.jsonl"))) == done.segments > 6
    assert rows_of(run) == rows_of(str(done.address))
    assert 0 == archived(run, archive).segments


def test_segments_of_a_log_without_numbers_share_repetitions_and_arms(tmp_path: Path) -> None:
    run, to = tmp_path / "ab", f"file://{tmp_path}/archive"
    started = line("TRAINING_STARTED", {"n_envs": 1}, 1, group_id="B")
    once = line("TAMIYO_INITIATED", {"env_id": 1}, 2)
    run.mkdir()
    (run / "events.000001.jsonl").write_bytes(started + b"".join(batch(1, "B", 10)) + once)
    (run / "events.000002.jsonl").write_bytes(once + line("TAMIYO_INITIATED", {"env_id": 2}, 3))
    (run / "events.jsonl").write_bytes(line("TAMIYO_INITIATED", {"env_id": 3}, 4))

    done = archived(run, to)

    assert rows_of(run) == rows_of(str(done.address))
    with connect(str(done.address)) as connection:
        groups = connection.execute("SELECT env_id, group_id FROM tamiyo_initiated ORDER BY 1").fetchall()
        assert [(1, "B"), (2, "B"), (3, "B")] == groups
        assert [("duplicate", 2)] == connection.execute("SELECT reason, segment FROM rejected_lines").fetchall()


def test_a_log_as_long_as_several_files_of_a_table_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "PIECE_LINES", 2 * segment.BATCH_LINES)
    log = tmp_path / "long.jsonl.gz"
    log.write_bytes(gzip.compress(again_and_again(50)))

    done = archived(log, f"file://{tmp_path}/archive")

    assert 4 <= len(list((tmp_path / "archive").rglob("raw.*.parquet")))
    assert rows_of(log) == rows_of(str(done.address))


def test_lines_that_give_no_event_are_told_of_an_archive_too(tmp_path: Path) -> None:
    run = lives.append(tmp_path / "run", lives.started(), b"no event\n", lives.batch(2, 1.0, 50.0), b'{"torn": ')
    told: list[str] = []

    done = archived(run, f"file://{tmp_path}/archive")

    assert rows_of(run) == rows_of(str(done.address))
    with connect(str(done.address), tell=told.append):
        assert ["2 stretches of the log gave no event (malformed 1, torn 1)"] == [each.split(";")[0] for each in told]


def test_names_of_directories_are_no_columns(tmp_path: Path) -> None:
    run = recorded(tmp_path / "lr=0.5" / "batch_idx=99", updates=3)

    done = archived(run, f"file://{tmp_path}/lr=0.1/batch_idx=7/rank=8")

    assert rows_of(run) == rows_of(str(done.address))


@pytest.mark.parametrize("name", ["lr=0.1, seed=3", "Läufe/über", "50%25", "a*b?[c]", "rank=1", "run_id=x", "..", "*"])
def test_a_run_may_have_any_name(archive: str, tmp_path: Path, name: str) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(line("TAMIYO_INITIATED", {"env_id": 1}, 1))

    done = archived(log, str(address_of(archive).of(name)))

    with connect(str(done.address)) as connection:
        assert [(name, 1)] == connection.execute("SELECT run_id, env_id FROM tamiyo_initiated").fetchall()
