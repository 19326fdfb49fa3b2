"""The outcome that ``runs`` shows: that of the last end, unless the run goes on after it."""

from __future__ import annotations

import time
from pathlib import Path

from esper_otel.events import Event, Heartbeat, PolicyUpdate, RunEnded, TrainingStarted
from esper_otel.log.writer import Writer
from esper_otel.sql import connect

FINISHED = RunEnded(outcome="finished")
STARTED = TrainingStarted(task="t", n_envs=1)


def session(run: Path, *events: Event, rank: int = 0) -> None:
    """One process of the run that records ``events``."""
    writer = Writer(run, "run", rank=rank, heartbeat_s=0)
    for event in events:
        writer.put((event, time.time_ns(), "default", None, None))
    writer.close()


def shown(run: Path) -> set[tuple[str | None, bool]]:
    """Outcome, and whether there is a time of the end, of every row of ``runs``."""
    with connect(run) as connection:
        return set(connection.execute("SELECT outcome, ended_at IS NOT NULL FROM runs").fetchall())


def test_a_run_that_ended_has_the_outcome_of_its_last_end(tmp_path: Path) -> None:
    session(tmp_path, STARTED, PolicyUpdate(ppo_update_idx=1), RunEnded(outcome="died"))
    assert shown(tmp_path) == {("died", True)}
    session(tmp_path, STARTED, PolicyUpdate(ppo_update_idx=2), FINISHED)
    assert shown(tmp_path) == {("finished", True)}


def test_a_run_that_goes_on_after_its_end_has_no_outcome(tmp_path: Path) -> None:
    session(tmp_path, STARTED, FINISHED)
    session(tmp_path, Heartbeat())
    assert shown(tmp_path) == {(None, False)}
    session(tmp_path, FINISHED)
    assert shown(tmp_path) == {("finished", True)}


def test_a_run_of_which_one_rank_has_ended_and_another_goes_on_has_no_outcome(tmp_path: Path) -> None:
    session(tmp_path, STARTED, FINISHED)
    session(tmp_path, Heartbeat(), rank=1)
    assert shown(tmp_path) == {(None, False)}
    session(tmp_path, FINISHED, rank=1)
    assert shown(tmp_path) == {("finished", True)}
