"""Runs that have begun and recorded nothing: still starting, hanging, or killed before their first event."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from esper_otel.log import manifest
from esper_otel.log.locks.lock import WriterLock
from esper_otel.runs.filters import ordered
from esper_otel.runs.listing import rows_in
from tests.runs.lives import append, batch, ended, told
from tests.tools import python_environment, tool

START_S = 1_770_000_500.0


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run as ``configure()`` leaves it behind before its first event."""
    run = tmp_path / "begun"
    run.mkdir()
    started_at = datetime.fromtimestamp(START_S, UTC).isoformat()
    manifest.update(run, run_id="begun", status="running", started_at=started_at, tags=["first"])
    (run / ".writer.rank0.lock").touch(0o600)
    return run


def test_one_that_was_killed_is_listed_as_died_with_its_start(begun: Path) -> None:
    (row,) = rows_in(begun.parent)

    assert ("begun", "died", "2026-02-02T02:48:20Z", ["first"]) == tuple(
        row.value(name) for name in ("run", "state", "started_at", "tags")
    )
    assert row.value("duration_s") is None


@pytest.mark.parametrize(("seconds", "state"), [(100, "running"), (1000, "stalled")])
def test_one_that_lives_is_running_and_stalled_after_five_minutes(
    begun: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, state: str
) -> None:
    lock = WriterLock(begun / ".writer.rank0.lock")
    lock.acquire()
    monkeypatch.setattr("time.time", lambda: START_S + seconds)

    (row,) = rows_in(begun.parent)

    assert (state, seconds) == (row.state, row.value("duration_s"))
    lock.release()


def test_it_stands_where_it_began_among_the_others(begun: Path) -> None:
    for name, second in (("before", 1), ("after", 900)):
        told(append(begun.parent / name, batch(second, 1.0, 1.0), ended(second + 1)), status="finished")

    assert ["after", "begun", "before"] == [row.run for row in ordered(rows_in(begun.parent), "-started_at")]


def test_its_first_event_makes_it_a_run_like_others(begun: Path) -> None:
    assert 1 == len(rows_in(begun.parent))

    append(begun, batch(600, 2.0, 3.0))

    (row,) = rows_in(begun.parent)
    assert (600, 2.0) == (row.value("rounds"), row.value("reward"))


def test_other_commands_say_that_it_has_recorded_nothing(begun: Path) -> None:
    (begun.parent / "latest").symlink_to("begun")

    for path in (begun, begun.parent):
        done = subprocess.run(
            [tool("esper-otel"), "diagnose", path], env=python_environment(), capture_output=True, text=True
        )
        assert (2, "") == (done.returncode, done.stdout)
        assert "the run began, as its run.json says, and has recorded no event" in done.stderr
