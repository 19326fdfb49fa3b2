"""Arms of an A/B run on the dashboards."""

from __future__ import annotations

from pathlib import Path

import pytest

from esper_otel.alerts.promql import series
from tests.grafana.asked import assert_finds


@pytest.mark.parametrize(("other", "drawn"), [("shaped", True), ("sparse", False)])
def test_rewards_are_drawn_beside_each_other_where_the_reward_functions_are_the_same(
    tmp_path: Path, other: str, drawn: bool
) -> None:
    given = {
        series("tolaria.avg_reward", group_id="A"): "3x60",
        series("tolaria.avg_reward", group_id="B"): "7x60",
        series("esper.run.info", group_id="A", reward_mode="shaped"): "1x60",
        series("esper.run.info", group_id="B", reward_mode=other): "1x60",
    }
    found = {'{group_id="A"}': 3.0, '{group_id="B"}': 7.0} if drawn else {}

    assert_finds(tmp_path, "Reward by group, if paid alike", "{{group_id}}", given, found)


def test_the_peak_of_an_environment_is_that_of_its_best_episode_where_no_scrape_saw_it(tmp_path: Path) -> None:
    given = {
        series("tolaria.val_accuracy", env_id="0"): "80x60",
        series("simic.final_accuracy", env_id="0"): "90x10 85x50",
        series("tolaria.val_accuracy", env_id="1"): "70x60",
    }

    found = {'{env_id="0", group_id="default"}': 90.0, '{env_id="1", group_id="default"}': 70.0}
    assert_finds(tmp_path, "Environments", "peak", given, found)
