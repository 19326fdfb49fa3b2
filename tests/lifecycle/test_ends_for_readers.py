"""How a run ended that its log does not tell: list, diagnosis and report say the same, and none more than is known."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import msgspec
import pytest

from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.finding import Grade
from esper_otel.log import manifest
from esper_otel.log.layout import Series
from esper_otel.log.locks.lock import WriterLock
from esper_otel.report.page import report
from esper_otel.runs.listing import rows_in
from tests.diagnosis.made import Line, line, run, training


class Told(msgspec.Struct, frozen=True):
    """State in the list, severity and kinds of the diagnosis, and True where the report calls the run healthy."""

    state: str
    severity: Grade | None
    kinds: set[str]
    is_healthy: bool


def told(directory: Path) -> Told:
    (row,) = rows_in(directory.parent)
    found = diagnose(directory)
    page = report(directory)
    assert "<strong>" in page
    kinds = {finding.kind for finding in found.findings}
    return Told(row.state, found.severity, kinds, "<strong>Healthy:" in page)


def held_and_left(directory: Path, rank: int = 0, outcome: str | None = None) -> None:
    """The lock's file of a process that is gone, with the note that it wrote if it ended by itself."""
    lock = WriterLock(Series(directory, rank).lock_path)
    lock.acquire()
    if outcome is not None:
        lock.note(outcome=outcome)
    lock.release()


def begun(directory: Path, *lines: list[Line], world_size: int = 1, status: str = "running") -> Path:
    made = run(directory, *lines)
    manifest.update(made, status=status, world_size=world_size)
    return made


@pytest.mark.parametrize(
    ("noted", "state", "severity"),
    [("finished", "finished", None), ("failed", "failed", Grade.CRITICAL), (None, "died", Grade.CRITICAL)],
)
def test_a_run_whose_end_a_full_disk_refused_ended_as_its_process_noted(
    noted: str | None, state: str, severity: Grade | None, tmp_path: Path
) -> None:
    made = begun(tmp_path / "run", training())
    held_and_left(made, outcome=noted)
    found = told(made)

    assert (state, severity, severity is None) == (found.state, found.severity, found.is_healthy)


def test_of_a_lock_that_nobody_here_can_ask_no_reader_concludes_a_death(tmp_path: Path) -> None:
    made = begun(tmp_path / "run", training())
    Series(made, 0).lock_path.mkdir()  # as little can be asked of another user's
    found = told(made)

    assert ("running", set()) == (found.state, found.kinds)


@pytest.mark.parametrize(("quiet_s", "kinds"), [(0.0, set()), (3600.0, {"run_died"})])
def test_a_free_lock_of_another_machine_proves_a_death_only_with_silence(
    quiet_s: float, kinds: set[str], tmp_path: Path
) -> None:
    made = begun(tmp_path / "run", training())
    held_and_left(made)
    note = json.loads(Series(made, 0).lock_path.read_text()) | {"place": "another machine/1", "host": "node7"}
    Series(made, 0).lock_path.write_text(json.dumps(note))
    heard = time.time() - quiet_s
    os.utime(Series(made, 0).active, (heard, heard))
    found = told(made)

    assert ("died" if kinds else "running", kinds) == (found.state, found.kinds)


def test_a_rank_that_died_makes_a_dead_run_of_one_whose_other_rank_finished(tmp_path: Path) -> None:
    end = line("RUN_ENDED", 61, outcome="finished", reported_by="trainer")
    made = begun(tmp_path / "run", training(), training(rank=1), [end], world_size=2, status="finished")
    held_and_left(made, outcome="finished")
    held_and_left(made, rank=1)
    found = told(made)

    assert ("died", Grade.CRITICAL, False) == (found.state, found.severity, found.is_healthy)


def test_a_run_that_finished_once_and_was_continued_and_killed_is_dead(tmp_path: Path) -> None:
    end = line("RUN_ENDED", 61, outcome="finished", reported_by="trainer")
    made = begun(tmp_path / "run", training(), [end], [line("HEARTBEAT", 70, uptime_s=0.02)])
    held_and_left(made)
    found = told(made)

    assert ("died", {"run_died"}, False) == (found.state, found.kinds, found.is_healthy)
