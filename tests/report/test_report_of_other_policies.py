"""Policies of other frameworks in the report: no heads, no norms of their own, a critic that learns slowly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.relay.processes import process
from tests.report.made_runs import line, log, updates
from tests.report.test_report_page import read, training_updates


def test_the_entropy_of_a_policy_without_heads_and_its_loss_are_drawn(tmp_path: Path) -> None:
    page = read(log(tmp_path / "events.jsonl", updates(3, lambda n: {"entropy": 0.7, "policy_loss": -0.01})))
    drawn = {trace["name"]: trace["y"] for figure in page.figures for trace in figure["data"]}

    assert drawn["entropy, nats"] == [0.7] * 3
    assert drawn["policy loss"] == [-0.01] * 3


@pytest.mark.parametrize("policy", [[], updates(2, lambda n: {"pre_clip_grad_norm": None})])
def test_gradient_health_points_to_the_norms_of_the_optimizers(policy: list[dict[str, Any]], tmp_path: Path) -> None:
    page = read(log(tmp_path / "events.jsonl", [*training_updates(2), *policy]))

    assert "The norms of this program's optimizers are under Training." in page.text


def critic(count: int, low: int) -> list[dict[str, Any]]:
    """Updates of which the first ``low`` have an explained variance below 0."""
    return updates(count, lambda n: {"explained_variance": -0.5 if n < low else 0.9})


@pytest.mark.parametrize(
    ("count", "low", "said"),
    [
        (4, 4, "Healthy"),
        (120, 60, "Healthy"),
        (120, 100, "Healthy"),
        (120, 120, "Needs a look: explained_variance below 0 in 60 of the last 60 updates (worst -0.5)."),
    ],
)
def test_a_critic_is_judged_by_what_it_is_when_it_has_learned(count: int, low: int, said: str, tmp_path: Path) -> None:
    page = read(log(tmp_path / "events.jsonl", critic(count, low)))

    assert said in page.text
    names = {trace["name"] for figure in page.figures for trace in figure["data"]}
    assert "critical limit" in names
    assert "beyond critical limit" not in names


def test_rewards_alone_have_no_empty_axis_of_accuracies(tmp_path: Path) -> None:
    lines = [line("EPISODE_OUTCOME", n, {"episode_reward": 10.0 * n}) for n in range(1, 4)]
    (figure,) = read(log(tmp_path / "events.jsonl", lines)).figures

    assert figure["layout"]["yaxis"]["title"]["text"] == "reward"
    assert "yaxis2" not in figure["layout"]


def test_what_the_log_lost_is_called_lost_events(tmp_path: Path) -> None:
    page = read(log(tmp_path / "events.jsonl", updates(1)))

    assert page.text.count("Lost events") == 2
    assert "Losses" not in page.words


def test_numbers_under_names_of_the_programs_own_are_drawn(tmp_path: Path) -> None:
    logged = [line("TOLARIA_SCALAR", n, {"tag": "charts/sps", "value": 100.0 + n}) for n in range(1, 4)]
    page = read(log(tmp_path / "events.jsonl", logged))
    drawn = {trace["name"]: trace["y"] for figure in page.figures for trace in figure["data"]}

    assert drawn["charts/sps"] == [101.0, 102.0, 103.0]


def test_number_fields_of_the_programs_own_events_are_drawn_by_their_attributes(tmp_path: Path) -> None:
    with process("-m", "tests.relay.custom_child", str(tmp_path), "6") as child:
        child.communicate()
    page = read(tmp_path / "run")
    drawn = {trace["name"]: trace["y"] for figure in page.figures for trace in figure["data"]}

    assert drawn["simic_curriculum hardness maze-0"] == [0.0, 0.02, 0.04]
    assert drawn["simic_curriculum hardness maze-1"] == [None, 0.03, 0.05]
