"""The calibration stretches a run without changing it, and reads the colours that Grafana would draw."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.calibrating.colours import Coloured, coloured
from benchmarks.calibrating.one_fault import CHAOS, FAULTS, faults_of
from benchmarks.calibrating.stretched import UPDATE_S, stretch
from trainer.interventions import KINDS

STEPS = [
    {"color": "red", "value": None},
    {"color": "semi-dark-orange", "value": 0.1},
    {"color": "green", "value": 0.15},
    {"color": "semi-dark-orange", "value": 4.0},
]
COUNTED = [{"color": "green", "value": None}, {"color": "red", "value": 0.5}]


ALL = {("Runs", "Runs of the last 30 days")}


def panel(every: list[dict[str, object]], each: list[tuple[str, list[dict[str, object]]]]) -> Coloured:
    return Coloured("board", "panel", 'm{instance=~"$instance"}', "{{env_id}} · x", every, each, ("other",))


@pytest.mark.parametrize(("value", "mark"), [(0.05, 2), (0.1, 1), (0.15, 0), (3.9, 0), (4.0, 1)])
def test_a_value_has_the_colour_of_the_last_step_that_it_reaches(value: float, mark: int) -> None:
    assert mark == panel(STEPS, []).mark("line", value)


def test_a_line_with_limits_of_its_own_is_judged_by_them_and_a_line_of_another_signal_by_none() -> None:
    shown = panel(STEPS, [("count( · .*)?", COUNTED)])

    assert shown.is_count("count")
    assert (2, 0, None) == (shown.mark("count", 1.0), shown.mark("count", 0.0), shown.mark("other", 0.0))


def test_every_panel_with_limits_is_asked_for_one_run() -> None:
    asked = {(one.dashboard, one.panel): one.asked_of("run-7") for one in coloured()}

    assert ("Tamiyo: policy", "Heads now") in asked
    assert [] == [
        where
        for where, text in asked.items()
        if re.search(r"\$[a-z_{]", text) or ("run-7" not in text) != (where in ALL)
    ]


def test_a_chart_s_limits_are_those_of_the_lines_that_show_their_signal() -> None:
    (state,) = (one for one in coloured() if one.panel == "Recurrent state")

    assert (2, None) == (state.mark("RMS c", 0.0), state.mark("NaN", 0.0))


def test_every_kind_of_intervention_is_a_fault_of_the_calibration() -> None:
    assert set(KINDS) == {one.kind for one in FAULTS.values()}
    assert len(FAULTS) == len(CHAOS.interventions) == len(faults_of("chaos-0"))
    assert ["memory_leak"] == list(faults_of("memory_leak"))


def test_a_stretched_run_has_the_same_events_and_an_update_each_half_minute(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    times = [f"2026-01-01T00:00:{second:02}.000000+00:00" for second in (0, 1, 2, 4)]
    kinds = ("TRAINING_STARTED", "TAMIYO_POLICY_UPDATE", "TOLARIA_BATCH_COMPLETED", "TAMIYO_POLICY_UPDATE")
    lines = [
        {"event_type": kind, "timestamp": at, "run_id": "a", "seq": number, "data": {"batch_idx": 1}}
        for number, (kind, at) in enumerate(zip(kinds, times, strict=True))
    ]
    (run / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    stretched = stretch(run, tmp_path / "stretched", 1000.0)

    written = [json.loads(line) for line in (tmp_path / "stretched" / "events.jsonl").read_text().splitlines()]
    assert kinds == tuple(event["event_type"] for event in written)
    assert 1000.0 + 2 * UPDATE_S == stretched.end_s
    assert {1: 1000.0 + UPDATE_S} == stretched.round_ends
