"""What esper-lite reports in its own way counts in the verdict all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esper_otel.report.source import VIEWS
from esper_otel.report.verdict import Grade, verdict_of
from esper_otel.sql import connect
from tests.sql.made_logs import line

UPDATE = {"policy_loss": 0.1, "pre_clip_grad_norm": 1.0, "entropy": 1.0}
FIGURES = {"kind": "batch_stats", "batch": 1, "entropy": float("nan"), "kl_divergence": float("nan")}


def counts_of(tmp_path: Path, *events: tuple[str, dict[str, Any]]) -> tuple[Grade, dict[str, int | None]]:
    lines = [line(name, data, number, severity="warning") for number, (name, data) in enumerate(events, start=1)]
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines))
    with connect(tmp_path, views=VIEWS) as connection:
        verdict = verdict_of(connection, None)
    return verdict.grade, {count.name: count.number for count in verdict.counts}


def test_the_nan_of_a_skipped_update_counts(tmp_path: Path) -> None:
    skipped = FIGURES | {"explained_variance": float("inf"), "skipped_update": True}
    grade, counts = counts_of(tmp_path, ("PPO_UPDATE_COMPLETED", UPDATE), ("ANALYTICS_SNAPSHOT", skipped))

    assert (Grade.BAD, 3, 1) == (grade, counts["values NaN or infinite"], counts["updates skipped"])


def test_the_nan_of_an_update_that_was_made_counts_once(tmp_path: Path) -> None:
    update = UPDATE | {"entropy": float("nan"), "kl_divergence": float("nan")}
    _, counts = counts_of(tmp_path, ("PPO_UPDATE_COMPLETED", update), ("ANALYTICS_SNAPSHOT", FIGURES))

    assert 2 == counts["values NaN or infinite"]


@pytest.mark.parametrize(
    ("changed", "grade", "not_finite"),
    [
        ({}, Grade.GOOD, 0),
        ({"value_loss": float("nan")}, Grade.BAD, 1),
        ({"ev_low_return_variance": False}, Grade.LOOK, 0),
    ],
)
def test_an_explained_variance_that_is_undefined_is_no_number_that_went_wrong(
    changed: dict[str, Any], grade: Grade, not_finite: int, tmp_path: Path
) -> None:
    update = UPDATE | {"batch": 1, "explained_variance": float("nan"), "ev_low_return_variance": True} | changed
    alarm = {"anomaly_type": "numerical_instability", "batch": 1, "detail": "Detected: NaN"}
    found, counts = counts_of(tmp_path, ("PPO_UPDATE_COMPLETED", update), ("NUMERICAL_INSTABILITY_DETECTED", alarm))

    assert (grade, not_finite) == (found, counts["values NaN or infinite"])


@pytest.mark.parametrize("value", [9.38, 0.0])
def test_an_episode_of_the_rule_based_trainer_is_an_episode(tmp_path: Path, value: float) -> None:
    episode = {"kind": "heuristic_episode", "mode": "heuristic", "final_accuracy": value, "total_reward": -1.5}
    (tmp_path / "events.jsonl").write_bytes(line("ANALYTICS_SNAPSHOT", episode | {"episode": 1}, 1))

    with connect(tmp_path) as connection:
        assert [(value, -1.5)] == connection.execute(
            "SELECT final_accuracy, episode_reward FROM episode_outcomes"
        ).fetchall()
        assert [(1, -1.5)] == connection.execute("SELECT episode, total_reward FROM simic_heuristic_episode").fetchall()
        assert [] == connection.execute("FROM rejected_fields").fetchall()
