"""Bars and stacks as they are drawn: their lengths are those of the numbers."""

from __future__ import annotations

import pytest

from tests.browser.canvas import Bar, bars, coloured, levels
from tests.browser.made_runs import ACTIONS, ADDENDS, Q_VALUES
from tests.grafana.real_grafana import Grafana

SLACK = 3
"""Pixels by which a bar may be off: edges are smoothed, and the smallest is a line."""


def _drawn(grafana: Grafana, uid: str, title: str) -> list[Bar]:
    page = grafana.solo(uid, title, "arms", size=(900, 500))
    try:
        return bars(coloured(page))
    finally:
        page.close()


def _of(drawn: list[Bar], numbers: dict[str, float]) -> list[float]:
    """Numbers that the bars would stand for, by the scale of the longest, in order of size."""
    scale = max(map(abs, numbers.values())) / max(bar.length for bar in drawn)
    return sorted(scale * bar.length * (1 if bar.colour == "green" else -1) for bar in drawn)


@pytest.mark.parametrize(
    ("uid", "title", "numbers"),
    [
        ("esper-tamiyo", "Estimated Q by operation", Q_VALUES),
        (
            "esper-simic",
            "From addends to the reward",
            {**ADDENDS, "= reward": sum(ADDENDS.values())},
        ),
    ],
)
def test_bars_are_as_long_as_their_numbers_and_begin_at_one_zero(
    grafana: Grafana, uid: str, title: str, numbers: dict[str, float]
) -> None:
    drawn = _drawn(grafana, uid, title)
    pixel = max(map(abs, numbers.values())) / max(bar.length for bar in drawn)
    visible = [number for number in numbers.values() if abs(number) > SLACK * pixel]

    assert pytest.approx(sorted(visible), abs=SLACK * pixel) == [
        number for number in _of(drawn, numbers) if abs(number) > SLACK * pixel
    ]
    zeros = [bar.left if bar.colour == "green" else bar.right for bar in drawn]
    assert max(zeros) - min(zeros) <= SLACK


def test_rewards_of_different_reward_functions_are_not_drawn_beside_each_other(grafana: Grafana) -> None:
    page = grafana.solo("esper-simic", "Reward by group, if paid alike", "arms", size=(900, 500))

    page.wait_for_selector("text=No data: the groups have different reward functions")
    page.close()


def test_the_arms_of_a_run_are_not_stacked_on_each_other(grafana: Grafana) -> None:
    page = grafana.solo("esper-tamiyo", "Operations chosen in a round", "arms")
    top, middle, bottom = levels(coloured(page))
    low, mean, high = sorted(ACTIONS.values())

    assert pytest.approx((high - mean) / (mean - low), abs=0.05) == (middle - top) / (bottom - middle)
