"""The part of a list that is shown: what it would be if every log were read, without a look at every log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from esper_otel.log import manifest
from esper_otel.log.layout import LATEST
from esper_otel.runs import listing, reading
from esper_otel.runs.command import BY_START
from esper_otel.runs.filters import condition_of, meeting, ordered
from esper_otel.runs.index import Index
from esper_otel.runs.listed import COLUMNS
from esper_otel.runs.listing import shown_in
from esper_otel.runs.rows import Row
from tests.runs.histories import NAMES, Lives
from tests.runs.lives import Past, append, batch, ended, started, told
from tests.tools import python_environment

ORDERS = st.sampled_from(["-started_at"]) | st.builds(
    "{}{}".format, st.sampled_from(["", "-"]), st.sampled_from([*BY_START, *COLUMNS, "lr"])
)
CONDITIONS = st.sampled_from(
    ["state = finished", "state != finished", "best_reward > 0", "rounds >= 3", "tags = a", "lr = 0.1", "run ~ 1"]
)


def point_latest(run: Path) -> None:
    draft = run.parent / ".latest.new"
    draft.symlink_to(run.name)
    draft.replace(run.parent / LATEST)


def asked(
    directory: Path, order: str, conditions: Sequence[str] = (), limit: int = 0, *, keep: bool = True
) -> tuple[int, list[dict[str, Any]]]:
    """How many runs meet the conditions, and those that are shown of them."""
    meet: Sequence[Row] = []
    is_by_start = not conditions and order.removeprefix("-") in BY_START

    def choose(rows: Sequence[Row]) -> Sequence[Row]:
        nonlocal meet
        meet = meeting(rows, [condition_of(text) for text in conditions])
        return ordered(meet, order, limit)

    shown = [row.as_json() for row in shown_in(directory, choose, keep=keep, is_by_start=is_by_start)]
    for row in shown:
        if row.get("state") in {"running", "stalled"}:
            del row["duration_s"]  # it grows from one list to the next
    return len(meet), shown


class Asked(Lives):
    def continued(self, pick: int) -> Path:
        """A run that goes on says so in its ``run.json``, and is the latest, as every session of ours does."""
        run = self.run(pick)
        if manifest.read(run):
            told(run, status="running")
            point_latest(run)
        return run

    @rule(pick=st.integers(0, 4), outcome=st.sampled_from(["finished", "failed"]))
    def end_as_a_session_does(self, pick: int, outcome: str) -> None:
        if self.runs():
            self.end(pick, outcome, True)
            point_latest(self.run(pick))

    @rule(name=NAMES, reward=st.floats(-9, 9))
    def live_a_whole_life(self, name: str, reward: float) -> None:
        """A run from its start to its end, in a directory that may be one of before, emptied."""
        run = self.directory / name
        for log in run.glob("events*"):
            log.unlink()
        append(run, started(self.next(), lr=0.1), batch(self.next(), reward, 1.0), ended(self.next()))
        told(run, status="finished", tags=["a"])
        point_latest(run)

    @rule(order=ORDERS, conditions=st.lists(CONDITIONS, max_size=2), limit=st.integers(0, 4))
    def ask(self, order: str, conditions: list[str], limit: int) -> None:
        self.past.age(self.directory)
        if order.removeprefix("-") in BY_START:  # the second list finds all as it was, the third relies on that
            asked(self.directory, order, limit=limit)
            asked(self.directory, order, limit=limit)
        assert asked(self.directory, order, conditions, limit, keep=False) == asked(
            self.directory, order, conditions, limit
        )


@pytest.mark.parametrize("few", [1000, 2], ids=["an index that is always new", "an index of earlier"])
def test_what_is_shown_is_what_a_list_that_reads_every_log_shows(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(listing, "MIN_RUNS", 0)  # an index of so few runs is kept nevertheless
    monkeypatch.setattr(listing, "FEW", few)
    run_state_machine_as_test(Asked, settings=settings(max_examples=40, stateful_step_count=30, deadline=None))


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs a, b and c, which ended long ago, and their index."""
    monkeypatch.setattr(listing, "MIN_RUNS", 0)
    for number, name in enumerate("abc"):
        run = append(tmp_path / name, started(10 * number), batch(10 * number + 1, number, 1.0), ended(10 * number + 2))
        told(run, status="finished")
    Past().age(tmp_path)
    asked(tmp_path, "run")
    return tmp_path


def test_the_logs_of_runs_that_are_over_are_looked_at_only_where_they_are_shown(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    look = reading.has_its_logs

    def has_its_logs(known: Any, path: str) -> bool:
        looked_at.append(Path(path).name)
        return look(known, path)

    for module in (reading, listing):
        monkeypatch.setattr(module, "has_its_logs", has_its_logs)
    assert all(known.is_over for known in Index(three).runs.values())

    assert ["c", "b"] == [row["run"] for row in asked(three, "-started_at", limit=2)[1]]
    assert ["b", "c"] == sorted(looked_at)


def test_a_row_that_is_shown_has_what_somebody_added_to_a_log_whose_run_was_over(three: Path) -> None:
    with (three / "c" / "events.jsonl").open("ab") as log:
        log.write(batch(25, 9.0, 1.0))

    ((row,),) = [asked(three, "-started_at", limit=1)[1:]]
    assert ("c", 9.0) == (row[0]["run"], row[0]["reward"]["best"])
    assert "c" == asked(three, "-best_reward", limit=1)[1][0]["run"]


def test_a_run_that_ended_a_moment_ago_may_have_more_to_say(three: Path) -> None:
    run = three / "c"
    told(run, status="finished")
    Past().age(three)
    os.utime(run / "events.jsonl")
    asked(three, "-started_at", limit=1)
    append(run, batch(25, 9.0, 1.0))

    assert ["c", "b", "a"] == [row["run"] for row in asked(three, "-best_reward", limit=3)[1]]
    assert not Index(three).runs["c"].is_over


def test_a_run_becomes_one_that_is_over_once_it_was_quiet_for_long_enough(three: Path) -> None:
    run = three / "c"
    os.utime(run / "events.jsonl")
    asked(three, "run")
    assert not Index(three).runs["c"].is_over
    Past().age(three)

    asked(three, "run")

    assert Index(three).runs["c"].is_over


def test_no_run_that_is_over_is_looked_at_while_the_directory_of_runs_is_the_same(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []
    look = reading.is_in_place

    def is_in_place(known: Any, path: str) -> bool:
        looked_at.append(Path(path).name)
        return look(known, path)

    Past().age(three)
    asked(three, "-started_at", limit=1)
    for module in (reading, listing):
        monkeypatch.setattr(module, "is_in_place", is_in_place)
    asked(three, "-started_at", limit=1)
    assert ["c"] == looked_at

    looked_at.clear()
    (three / "d").mkdir()
    asked(three, "-started_at", limit=1)
    assert {"a", "b", "c"} == set(looked_at)


def test_where_no_session_can_point_latest_at_its_run_each_run_is_looked_at(
    three: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (three / LATEST).write_text("something else")
    Past().age(three)
    asked(three, "-started_at", limit=1)
    append(three / "a", started(-100), batch(50, 1.0, 1.0))
    told(three / "a", status="running")
    Past().age(three)

    assert ["c"] == [row["run"] for row in asked(three, "-started_at", limit=1)[1]]
    assert not Index(three).runs["a"].is_over


def test_a_run_that_was_emptied_and_begun_anew_is_the_newest(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "FEW", 2)  # one entry of three is not worth an index
    Past().age(three)
    for _ in range(2):
        assert ["c"] == [row["run"] for row in asked(three, "-started_at", limit=1)[1]]
    (three / "a" / "events.jsonl").unlink()
    append(three / "a", started(100), ended(101))
    told(three / "a", status="finished")
    point_latest(three / "a")
    Past().age(three)

    for _ in range(3):  # written, found as written, relied on
        assert ["a"] == [row["run"] for row in asked(three, "-started_at", limit=1)[1]]


def test_a_session_that_continues_a_run_changes_its_directory_and_that_of_runs(tmp_path: Path) -> None:
    code = (
        "import esper_otel, sys; esper_otel.configure(telemetry_dir=sys.argv[1], run_id='r', relay=False);"
        "esper_otel.shutdown()"
    )
    times = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=python_environment(), check=True)
        times.append(min(place.stat().st_mtime_ns for place in (tmp_path, tmp_path / "r")))
        for place in (tmp_path, tmp_path / "r"):
            os.utime(place, ns=(1, 1))

    assert 1 < times[1]
