"""Single numbers as they are drawn: the same whatever time is shown, and coloured by what they mean."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.browser.conftest import Looked
from tests.browser.made_runs import MODES, REWARDS
from tests.grafana.in_browser import GREY, LOADING
from tests.grafana.real_grafana import ALL, CONTENT, Grafana
from tests.grafana.substituted import built

BOARDS = ("esper-run", "esper-tamiyo", "esper-simic")
OF_NOW = "Last event"
"""The one number that goes on growing after the end."""

GREEN, RED = "rgb(115, 191, 105)", "rgb(242, 73, 92)"
WORDS = """content => [...content.querySelectorAll('span, div')]
    .filter(one => !one.children.length && one.innerText.trim())
    .map(one => [one.innerText.trim(), getComputedStyle(one).color])"""
INNERMOST = """cell => {
    const leaf = [cell, ...cell.querySelectorAll('*')].filter(one => !one.children.length && one.innerText)[0] || cell;
    return [leaf.innerText.trim(), getComputedStyle(leaf).color];
}"""
"""Words of a panel with their colours, in order: a name before its number."""

Number = tuple[str, str]
"""Text and colour."""

_seen: dict[tuple[str, str, str], dict[str, list[Number]]] = {}


def _titles(uid: str) -> list[str]:
    """Panels of single numbers in rows that are open."""
    shown = [one for one in built()[uid]["panels"] if one["type"] == "stat"]
    return [one["title"] for one in shown if one["title"] != OF_NOW]


def numbers(grafana: Grafana, uid: str, run: str, since: str = "now-1h") -> dict[str, list[Number]]:
    """Words by panel of one look at a board."""
    asked = (uid, run, since)
    if asked not in _seen:
        _seen[asked] = _look(grafana, *asked)
    return _seen[asked]


def _look(grafana: Grafana, uid: str, run: str, since: str) -> dict[str, list[Number]]:
    shown = {**ALL, "var-instance": run, "from": since, "to": "now", "refresh": "1d", "theme": "dark"}
    page = grafana.context.new_page()
    page.set_viewport_size({"width": 1600, "height": 6000})
    page.goto(f"{grafana.url}/d/{uid}?{urlencode(shown)}&kiosk")
    page.wait_for_selector(CONTENT)
    page.wait_for_load_state("networkidle")
    page.wait_for_function(f"() => !document.querySelector({LOADING!r})")
    try:
        return {
            title: [
                (text, colour)
                for text, colour in page.locator(f'[data-testid="data-testid Panel header {title}"]')
                .locator(CONTENT)
                .evaluate(WORDS)
            ]
            for title in _titles(uid)
        }
    finally:
        page.close()


def _number(found: list[Number], name: str) -> Number:
    """The number that stands behind its name."""
    return found[[text for text, _ in found].index(name) + 1]


@pytest.mark.parametrize("uid", BOARDS)
def test_a_finished_run_has_the_same_numbers_whatever_time_is_shown(grafana: Grafana, uid: str) -> None:
    assert numbers(grafana, uid, "chaos", "now-35m") == numbers(grafana, uid, "chaos", "now-7d")


def _count(run: Path, event_type: str) -> int:
    lines = (line for log in run.glob("events*.jsonl") for line in log.read_text(encoding="utf-8").splitlines())
    return sum(json.loads(line)["event_type"] == event_type for line in lines)


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("gradient anomalies", "GRADIENT_ANOMALY"),
        ("ratio explosions", "RATIO_EXPLOSION_DETECTED"),
        ("instabilities", "NUMERICAL_INSTABILITY_DETECTED"),
        ("rollbacks", "TOLARIA_ROLLBACK"),
        ("memory warnings", "MEMORY_WARNING"),
        ("reward hacking", "REWARD_HACKING_SUSPECTED"),
    ],
)
def test_the_number_of_anomalies_is_that_of_the_log(looked: Looked, name: str, event_type: str) -> None:
    found = numbers(looked.grafana, "esper-run", "chaos", "now-7d")["Anomalies since the run began"]

    assert str(_count(looked.chaos, event_type)) == _number(found, name)[0]


def _policy(grafana: Grafana, run: str) -> dict[str, Number]:
    """The numbers of the policy, by the name of their column."""
    page = grafana.solo("esper-run", "Policy in numbers", run, size=(1600, 300))
    page.wait_for_selector("[role=row] >> nth=1")
    page.wait_for_load_state("networkidle")
    header, row = (page.locator("[role=row]").nth(number).locator("> *") for number in (0, 1))
    names, cells = header.all_inner_texts(), [tuple(one.evaluate(INNERMOST)) for one in row.all()]
    page.close()
    return dict(zip(map(str.strip, names), cells, strict=True))


@pytest.mark.parametrize("name", ["KL", "clip fraction"])
def test_a_policy_that_stopped_moving_is_not_green(grafana: Grafana, name: str) -> None:
    assert ("0", GREY) == _policy(grafana, "collapsed")[name]


def test_a_policy_that_stopped_choosing_is_red(grafana: Grafana) -> None:
    found = _policy(grafana, "collapsed")

    assert RED == found["lowest head entropy"][1]
    assert GREEN not in {colour for _, colour in found.values()}


def test_a_policy_that_is_healthy_is_not_red(grafana: Grafana) -> None:
    assert RED not in {colour for _, colour in _policy(grafana, "demo").values()}


@pytest.mark.parametrize("uid", BOARDS)
def test_no_number_of_a_healthy_run_is_red(grafana: Grafana, uid: str) -> None:
    found = numbers(grafana, uid, "demo")

    assert [] == [(title, text) for title, words in found.items() for text, colour in words if colour == RED]


def test_each_arm_of_a_run_has_its_own_row_in_the_table_of_runs(grafana: Grafana) -> None:
    page = grafana.solo("esper-runs", "Runs of the last 30 days", "", size=(3200, 900))
    page.wait_for_selector("a:text-is('arms') >> nth=1")
    header, *rows = [text.split("\n") for text in page.locator("[role=row]").all_inner_texts()]
    page.close()
    arms = [dict(zip(header, cells, strict=False)) for cells in rows if cells[0] == "arms"]

    assert {arm: ("running", mode) for arm, mode in MODES.items()} == {
        row["group"]: (row["state"], row["reward mode"]) for row in arms
    }
    assert {arm: f"{value:.2f}" for arm, value in REWARDS.items()} == {row["group"]: row["last reward"] for row in arms}
