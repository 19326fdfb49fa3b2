"""Goodput: shares that sum to the wall time whatever was measured, and the sessions and times of real logs."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from esper_otel.cli.commands import app_of
from esper_otel.goodput.measure import measure
from esper_otel.goodput.shares import MEASURED, Session, Use, goodput_of, use_of
from esper_otel.runs.listing import rows_in
from tests.diagnosis import made

seconds = st.floats(0.0, 1e6)
spent = st.dictionaries(st.sampled_from([use for use in MEASURED if use is not Use.STARTS]), seconds, max_size=5)


@st.composite
def sessions(draw: st.DrawFn) -> list[Session]:
    """Processes one after the other, some of which are seen to make progress."""
    found, moment = [], 0.0
    for _ in range(draw(st.integers(1, 5))):
        begins = moment + draw(seconds)
        ends = begins + draw(seconds)
        progress = draw(st.none() | st.floats(begins, ends))
        found.append(Session(begins=begins, ends=ends, progress=progress, spent=draw(spent)))
        moment = ends
    return found


@given(sessions())
def test_shares_are_none_of_them_negative_and_sum_to_the_wall_time(given_sessions: list[Session]) -> None:
    found = goodput_of(0, given_sessions)

    assert all(each >= 0.0 for each in found.spent_s.values())
    assert math.isclose(sum(found.spent_s.values()), found.wall_s, rel_tol=1e-9, abs_tol=1e-6)
    if found.wall_s > 1e-3:
        assert math.isclose(sum(found.shares.values()), 1.0, rel_tol=1e-6)


@given(sessions())
def test_what_nothing_measured_is_absent_and_named_not_zero(given_sessions: list[Session]) -> None:
    found = goodput_of(0, given_sessions)
    measured = {use for session in given_sessions for use in session.spent}

    assert {use for use in found.spent_s if use not in {Use.UNMEASURED, Use.STARTS}} == measured
    assert set(found.as_json()["not_measured"]) == {str(use) for use in MEASURED if use not in found.spent_s}


@given(sessions())
def test_time_that_was_measured_is_shown_whole_unless_phases_overlap(given_sessions: list[Session]) -> None:
    found = goodput_of(0, given_sessions)
    steps = sum(session.spent.get(Use.STEPS, 0.0) for session in given_sessions)

    shown = found.spent_s.get(Use.STEPS, 0.0)
    assert found.overlaps or math.isclose(shown, steps, rel_tol=1e-9, abs_tol=1e-9)
    assert shown <= steps * (1 + 1e-9)


@given(sessions())
def test_time_between_two_processes_is_restarts(given_sessions: list[Session]) -> None:
    found = goodput_of(0, given_sessions)
    gaps = sum(after.begins - before.ends for before, after in pairwise(given_sessions))

    assert found.spent_s.get(Use.STARTS, 0.0) >= gaps * (1 - 1e-9)


@pytest.mark.parametrize(
    ("phase", "use"),
    [("data_wait", Use.DATA), ("val", Use.EVALUATION), ("checkpoint", Use.CHECKPOINTS), ("backward", Use.STEPS)],
)
def test_a_phase_counts_by_its_name(phase: str, use: Use) -> None:
    assert use_of(phase) is use


def resumed(directory: Path) -> Path:
    """100 s of training with a gap of 100 s in it; rounds 4 and 5 were made twice."""
    heartbeats = [made.line("HEARTBEAT", second, uptime_s=second) for second in range(0, 101, 5)]
    heartbeats += [made.line("HEARTBEAT", 200 + second, uptime_s=second) for second in range(0, 101, 5)]
    made_at = [(20, 1), (40, 2), (60, 3), (80, 4), (100, 5), (220, 4), (240, 5), (260, 6), (280, 7)]
    counts = [(at, {"batch_idx": n, "episodes_completed": n, "total_episodes": 10}) for at, n in made_at]
    rounds = [made.line("TOLARIA_BATCH_COMPLETED", at, **count) for at, count in counts]
    phases = {"backward": [5.0], "data_wait": [2.0]}
    reported = [*range(10, 101, 10), *range(210, 301, 10)]
    steps = [made.line("TOLARIA_PHASE_DURATIONS", at, device="cpu", step=at, durations_s=phases) for at in reported]
    saved = [made.line("CHECKPOINT_SAVED", 60, path="x", duration_ms=4000.0)]
    lines = sorted([*heartbeats, *rounds, *steps, *saved], key=lambda each: each["timestamp"])
    return made.run(directory, lines)


def test_sessions_restarts_and_work_that_was_done_again_are_seen_in_the_log(tmp_path: Path) -> None:
    report = measure(resumed(tmp_path / "run"))
    (found,) = report.ranks

    assert (found.wall_s, found.sessions) == (300.0, 2)
    assert found.spent_s[Use.REDONE] == pytest.approx(4 * 7.0), "the four reports after round 3"
    assert found.spent_s[Use.STEPS] == pytest.approx(16 * 5.0)
    assert found.spent_s[Use.DATA] == pytest.approx(16 * 2.0)
    assert found.spent_s[Use.CHECKPOINTS] == pytest.approx(4.0)
    assert found.spent_s[Use.STARTS] == pytest.approx(100.0 + 20.0 + 20.0), "the gap, and twice up to a first round"
    assert Use.EVALUATION not in found.spent_s


def restarted(directory: Path, begins: list[int], beats: list[tuple[float, float]]) -> Path:
    """Processes of 10 s, each with an update before its log is open; the relay finds each death late."""
    updates = [(at + n, made.line("TOLARIA_TRAINING_UPDATE", at + n, update=n + 1)) for at in begins for n in range(11)]
    deaths = [(at - 0.5, made.line("RUN_ENDED", at, outcome="died", reported_by="relay")) for at in begins[1:]]
    heartbeats = [(at - 0.1, made.line("HEARTBEAT", at, uptime_s=uptime)) for at, uptime in beats]
    return made.run(directory, [each for _, each in sorted([*updates, *deaths, *heartbeats], key=lambda pair: pair[0])])


@pytest.mark.parametrize(
    ("begins", "beats"),
    [
        pytest.param([0, 100], [(100.05, 0.02)], id="killed before its first heartbeat"),
        pytest.param([0, 100], [(5.0, 5.0), (10.0, 10.0), (100.05, 0.02)], id="killed later"),
        pytest.param([0, 100], [(100.05, 0.02), (105.03, 5.0)], id="the second one went on"),
        pytest.param([0, 100, 200], [(100.05, 0.02), (200.06, 0.03)], id="a crash loop"),
        pytest.param([0, 100], [(0.3, 0.3), (0.6, 0.6), (100.05, 0.02), (100.35, 0.32)], id="frequent heartbeats"),
    ],
)
def test_each_process_is_a_session_however_soon_it_was_killed(
    begins: list[int], beats: list[tuple[float, float]], tmp_path: Path
) -> None:
    log = restarted(tmp_path / "run", begins, beats)
    (found,) = measure(log).ranks
    (row,) = rows_in(tmp_path)

    assert (len(begins), len(begins)) == (found.sessions, row.as_json()["sessions"])
    assert found.spent_s[Use.STARTS] == pytest.approx(90.0 * (len(begins) - 1), abs=0.2), "the time between them"


def test_a_clock_that_is_set_begins_no_session(tmp_path: Path) -> None:
    beats = [(5.0, 5.0), (3610.0, 10.0), (3615.0, 15.0)]
    made.run(tmp_path / "run", [made.line("HEARTBEAT", at, uptime_s=uptime) for at, uptime in beats])

    assert [1] == [rank.sessions for rank in measure(tmp_path / "run").ranks]
    assert [1] == [row.as_json()["sessions"] for row in rows_in(tmp_path)]


def test_an_evaluation_of_a_plain_loop_is_no_step(tmp_path: Path) -> None:
    phases = [made.line("TOLARIA_PHASE_DURATIONS", 100, durations_s={"before_backward": [50.0], "data_wait": [10.0]})]
    passes = [made.line("TOLARIA_LOADER_PASS", 90, kind=kind, duration_ms=20_000.0) for kind in ("evaluation", "epoch")]
    lines = [*made.training(1), *[each | {"event_id": each["data"]["kind"]} for each in passes], *phases]
    (found,) = measure(made.run(tmp_path / "run", lines)).ranks

    assert found.spent_s[Use.EVALUATION] == pytest.approx(20.0)
    assert found.spent_s[Use.STEPS] == pytest.approx(30.0)
    assert found.spent_s[Use.DATA] == pytest.approx(10.0)


def test_the_time_that_is_left_follows_from_the_pace_of_late(tmp_path: Path) -> None:
    left = measure(resumed(tmp_path / "run")).left

    assert left is not None
    assert (left.done, left.total) == (7, 10)
    assert left.eta_s > 0.0
    assert measure(made.run(tmp_path / "loop", made.training(60))).left is None, "a plain loop tells no total"


def test_the_command_shows_shares_and_says_what_nothing_measured(tmp_path: Path) -> None:
    run = str(resumed(tmp_path / "run"))
    text = CliRunner().invoke(app_of(["goodput"]), ["goodput", run]).stdout
    as_json = json.loads(CliRunner().invoke(app_of(["goodput"]), ["goodput", run, "--json"]).stdout)

    assert "0:05:00 in 2 sessions" in text
    assert "nothing measured: evaluation" in text
    assert "7 of 10 episodes" in text
    assert sum(as_json["ranks"][0]["shares"].values()) == pytest.approx(1.0)
    refused = CliRunner().invoke(app_of(["goodput"]), ["goodput", run, "--rank", "3"])
    assert (refused.exit_code, "the log has no rank 3" in refused.stderr) == (2, True)
